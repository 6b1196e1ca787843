"""``crosstune-export build``: a bundle with its measurements, or an error and no files."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from crosstune_export import Classifier
from crosstune_export.builder import search
from crosstune_export.bundle.files import read_manifest
from tests.cli.conftest import files_in
from tests.conftest import tiny_log

pytestmark = pytest.mark.usefixtures("quick_builds")

BUNDLE_FILES = ["README.md", "manifest.json", "model.onnx", "selftest.json", "tokenizer.json"]


@pytest.mark.slow
def test_writes_a_bundle_and_says_what_was_measured(run_app, task, tiny_checkpoint_dir, tiny_backbone_dir):
    bundle = task.out / "desk.bundle"
    moved = shutil.copytree(tiny_backbone_dir, task.folder / "moved")
    result = run_app(
        "crosstune-export", "build", tiny_checkpoint_dir, "--output", bundle, "--max-flips", 100,
        "--calibration", task.train, "--backbone", moved, "--precision", "int8", "--target", "mobile",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    assert files_in(bundle) == BUNDLE_FILES
    assert files_in(task.out) == ["desk.bundle", "desk.mobile"]
    size = sum((bundle / name).stat().st_size for name in BUNDLE_FILES)
    (
        first,
        runtimes_line,
        fast_line,
        fused_line,
        mobile_line,
        torch_line,
        int8_line,
        truncated_line,
        kernels_line,
        invariance_line,
        expected_line,
    ) = result.out.splitlines()
    assert first == f"{bundle}: int8, {size / 1e6:.1f} MB, 3 labels"
    assert runtimes_line == "  runtimes that read it: python, cpp, web, mobile"
    assert fast_line == "  fast kernels: run it on x86 processors with VNNI"
    assert fused_line == "  attention fused in 2 of 2 layers"
    assert re.fullmatch(rf"{task.out / 'desk.mobile'}: model\.ort, \d\.\d MB, \d+ operators", mobile_line)
    figures = r"(\d+) of (\d+) labels differ, largest probability difference \d\.\de[-+]\d\d"
    assert re.fullmatch(f"  fp32 graph vs torch: {figures}", torch_line).group(1) == "0"
    assert re.fullmatch(f"  int8 vs fp32: {figures}", int8_line).group(2) == "18"
    assert re.fullmatch(f"  int8 vs fp32, truncated texts: {figures}", truncated_line)
    assert re.fullmatch(f"  int8 by fast kernels vs fp32: {figures}", kernels_line)
    assert re.fullmatch(f"  padded batches vs one text at a time: {figures}", invariance_line).group(1) == "0"
    share = r"\d+\.\d%"
    assert re.fullmatch(
        rf"  {share} of the labels of new texts are expected to change \(95% interval {share} to {share}\)",
        expected_line,
    )
    assert Classifier.load(bundle).manifest.name == "desk"


def test_texts_without_labels_teach_fewer_layers(run_app, task, tiny_checkpoint_dir, monkeypatch):
    monkeypatch.setattr(
        search, "time_interleaved", lambda trials, *rest: [float("of" not in trial.variant.name) for trial in trials]
    )
    log = task.folder / "log.jsonl"
    log.write_text("".join(json.dumps({"text": text}) + "\n" for text in tiny_log(220)), "utf-8")
    result = run_app(
        "crosstune-export", "build", tiny_checkpoint_dir, "--output", task.out / "a.bundle", "--max-flips", 100,
        "--calibration", log, "--precision", "int8", "--max-latency-ms", 0.5,
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    taught = read_manifest(task.out / "a.bundle").training_facts.taught
    assert (taught.layers, taught.texts) == (2, 220)
    assert f"\n  taught the answers of 2 layers: on held-out texts {taught.summary}\n" in result.out
    assert "\n  1 of 2 layers to keep within the budget: " in result.out


@pytest.mark.fault("L24")
@pytest.mark.parametrize("target", ["web", "mobile"])
def test_a_target_that_cannot_read_the_tokenizer(run_app, task, with_tokenizer, target, monkeypatch):
    """It is refused before any graph is exported."""
    from crosstune_export.builder import pipeline

    monkeypatch.setattr(pipeline, "_choose", lambda *_: pytest.fail("a graph was exported"))
    backbone, checkpoint = with_tokenizer(pre_tokenizer={"type": "WhitespaceSplit"}), task.out / "a.ckpt"
    trained = run_app(
        "crosstune",
        "train",
        "--train",
        task.train,
        "--labels",
        task.labels,
        "--output",
        checkpoint,
        "--backbone",
        backbone,
    )
    assert trained.code == 0
    result = run_app("crosstune-export", "build", checkpoint, "--output", task.out / "a.bundle", "--target", target)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: target: {target} cannot read the tokenizer of {backbone} (its pre_tokenizer is WhitespaceSplit, "
        "expected BertPreTokenizer). Build with --target cpu for the Python runtime, or train with "
        "another backbone.\n"
    )
    assert files_in(task.out) == ["a.ckpt"]


@pytest.mark.slow
def test_too_many_flips_write_nothing(run_app, task, tiny_checkpoint_dir, monkeypatch):
    """Probabilities of another graph simulate a failed quantization."""
    import numpy as np

    from crosstune_export.builder import parity

    graph_probs = parity.graph_probs
    monkeypatch.setattr(
        parity, "graph_probs", lambda session, *rest: np.roll(graph_probs(session, *rest), session_shift(session), 1)
    )

    def session_shift(session) -> int:
        return int(session._graph.precision == "int8")

    result = run_app(
        "crosstune-export", "build", tiny_checkpoint_dir, "--output", task.out / "a.bundle", "--precision", "int8"
    )
    assert (result.code, result.out) == (6, "")
    assert re.fullmatch(
        r"error: budget: no graph of 1 tried keeps within it; nearest is 'int8' with \d\.\d MB and (\d+) of \1 labels that differ from "
        r"fp32 \(\1 of \1 labels differ from fp32, at most 2% allowed\)\. "
        r"Raise --max-flips, or build with --precision fp32\.\n",
        result.err,
    )
    assert files_in(task.out) == []


@pytest.mark.slow
def test_a_budget_that_takes_a_layer_says_what_it_cost(run_app, task, tiny_checkpoint_dir, monkeypatch):
    from crosstune_export.builder import choosing, pipeline

    monkeypatch.setattr(choosing, "MAX_ACCURACY_LOSS", 1.0)
    arguments = ("crosstune-export", "build", tiny_checkpoint_dir, "--precision", "int8", "--max-flips", 100)
    whole = pipeline.build(
        tiny_checkpoint_dir, task.out / "a.bundle", pipeline.BuildConfig("int8", max_flips_percent=100)
    )
    budget = (whole.shipped.size_bytes - 4000) / 1e6
    result = run_app(*arguments, "--output", task.out / "b.bundle", "--max-size-mb", budget)
    assert (result.code, result.err) == (0, "")
    first, _, _, fused_line, cost, *tried = result.out.splitlines()
    assert re.fullmatch(rf"{task.out / 'b.bundle'}: int8, 0\.1 MB, 3 labels", first)
    assert fused_line == "  attention fused in 1 of 1 layers"
    assert re.fullmatch(
        r"  1 of 2 layers to keep within the budget: accuracy on held-out folds \d+\.\d%, \d+\.\d% with all layers",
        cost,
    )
    assert re.fullmatch(r"  tried int8: 0\.1 MB, \d+\.\d\d ms: 0\.\d+ MB, at most 0\.\d+ MB allowed", tried[0])
    assert re.fullmatch(r"  tried int8, 1 of 2 layers: 0\.1 MB.*: shipped", tried[4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--precision", "int4"),
            "Invalid value for '--precision': 'int4' is not one of 'auto', 'fp32', 'fp16', 'int8'. "
            "See crosstune-export build --help.",
        ),
        (("--precision", "int8", "--target", "cuda"), "precision: found 'int8', expected auto, fp16 or fp32 for cuda."),
        (("--max-size-mb", "0"), "max_size_mb: found 0.0, expected more than 0."),
        (("--max-latency-ms", "-1"), "max_latency_ms: found -1.0, expected more than 0."),
        (("--onnxruntime", "new"), "onnxruntime: found 'new', expected a version such as 1.20."),
        (
            ("--onnxruntime", "1.13"),
            "onnxruntime: found 1.13, expected 1.14 or later: older ones lack operators of opset 18. "
            "Use a later onnxruntime.",
        ),
        (
            ("--exporter", "optimum", "--backbone-onnx", "x"),
            "exporter: optimum and backbone_onnx are both given, expected one of them.",
        ),
        (("--max-flips", "101"), "max_flips: found 101.0, expected 0 to 100 (percent)."),
        (("--max-flips", "nan"), "max_flips: found nan, expected 0 to 100 (percent)."),
        (("--release", str(1 << 31)), "release: found 2147483648, expected 0 to 2147483647."),
    ],
)
def test_settings_out_of_range(run_app, task, tiny_checkpoint_dir, arguments, message):
    result = run_app("crosstune-export", "build", tiny_checkpoint_dir, "--output", task.out / "a.bundle", *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")
    assert files_in(task.out) == []


def test_a_missing_calibration_file(run_app, task, tiny_checkpoint_dir):
    result = run_app(
        "crosstune-export", "build", tiny_checkpoint_dir, "--output", task.out / "a.bundle",
        "--calibration", task.folder / "c.jsonl",
    )  # fmt: skip
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"error: {task.folder / 'c.jsonl'}: cannot be read (No such file or directory), expected a file. Check the path.\n"
    )
    assert files_in(task.out) == []
