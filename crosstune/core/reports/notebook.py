"""Small pieces of HTML that a notebook shows for a result; they bring their own style and fit light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crosstune.core.reports.page import plain

_BAR = "display:inline-block;height:.7em;background:#2f6f9f;border-radius:2px"
#: Green and red, as the web page marks words for and against a label.
_FOR, _AGAINST = "47,138,87", "181,71,63"


def notebook_bars(title: str, rows: Iterable[tuple[str, float]]) -> str:
    """A title and a bar for each row.

    Args:
        title: One line; escaped here.
        rows: Names, each with a share in [0, 1].
    """
    cells = "".join(
        f'<tr><td style="text-align:left">{plain(name)}</td><td style="text-align:right">{100 * share:.1f}%</td>'
        f'<td style="text-align:left;width:10em"><span style="{_BAR};width:{100 * share:.0f}%"></span></td></tr>'
        for name, share in rows
    )
    return f"<div><b>{plain(title)}</b><table>{cells}</table></div>"


def notebook_words(title: str, words: Sequence[tuple[str, float]]) -> str:
    """A title and words on a coloured ground: green for positive weights, red for negative ones, stronger for larger ones.

    Args:
        title: One line; escaped here.
        words: Words in order, each with a weight.
    """
    largest = max((abs(weight) for _, weight in words), default=0.0) or 1.0
    spans = " ".join(
        f'<span title="{weight:+.2f}" style="background:rgba({_FOR if weight > 0 else _AGAINST},'
        f'{0.6 * abs(weight) / largest:.2f})">{plain(word)}</span>'
        for word, weight in words
    )
    return f"<div><b>{plain(title)}</b><br>{spans}</div>"


def notebook_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A title and a table; every cell is escaped here, and all columns but the first stand to the right."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f'<{tag} style="text-align:{"right" if column else "left"}">{plain(cell)}</{tag}>'
            for column, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f"<div><b>{plain(title)}</b><table><tr>{row(head, 'th')}</tr>{body}</table></div>"
