"""The samples inside a bundle, and the check that they come out as promised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from crosstune.core.errors import BundleContentError, SelfTestError
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import Text, TokenRow
from crosstune_export.bundle.strict_json import strict_json


@dataclass(frozen=True)
class SelfTestSample:
    """One text with the ids and probabilities that the build saw."""

    text: Text
    input_ids: tuple[int, ...]
    truncated: bool
    probs: tuple[float, ...]

    def to_json(self) -> dict[str, Json]:
        """The sample as ``selftest.json`` holds it."""
        first, second = self.text if isinstance(self.text, tuple) else (self.text, None)
        return {
            "text": first,
            "text_pair": second,
            "input_ids": list(self.input_ids),
            "truncated": self.truncated,
            "probs": list(self.probs),
        }


@dataclass(frozen=True)
class SelfTestReport:
    """Outcome of a self-test.

    Attributes:
        samples: How many texts were run.
        wrong_ids: How many gave other ids or another ``truncated`` than recorded.
        max_difference: Largest absolute difference of a probability.
        tolerance: The largest difference allowed.
    """

    samples: int
    wrong_ids: int
    max_difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether ids are equal and probabilities within the tolerance."""
        return self.wrong_ids == 0 and self.max_difference <= self.tolerance

    def check(self, where: str) -> None:
        """Refuse the bundle where it did not pass.

        Raises:
            SelfTestError: Ids or probabilities are not as promised.
        """
        if not self.passed:
            raise SelfTestError(
                f"{where}: self-test: {self.wrong_ids} of {self.samples} samples with other ids, largest probability "
                f"difference {self.max_difference:.1e}, expected 0 and at most {self.tolerance:.0e}. Build for this machine."
            )


def read_selftest(data: bytes, where: str) -> tuple[float, tuple[SelfTestSample, ...]]:
    """Tolerance and samples of a ``selftest.json``.

    Raises:
        BundleContentError: The file has another shape.
    """
    try:
        body = cast("dict[str, Json]", strict_json(data, where))
        samples = []
        for item in cast("list[dict[str, Json]]", body["samples"]):
            first, second = cast(str, item["text"]), cast("str | None", item["text_pair"])
            samples.append(
                SelfTestSample(
                    text=first if second is None else (first, second),
                    input_ids=tuple(cast("list[int]", item["input_ids"])),
                    truncated=cast(bool, item["truncated"]),
                    probs=tuple(_number(value) for value in cast("list[Json]", item["probs"])),
                )
            )
            if not isinstance(first, str) or not isinstance(second, (str, type(None))):
                raise TypeError("a text that is no string")
        tolerance = _number(body["tolerance"])
        if not 0 <= tolerance <= 1:
            raise ValueError(f"tolerance {tolerance}")
        if not samples:
            raise ValueError("no samples")
        return tolerance, tuple(samples)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleContentError(f"{where}: not a self-test ({error!r}). Build the bundle again.") from error


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r:.40} is no number")
    return float(value)


def run_selftest(
    tolerance: float,
    samples: Sequence[SelfTestSample],
    tokenize: Callable[[Text], TokenRow],
    predict: Callable[[TokenRow], npt.NDArray[np.float32]],
) -> SelfTestReport:
    """Run every sample, one text a call.

    Args:
        tolerance: Largest absolute difference of a probability.
        samples: What to run.
        tokenize: Text to ids.
        predict: Ids to probabilities, float32 of shape (L,).
    """
    wrong_ids, worst = 0, 0.0
    for sample in samples:
        row = tokenize(sample.text)
        wrong_ids += row.ids != sample.input_ids or row.truncated != sample.truncated
        expected = np.asarray(sample.probs, np.float32)
        found = predict(row)
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
        worst = max(worst, difference) if np.isfinite(difference) else float("inf")
    return SelfTestReport(len(samples), wrong_ids, worst, tolerance)
