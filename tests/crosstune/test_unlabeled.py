"""Training from descriptions and a log without labels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from crosstune import CrossTuneWarning, DataError, Example, TrainConfig, train, training
from crosstune.checkpoint import predict_proba
from crosstune.data.task import Task
from crosstune.features.encoding import cached_features, encode
from crosstune.heads.feature_plan import encoding_plan
from tests.conftest import tiny_log
from tests.tolerances import FEATURES_TO_ORACLE


def trained(labels, backbone, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)
        return train([], labels, backbone=backbone, **given)


def test_texts_are_compared_with_the_mean_of_the_log(tiny_backbone, tiny_labels, tmp_path):
    log = tiny_log(30)
    checkpoint = trained(tiny_labels, tiny_backbone, unlabeled=[*log, log[0]])  # a repeated text counts once
    head, name = checkpoint.head, tiny_labels.names[0]
    as_examples = Task(tiny_labels, [Example(text, name) for text in log])
    states = encode(as_examples, tiny_backbone, encoding_plan(TrainConfig(), tiny_backbone)).texts
    features = cached_features(states, head.spec, head.queries)
    np.testing.assert_allclose(head.prior_centre, features.mean(0), atol=FEATURES_TO_ORACLE)
    logits = features @ head.label_keys.t() + head.label_bias
    np.testing.assert_allclose(logits.mean(0), 0, atol=1e-4)  # no label has an advantage on the log as a whole
    assert checkpoint.examples == () and checkpoint.quality.cv_accuracy is None

    checkpoint.save(tmp_path / "a")
    trained(tiny_labels, tiny_backbone, unlabeled=log).save(tmp_path / "b")
    one, other = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / folder).iterdir())} for folder in ("a", "b")
    )
    assert one == other
    without = trained(tiny_labels, tiny_backbone)
    assert not without.head.prior_centre.any()


def test_a_long_log_is_read_in_part(tiny_backbone, tiny_labels, monkeypatch):
    monkeypatch.setattr(training, "MOST_UNLABELED", 10)
    log = tiny_log(25)
    part = trained(tiny_labels, tiny_backbone, unlabeled=log[::3]).head
    assert (trained(tiny_labels, tiny_backbone, unlabeled=log).head.label_bias == part.label_bias).all()


def test_a_log_of_mostly_one_label_is_said(tiny_backbone, tiny_labels, monkeypatch):
    log = tiny_log(20)
    alone = predict_proba(trained(tiny_labels, tiny_backbone), tiny_backbone, log).argmax(1)
    share = np.bincount(alone, minlength=3).max() / 20
    monkeypatch.setattr(training, "MOST_OF_A_LABEL", share - 0.01)
    name = tiny_labels.names[int(np.bincount(alone, minlength=3).argmax())]
    with pytest.warns(CrossTuneWarning) as caught:
        train([], tiny_labels, backbone=tiny_backbone, unlabeled=log)
    assert str(caught[0].message) == (
        f"unlabeled: descriptions alone give '{name}' to {100 * share:.0f}% of 20 texts, expected at most "
        f"{100 * share - 1:.0f}%. If that label is so frequent, omit the log: it would make answers worse."
    )
    monkeypatch.setattr(training, "MOST_OF_A_LABEL", share)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CrossTuneWarning)
        train([], tiny_labels, backbone=tiny_backbone, unlabeled=log)


def test_what_is_refused(tiny_backbone, tiny_labels, tiny_examples):
    with pytest.raises(DataError) as caught:
        train(tiny_examples, tiny_labels, backbone=tiny_backbone, unlabeled=["where is it"])
    assert str(caught.value) == (
        f"unlabeled: given with {len(tiny_examples)} examples, expected none: with examples a log makes no head more "
        "accurate. Omit the log, or label some of its texts with crosstune suggest."
    )
    with pytest.raises(DataError, match=r"^unlabeled\[1\]: "):
        train([], tiny_labels, backbone=tiny_backbone, unlabeled=["where is it", "a\x00b"])
