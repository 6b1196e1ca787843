"""Counts of a run and their summary."""

from __future__ import annotations

from dataclasses import dataclass, field

from crosstune_export.bulk.window_classifier import WindowResult

_SHOWN_LABELS = 20  # chosen by hand: fits on a screen
_NO_LABEL = "(none)"


@dataclass(frozen=True)
class Tally:
    """Counts over all windows.

    Attributes:
        rows: Rows written.
        bad: Bad rows, which were not written.
        truncated: Texts that were truncated to the maximum length.
        unlike: Texts that look unlike the training texts; None if the bundle does not say how similar those are.
        labels: Label → (number of texts, sum of their ``prob``); the key None counts texts without a label.
    """

    rows: int = 0
    bad: int = 0
    truncated: int = 0
    unlike: int | None = None
    labels: dict[str | None, tuple[int, float]] = field(default_factory=dict)

    def plus(self, result: WindowResult) -> Tally:
        """Return the counts after one more window."""
        labels = dict(self.labels)
        for label, times in result.labels.items():
            earlier_times, earlier_sum = labels.get(label, (0, 0.0))
            labels[label] = (earlier_times + times, earlier_sum + result.prob_sums[label])
        return Tally(
            self.rows + result.rows,
            self.bad + len(result.bad),
            self.truncated + result.truncated,
            None if result.unlike is None else (self.unlike or 0) + result.unlike,
            labels,
        )

    def to_json(self) -> dict[str, object]:
        """Return the counts as the journal stores them."""
        labels = [[label, *figures] for label, figures in self.labels.items()]
        return {
            "rows": self.rows,
            "bad": self.bad,
            "truncated": self.truncated,
            "unlike": self.unlike,
            "labels": labels,
        }

    @classmethod
    def from_json(cls, body: dict[str, object]) -> Tally:
        """Read the result of ``to_json``.

        Raises:
            KeyError: A key is missing.
            TypeError: A value has the wrong type.
            ValueError: An entry of ``labels`` does not have three items.
        """
        rows, bad, truncated, labels = (body[name] for name in ("rows", "bad", "truncated", "labels"))
        unlike = body["unlike"]
        if not (
            isinstance(rows, int)
            and isinstance(bad, int)
            and isinstance(truncated, int)
            and isinstance(unlike, int | None)
            and isinstance(labels, list)
        ):
            raise TypeError("not a tally")
        return cls(rows, bad, truncated, unlike, {label: (times, total) for label, times, total in labels})

    def lines(self) -> list[str]:
        r"""Return a human-readable summary: the totals, and the labels from most to least frequent.

        Examples:
            >>> print("\n".join(Tally(4, 1, 0, 1, {"praise": (3, 2.7), None: (1, 0.2)}).lines()))
            4 rows, 1 bad row skipped, 0 truncated
              praise  3  75.0%  mean prob 0.90
              (none)  1  25.0%  mean prob 0.20
            1 row (25.0%) looks unlike the training texts
        """
        skipped = f", {_plural(self.bad, 'bad row')} skipped" if self.bad else ""
        lines = [f"{_plural(self.rows, 'row')}{skipped}, {self.truncated} truncated"]
        order = sorted(self.labels.items(), key=lambda item: (-item[1][0], item[0] is None, item[0] or ""))
        shown = [(_NO_LABEL if label is None else label, *figures) for label, figures in order[:_SHOWN_LABELS]]
        width = max((len(name) for name, _, _ in shown), default=0)
        digits = max((len(str(times)) for _, times, _ in shown), default=0)
        for name, times, total in shown:
            share = 100 * times / self.rows
            lines.append(f"  {name:<{width}}  {times:>{digits}}  {share:4.1f}%  mean prob {total / times:.2f}")
        if len(order) > _SHOWN_LABELS:
            lines.append(f"  and {len(order) - _SHOWN_LABELS} more labels")
        if self.unlike is not None and self.rows:
            share, verb = 100 * self.unlike / self.rows, "looks" if self.unlike == 1 else "look"
            lines.append(f"{_plural(self.unlike, 'row')} ({share:.1f}%) {verb} unlike the training texts")
        return lines


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
