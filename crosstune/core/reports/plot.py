"""Plots of the report pages as inline SVG, in the colours of ``html_page``. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from crosstune.core.reports.page import plain, short

WIDTH = 720
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 18, 52
_BAR, _NAMES, _LETTER = 22, 200, 7.3  # a row of bars, room for the names of a matrix, a letter's width


@dataclass(frozen=True)
class Axis:
    """One axis of a plot.

    Attributes:
        title: What it measures, with its unit.
        low: Its lower end; above 0 where ``log`` is set.
        high: Its upper end, above ``low``.
        log: Whether equal steps are equal ratios.
        ticks: Where figures stand; round numbers where it is empty.
        percent: Whether 0.1 is written as 10%.
    """

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()
    percent: bool = False

    def at(self, value: float) -> float:
        """Where a value stands between the ends, 0 to 1."""
        low, high, here = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (here - low) / (high - low)

    def marks(self) -> list[tuple[float, str]]:
        """Ticks and their figures."""
        places = self.ticks or (_round_ratios if self.log else _round_steps)(self.low, self.high)
        return [(value, f"{100 * value:.4g}%" if self.percent else f"{value:.4g}") for value in places]


@dataclass
class Plot:
    """A plot with two axes, drawn bottom up in the order of the calls; all positions are values of the axes.

    Attributes:
        name: What a screen reader says.
        x: The horizontal axis.
        y: The vertical axis.
        height: In the units of the drawing, which is 720 wide.
    """

    name: str
    x: Axis
    y: Axis
    height: int = 320
    _drawn: list[str] = field(default_factory=list)

    def _x(self, value: float) -> float:
        return _LEFT + self.x.at(value) * (WIDTH - _LEFT - _RIGHT)

    def _y(self, value: float) -> float:
        return self.height - _BOTTOM - self.y.at(value) * (self.height - _BOTTOM - _TOP)

    def line(self, points: Sequence[tuple[float, float]], colour: int, *, dashed: bool = False) -> None:
        """Straight lines from point to point."""
        path = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._drawn.append(f'<polyline points="{path}" class="s{colour}" stroke-width="2"{dash}/>')

    def dot(
        self,
        x: float,
        y: float,
        colour: int,
        *,
        radius: float = 4,
        title: str = "",
        above: str = "",
        faint: bool = False,
    ) -> None:
        """A dot; ``title`` appears under the pointer, ``above`` stands over it, a ``faint`` one lets others shine through."""
        at_x, at_y = self._x(x), self._y(y)
        opacity = ' fill-opacity=".4"' if faint else ""
        self._drawn.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{radius:.1f}" class="f{colour}"{opacity}>'
            f"<title>{plain(title)}</title></circle>"
        )
        if above:
            self._drawn.append(
                f'<text x="{at_x:.1f}" y="{at_y - radius - 4:.1f}" text-anchor="middle">{plain(above)}</text>'
            )

    def bar(self, left: float, right: float, bottom: float, top: float, colour: int, *, title: str = "") -> None:
        """A filled rectangle."""
        x, y = self._x(left), self._y(top)
        self._drawn.append(
            f'<rect x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(0.0, self._x(right) - x - 1):.1f}" '
            f'height="{max(0.0, self._y(bottom) - y):.1f}" class="f{colour}"><title>{plain(title)}</title></rect>'
        )

    def rule(self, x: float, note: str = "") -> None:
        """A dashed vertical line with a word at its top."""
        at, side = self._x(x), "end" if self.x.at(x) > 0.6 else "start"
        self._drawn.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{self.height - _BOTTOM}" class="rule"/>'
            f'<text x="{at + (-6 if side == "end" else 6):.1f}" y="{_TOP + 12}" text-anchor="{side}">{plain(note)}</text>'
        )

    def svg(self) -> str:
        """The drawing."""
        floor, middle = self.height - _BOTTOM, (self.height - _BOTTOM + _TOP) / 2
        parts = [f'<line x1="{_LEFT}" y1="{floor}" x2="{WIDTH - _RIGHT}" y2="{floor}" class="axis"/>']
        for value, figure in self.x.marks():
            at = self._x(value)
            parts.append(f'<text x="{at:.1f}" y="{floor + 18}" text-anchor="middle" class="faint">{figure}</text>')
        for value, figure in self.y.marks():
            at = self._y(value)
            parts.append(f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{WIDTH - _RIGHT}" y2="{at:.1f}" class="axis"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" class="faint">{figure}</text>')
        parts.append(
            f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{self.height - 8}" text-anchor="middle">{plain(self.x.title)}</text>'
            f'<text x="16" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 16 {middle:.0f})">{plain(self.y.title)}</text>'
        )
        return _svg(self.name, WIDTH, self.height, [*parts, *self._drawn])


@dataclass(frozen=True)
class Bar:
    """A row of ``bars``.

    Attributes:
        name: Stands to the left.
        parts: (length, colour) from left to right.
        figure: Stands to the right.
        dots: (position, colour) on top.
    """

    name: str
    parts: Sequence[tuple[float, int]]
    figure: str
    dots: Sequence[tuple[float, int]] = ()


def bars(name: str, rows: Sequence[Bar], *, full: float | None = None) -> str:
    """Horizontal bars, one a row.

    Args:
        name: What a screen reader says.
        rows: From top to bottom.
        full: Length of the longest bar there could be; of the longest there is when None.
    """
    most = full or max((sum(length for length, _ in row.parts) for row in rows), default=0) or 1
    figures = 24 + _LETTER * max((len(row.figure) for row in rows), default=0)
    names = 16 + _LETTER * max((len(short(row.name, 30)) for row in rows), default=0)
    scale = (WIDTH - names - figures) / most
    parts = []
    for index, row in enumerate(rows):
        top, at = index * _BAR, float(names)
        parts.append(
            f'<text x="{names - 8:.1f}" y="{top + 15}" text-anchor="end">{plain(short(row.name, 30))}'
            f"<title>{plain(row.name)}</title></text>"
        )
        for length, colour in row.parts:
            parts.append(
                f'<rect x="{at:.1f}" y="{top + 4}" width="{scale * length:.1f}" height="14" class="f{colour}"/>'
            )
            at += scale * length
        last = max([at, *(names + scale * place for place, _ in row.dots)])
        parts += [
            f'<circle cx="{names + scale * place:.1f}" cy="{top + 11}" r="4" class="f{colour}" stroke="var(--paper)"/>'
            for place, colour in row.dots
        ]
        parts.append(f'<text x="{last + 8:.1f}" y="{top + 15}">{plain(row.figure)}</text>')
    return _svg(name, WIDTH, _BAR * len(rows) + 4, parts)


def matrix(name: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A square of counts: rows are what is true, columns what was answered; the shade is the share of the row.

    Figures stand in the cells of at most 24 labels, with names at rows and columns; names at the rows of at most 60.
    """
    size = len(labels)
    named, figured = size <= 60, size <= 24
    left = _NAMES if named else 24
    cell = min(34.0, (WIDTH - left - 10) / size)
    top = 24.0
    parts = [f'<text x="{left + cell * size / 2:.0f}" y="14" text-anchor="middle" class="faint">predicted</text>']
    for i, row in enumerate(counts):
        y = top + i * cell
        if named:
            parts.append(
                f'<text x="{left - 8}" y="{y + cell / 2 + 4:.1f}" text-anchor="end">{plain(short(labels[i], 25))}'
                f"<title>{plain(labels[i])}</title></text>"
            )
        total = sum(row) or 1
        for j, count in enumerate(row):
            if not count:
                continue
            x, share = left + j * cell, count / total
            parts.append(
                f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}" '
                f'class="f{0 if i == j else 1}" fill-opacity="{0.12 + 0.88 * share:.2f}">'
                f"<title>{plain(labels[i])} predicted as {plain(labels[j])}: {count}</title></rect>"
            )
            if figured:
                ink = ' style="fill:var(--paper)"' if share > 0.55 else ""
                parts.append(
                    f'<text x="{x + cell / 2:.1f}" y="{y + cell / 2 + 4:.1f}" text-anchor="middle"{ink}>{count}</text>'
                )
    bottom = top + size * cell
    parts.append(
        f'<rect x="{left}" y="{top}" width="{size * cell:.1f}" height="{size * cell:.1f}" fill="none" class="axis"/>'
    )
    if not figured:
        return _svg(name, WIDTH, bottom + 22, parts)
    for j, label in enumerate(labels):
        x, y = left + (j + 0.5) * cell + 4, bottom + 14
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="end" class="faint" transform="rotate(-40 {x:.1f} {y:.1f})">'
            f"{plain(short(label, 25))}<title>{plain(label)}</title></text>"
        )
    longest = max(len(short(label, 25)) for label in labels)
    return _svg(name, WIDTH, bottom + 24 + 0.65 * _LETTER * longest, parts)


def _svg(name: str, width: float, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{plain(name)}">{"".join(parts)}</svg>'
    )


def _round_steps(low: float, high: float) -> list[float]:
    """At most six multiples of 1, 2 or 5 times a power of ten.

    Examples:
        >>> _round_steps(0, 10)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _round_ratios(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two ends; powers of ten alone where they are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [value for power in powers for factor in factors if low <= (value := factor * 10.0**power) <= high]
