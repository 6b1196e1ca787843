"""How many labels of new texts are expected to differ from fp32, as the manifest stores it."""

from __future__ import annotations

from dataclasses import dataclass

from crosstune.core.strict_text import Json


@dataclass(frozen=True)
class ExpectedChanges:
    """Share of new texts whose label is expected to differ from fp32, in [0, 1], with a 95% interval.

    Examples:
        >>> ExpectedChanges(0.005, 0.0033, 0.0072).summary
        '0.5% of the labels of new texts are expected to change (95% interval 0.3% to 0.7%)'
    """

    share: float
    low: float
    high: float

    @property
    def summary(self) -> str:
        """One line."""
        return (
            f"{100 * self.share:.1f}% of the labels of new texts are expected to change "
            f"(95% interval {100 * self.low:.1f}% to {100 * self.high:.1f}%)"
        )

    def to_json(self) -> dict[str, Json]:
        """Return the record as the manifest stores it."""
        return {"share": self.share, "low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, value: Json) -> ExpectedChanges | None:
        """Read a record; None if the value is not one."""
        if not isinstance(value, dict):
            return None
        numbers = [value.get(name) for name in ("share", "low", "high")]
        if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
            return None
        return cls(*(float(number) for number in numbers))  # type: ignore[arg-type]
