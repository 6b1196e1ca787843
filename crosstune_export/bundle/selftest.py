"""The self-test of a bundle: sample texts with the token ids and probabilities of the build."""

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

#: Largest difference of a probability that passes the self-test. int8: if another kernel rounds the other way, an activation
#: moves by 1/255 of its range; between onnxruntime 1.20 and 1.32 the largest difference was 0.03. fp32 and fp16: chosen by hand.
SELFTEST_TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.1}
#: Most samples of a self-test, which a server runs at every load; chosen by hand.
MOST_SAMPLES = 4096


@dataclass(frozen=True)
class SelfTestSample:
    """One text with its expected results.

    Attributes:
        text: Text or pair.
        input_ids: Token ids.
        truncated: Whether the text was truncated to the maximum length.
        probs: L probabilities.
    """

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
        samples: Number of texts.
        wrong_ids: Number of texts whose ids or ``truncated`` differ from the recorded ones.
        max_difference: Largest absolute difference of a probability.
        tolerance: Largest difference that passes.
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
        """Raise an error unless the self-test passed.

        Args:
            where: Name of the bundle in the message.

        Raises:
            SelfTestError: Ids or probabilities differ from the recorded ones.
        """
        if not self.passed:
            raise SelfTestError(
                f"{where}: self-test: {self.wrong_ids} of {self.samples} samples with other ids, largest probability "
                f"difference {self.max_difference:.1e}, expected 0 and at most {self.tolerance:.0e}. Build for this machine."
            )


def read_selftest(data: bytes, where: str, precision: str) -> tuple[float, tuple[SelfTestSample, ...]]:
    """Return tolerance and samples of a ``selftest.json``.

    Args:
        data: Contents of the file.
        where: Name of the file in messages.
        precision: Precision of the graph, which bounds the tolerance.

    Raises:
        BundleContentError: The file is not a valid self-test.
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
        if not 0 <= tolerance <= SELFTEST_TOLERANCE[precision]:
            raise ValueError(f"tolerance {tolerance}, expected at most {SELFTEST_TOLERANCE[precision]} in {precision}")
        if not 0 < len(samples) <= MOST_SAMPLES:
            raise ValueError(f"{len(samples)} samples, expected 1 to {MOST_SAMPLES}")
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
    """Run all samples, one text per call.

    Args:
        tolerance: Largest absolute difference of a probability that passes.
        samples: Samples to run.
        tokenize: Computes the token ids of a text.
        predict: Computes the probabilities, float32 (L,), of token ids.
    """
    wrong_ids, largest = 0, 0.0
    for sample in samples:
        row = tokenize(sample.text)
        wrong_ids += row.ids != sample.input_ids or row.truncated != sample.truncated
        expected = np.asarray(sample.probs, np.float32)
        probs = predict(row)
        difference = float(np.abs(probs - expected).max()) if probs.shape == expected.shape else float("inf")
        largest = max(largest, difference) if np.isfinite(difference) else float("inf")
    return SelfTestReport(len(samples), wrong_ids, largest, tolerance)
