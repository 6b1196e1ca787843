"""``crosstune-export verify``: hashes, self-test, and the checkpoint's answers."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from crosstune import Example, LabelSet, TrainConfig, train
from crosstune_export import Classifier, SelfTestReport


@pytest.mark.parametrize("fixture", ["tiny_bundle_dir", "tiny_fp32_bundle_dir"])
def test_a_sound_bundle(run_app, request, fixture):
    bundle = request.getfixturevalue(fixture)
    result = run_app("crosstune-export", "verify", bundle)
    assert (result.code, result.err) == (0, "")
    first, second = result.out.splitlines()
    assert first == f"{bundle}: digest {Classifier.load(bundle).manifest.digest}, 5 files as built"
    report = Classifier.load(bundle).selftest()
    deep = run_app("crosstune-export", "verify", bundle, "--deep").out.splitlines()
    assert deep[:2] == [first, second]
    assert re.fullmatch(r"padded batches: largest probability difference \d\.\de-\d\d", deep[2])
    assert second == (
        f"self-test: {report.samples} samples, largest probability difference {report.max_difference:.1e} "
        f"(at most {report.tolerance:.0e})"
    )


def test_the_kernels_that_ran_are_named(run_app, monkeypatch, tiny_bundle_dir):
    monkeypatch.delenv("CROSSTUNE_KERNELS", raising=False)
    by_default = run_app("crosstune-export", "verify", tiny_bundle_dir, "--json")
    assert json.loads(by_default.out)["kernels"] == Classifier.load(tiny_bundle_dir).kernels
    chosen = run_app("crosstune-export", "verify", tiny_bundle_dir, "--json", "--kernels", "portable")
    assert json.loads(chosen.out)["kernels"] == "portable"


def test_against_the_checkpoint(run_app, task, tiny_fp32_bundle_dir, tiny_checkpoint_dir):
    result = run_app(
        "crosstune-export", "verify", tiny_fp32_bundle_dir, "--data", task.test, "--checkpoint", tiny_checkpoint_dir
    )
    assert (result.code, result.err) == (0, "")
    last = result.out.splitlines()[-1]
    assert re.fullmatch(r"checkpoint: 0 of 3 labels differ, largest probability difference \d\.\de-\d\d", last)


def test_a_checkpoint_of_other_labels(run_app, task, tiny_bundle_dir, tiny_checkpoint_dir):
    bundle = task.out / "edited.bundle"
    shutil.copytree(tiny_bundle_dir, bundle)
    run_app("crosstune-export", "labels", "add", bundle, "weather", "rain and sun")
    result = run_app("crosstune-export", "verify", bundle, "--data", task.test, "--checkpoint", tiny_checkpoint_dir)
    assert (result.code, result.err) == (
        2,
        f"error: verify: {bundle} labels texts as shipping, billing, praise, weather, {tiny_checkpoint_dir} texts as "
        "shipping, billing, praise, expected the same. Give the checkpoint that the bundle was built from; a bundle with edited "
        "labels cannot be compared.\n",
    )


def test_another_checkpoint_fails_the_gate(run_app, task, tiny_fp32_bundle_dir, tiny_paper_checkpoint_dir):
    result = run_app(
        "crosstune-export", "verify", tiny_fp32_bundle_dir, "--data", task.test,
        "--checkpoint", tiny_paper_checkpoint_dir,
    )  # fmt: skip
    assert result.code == 6
    assert re.fullmatch(
        re.escape(f"error: {tiny_fp32_bundle_dir}: differs from {tiny_paper_checkpoint_dir} by ")
        + r"\d\.\de-\d\d, expected at most 1e-4\. Build it again\.\n",
        result.err,
    )


def test_another_checkpoint_fails_the_gate_of_int8_too(
    run_app, tmp_path, tiny_bundle_dir, tiny_checkpoint_dir, tiny_examples
):
    """Its labels differ as no rounding makes them: here the checkpoint has learned the labels the other way round."""
    state = json.loads((tiny_checkpoint_dir / "checkpoint.json").read_text("utf-8"))
    names = list(state["labels"])
    turned = {**dict(zip(names, [*names[1:], names[0]], strict=True))}
    rows = [Example(example.text, turned[example.label]) for example in tiny_examples]
    train(rows, LabelSet.from_mapping(state["labels"]), TrainConfig(backbone=state["backbone"]["name"])).save(
        tmp_path / "c"
    )
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"text": e.text, "label": e.label}) + "\n" for e in tiny_examples), "utf-8")
    command = ("crosstune-export", "verify", tiny_bundle_dir, "--data", data, "--checkpoint")
    assert run_app(*command, tiny_checkpoint_dir).code == 0
    result = run_app(*command, tmp_path / "c")
    assert result.code == 6
    pattern = rf"error: {re.escape(str(tiny_bundle_dir))}: \d+ of 18 labels differ from those of .*, expected at most 1\. .*\n"
    assert re.fullmatch(pattern, result.err)
    assert run_app(*command, tmp_path / "c", "--max-flips", "100").code == 0


@pytest.mark.fault("I4")
def test_a_failed_self_test(run_app, tiny_fp32_bundle_dir, monkeypatch):
    monkeypatch.setattr(Classifier, "selftest", lambda self, together=False: SelfTestReport(20, 1, 0.25, 1e-4))
    result = run_app("crosstune-export", "verify", tiny_fp32_bundle_dir)
    assert result.code == 6
    assert result.err == (
        f"error: {tiny_fp32_bundle_dir}: self-test: 1 of 20 samples with other ids, largest probability "
        "difference 2.5e-01, expected 0 and at most 1e-04. Build for this machine.\n"
    )


@pytest.mark.fault("C4")
@pytest.mark.parametrize("option", ["--data", "--checkpoint"])
def test_one_of_two_options_that_go_together(run_app, task, tiny_fp32_bundle_dir, option):
    result = run_app("crosstune-export", "verify", tiny_fp32_bundle_dir, option, task.test)
    assert (result.code, result.out) == (2, "")
    assert (
        result.err
        == "error: verify: found one of --data and --checkpoint, expected both or neither. Give the other one too.\n"
    )
