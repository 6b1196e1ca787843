"""Builds that keep a latency budget with a head on fewer layers, which calibration texts teach the answers of all layers."""

from __future__ import annotations

import re

import pytest

from crosstune import TrainConfig, load_checkpoint, train
from crosstune.checkpoint import predict_with_similarity
from crosstune.core.training_facts import TaughtFacts
from crosstune_export import Classifier, GateError, inspect_bundle
from crosstune_export.builder import choosing, search
from crosstune_export.builder.fewer_layers import on_fewer_layers
from crosstune_export.builder.pipeline import BuildConfig, build
from tests.conftest import tiny_log

pytestmark = pytest.mark.usefixtures("quick_builds")

SUMMARY = r"\d+ of 240 labels differ \(\d+\.\d%, 95% interval \d+\.\d% to \d+\.\d%; \d+\.\d% untaught\)"


@pytest.fixture
def log(tmp_path):
    """A file of 240 texts without labels."""
    path = tmp_path / "log.txt"
    path.write_text("\n".join(tiny_log(240)), "utf-8")
    return path


@pytest.fixture(autouse=True)
def one_millisecond_a_layer(monkeypatch):
    def time(trials, *rest):
        return [1.0 if "1 of 2 layers" in trial.variant.name else 2.0 for trial in trials]

    monkeypatch.setattr(search, "time_interleaved", time)


def under(latency_ms, log, flips=100.0, **settings):
    return BuildConfig("int8", max_latency_ms=latency_ms, calibration=log, max_flips_percent=flips, **settings)


def test_all_layers_ship_where_they_are_fast_enough(tmp_path, tiny_checkpoint_dir, log):
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(2.0, log))
    assert [trial.variant.name for trial in result.trials] == ["int8"]
    assert "taught" not in result.manifest.training


def test_a_taught_head_ships_where_they_are_not(tmp_path, tiny_checkpoint_dir, tiny_backbone, log, monkeypatch):
    monkeypatch.setattr(choosing, "MAX_ACCURACY_LOSS", -1.0)  # the accuracy of the untaught head does not count
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(1.5, log, report=tmp_path / "x.html"))
    assert result.shipped.variant.name == "int8, 1 of 2 layers"
    trained = load_checkpoint(tiny_checkpoint_dir)
    (shallow,) = on_fewer_layers(trained, tiny_backbone, tiny_log(240))
    manifest, facts = result.manifest, shallow.facts.head.taught
    assert (facts.layers, facts.texts) == (2, 240) and facts.label_changes < facts.untaught_label_changes
    assert manifest.training_facts.taught == facts
    assert (manifest.backbone["layers_used"], manifest.training["all_layers"]["layers"]) == (1, 2)
    assert manifest.min_similarity == trained.min_similarity
    assert inspect_bundle(tmp_path / "x.bundle")["training"]["taught"] == facts.to_json()
    card = (tmp_path / "x.bundle" / "README.md").read_text("utf-8")
    assert f"learned the answers of the head on 2 from a log; on held-out texts {facts.summary}.\n" in card
    assert "int8, 1 of 2 layers" in (tmp_path / "x.html").read_text("utf-8")

    classifier, texts = Classifier.load(tmp_path / "x.bundle"), tiny_log(500)[240:]
    assert classifier.selftest().passed
    changed = classifier.predict_proba(texts).argmax(1) != trained.predict_proba(texts, backbone=tiny_backbone).argmax(
        1
    )
    assert changed.mean() <= facts.high + 0.05


def test_a_head_that_changes_too_many_labels_is_refused(tmp_path, tiny_checkpoint_dir, log):
    with pytest.raises(GateError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", under(1.5, log, flips=1.0))
    message = str(caught.value)
    assert re.fullmatch(
        r"budget: no graph of \d+ tried keeps within it; nearest is 'int8, 1 of 2 layers' with \d\.\d MB, 1\.00 ms per text and \d+ "
        rf"of \d+ labels that differ from fp32 \(compared with 2 layers on held-out texts {SUMMARY}, at most 1% allowed\)\. Raise "
        r"--max-flips\.",
        message,
    ), message
    assert not (tmp_path / "x.bundle").exists()


def test_a_short_log_teaches_nothing(tmp_path, tiny_checkpoint_dir, tiny_backbone, tiny_examples):
    trained = load_checkpoint(tiny_checkpoint_dir)
    log = [*tiny_log(199), *(example.text for example in tiny_examples)]
    (shallow,) = on_fewer_layers(trained, tiny_backbone, log)
    assert shallow.facts.head.taught is None


def test_a_log_that_chose_what_gets_no_label_chooses_anew(tiny_examples, tiny_labels, tiny_backbone):
    log = tiny_log(250)
    config = TrainConfig(abstain_at="coverage=0.9")
    trained = train(tiny_examples, tiny_labels, config, backbone=tiny_backbone, unlabeled=log)
    assert list(on_fewer_layers(trained, tiny_backbone)) == []
    (shallow,) = on_fewer_layers(trained, tiny_backbone, log)
    assert (shallow.facts.head.log_texts, shallow.facts.head.taught.texts) == (250, 250)
    _, similarity = predict_with_similarity(shallow, tiny_backbone, log)
    assert 0.9 <= (similarity >= shallow.min_similarity).mean() <= 0.92


def test_manifests_with_other_facts():
    facts = TaughtFacts(layers=6, texts=0, label_changes=0, low=0.0, high=1.0, untaught_label_changes=0)
    assert TaughtFacts.or_none(facts.to_json()) == facts and "0 of 0 labels differ (0.0%" in facts.summary
    for broken in (None, [], {**facts.to_json(), "texts": "many"}, {**facts.to_json(), "low": None}):
        assert TaughtFacts.or_none(broken) is None
