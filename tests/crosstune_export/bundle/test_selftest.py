"""The self-test passes only with the recorded ids and finite probabilities within the tolerance."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crosstune.core.token_layout import TokenRow
from crosstune_export import BundleContentError
from crosstune_export.bundle.selftest import MOST_SAMPLES, SelfTestSample, read_selftest, run_selftest

SAMPLES = tuple(SelfTestSample(text, (1, 2), False, (0.25, 0.75)) for text in ("a", "b"))


def report(probs, ids=(1, 2), truncated=False):
    row = TokenRow(ids, (0,) * len(ids), truncated)
    return run_selftest(0.01, SAMPLES, lambda text: row, lambda row: np.array(probs, np.float32))


def test_what_was_recorded_passes():
    assert report([0.25, 0.75]).passed
    assert report([0.255, 0.745]).passed
    assert not report([0.27, 0.73]).passed


@pytest.mark.parametrize("probs", [[np.nan, 0.75], [np.nan, np.nan], [0.25, np.inf], [0.25, 0.75, 0.0], [0.25]])
def test_probabilities_that_are_none(probs):
    """A graph that answers NaN must not pass because NaN is not larger than the tolerance."""
    found = report(probs)
    assert not found.passed
    assert found.max_difference == float("inf")


def test_other_ids_or_another_truncation():
    assert report([0.25, 0.75], ids=(1, 3)).wrong_ids == 2
    assert report([0.25, 0.75], truncated=True).wrong_ids == 2
    assert not report([0.25, 0.75], truncated=True).passed


@pytest.mark.fault("L18")
@pytest.mark.parametrize(("precision", "largest"), [("fp32", 1e-4), ("fp16", 5e-3), ("int8", 0.1)])
def test_the_precision_bounds_the_tolerance(precision, largest):
    sample = SAMPLES[0].to_json()
    data = json.dumps({"tolerance": largest, "samples": [sample]}).encode()
    assert read_selftest(data, "here", precision)[0] == largest
    for body in (
        {"tolerance": 1.01 * largest, "samples": [sample]},
        {"tolerance": 0, "samples": [sample] * (MOST_SAMPLES + 1)},
    ):
        with pytest.raises(BundleContentError, match=r"^here: not a self-test"):
            read_selftest(json.dumps(body).encode(), "here", precision)


@pytest.mark.parametrize(
    "changed",
    [
        {"text": 5},
        {"text": None},
        {"text_pair": 5},
        {"probs": ["0.5", 0.5]},
        {"probs": [True, 0.0]},
        {"probs": [None, 1.0]},
    ],
    ids=str,
)
def test_texts_and_numbers_of_another_type(changed):
    sample = SAMPLES[0].to_json() | changed
    with pytest.raises(BundleContentError, match=r"^here: not a self-test \(TypeError"):
        read_selftest(json.dumps({"tolerance": 0.1, "samples": [sample]}).encode(), "here", "int8")


@pytest.mark.parametrize("tolerance", ["0", True, None])
def test_a_tolerance_of_another_type(tolerance):
    with pytest.raises(BundleContentError, match=r"^here: not a self-test \(TypeError"):
        read_selftest(json.dumps({"tolerance": tolerance, "samples": [SAMPLES[0].to_json()]}).encode(), "here", "int8")
