"""Graphs for another onnxruntime, and in half precision."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from crosstune_export import Classifier, ConfigError, GateError
from crosstune_export.builder.exporters.runtime_target import runtime_target
from crosstune_export.builder.passes import half_precision
from crosstune_export.builder.pipeline import BuildConfig, build
from tests import tolerances

pytestmark = pytest.mark.usefixtures("quick_builds")

#: The oldest onnxruntime that the Python runtime works with and that has a wheel for this Python.
OLDEST = "1.20.0" if sys.version_info < (3, 14) else "1.24.1"


@pytest.mark.parametrize(
    ("version", "ir_version", "written"),
    [
        ("1.14", 8, "1.14.0"),
        ("1.15.1", 8, "1.15.1"),
        ("1.16", 9, "1.16.0"),
        ("1.18", 10, "1.18.0"),
        ("2.0", 10, "2.0.0"),
    ],
)
def test_versions(version, ir_version, written):
    target = runtime_target(version)
    assert (target.min_onnxruntime, target.opset, target.ir_version) == (written, 18, ir_version)


@pytest.mark.parametrize("version", ["", "1", "1.20.0.1", "one", "1.20rc1"])
def test_what_is_no_version(version):
    with pytest.raises(ConfigError) as caught:
        runtime_target(version)
    assert str(caught.value) == f"onnxruntime: found {version!r}, expected a version such as 1.20."


def test_the_graph_says_what_it_needs(tmp_path, tiny_checkpoint_dir):
    build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig("fp32", onnxruntime="1.16"))
    model = onnx.load(tmp_path / "x.bundle" / "model.onnx")
    assert model.ir_version == 9
    graph = Classifier.load(tmp_path / "x.bundle").manifest.graph
    assert (graph.ir_version, graph.min_onnxruntime) == (9, "1.16.0")


@pytest.mark.slow
def test_the_oldest_onnxruntime_gives_the_same_answers(tmp_path, tiny_bundle_dir, tiny_fp32_bundle_dir, repo_root):
    folder = tmp_path / "oldest"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--target", folder, f"onnxruntime=={OLDEST}"],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    code = (
        "import json, sys, onnxruntime\nfrom crosstune_export import Classifier\n"
        "found = [Classifier.load(path).predict_proba(['where is my parcel', 'thanks']).tolist() for path in sys.argv[1:]]\n"
        "print(json.dumps([onnxruntime.__version__, found]))"
    )
    # The packages in the folder take precedence over the environment's onnxruntime, of which only the metadata is read.
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_bundle_dir, tiny_fp32_bundle_dir],
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{repo_root}"},
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    version, found = json.loads(done.stdout.splitlines()[-1])
    assert version == OLDEST
    for path, probs in zip((tiny_bundle_dir, tiny_fp32_bundle_dir), found, strict=True):
        expected = Classifier.load(path).predict_proba(["where is my parcel", "thanks"])
        assert np.abs(np.array(probs) - expected).max() <= tolerances.OTHER_ONNXRUNTIME


def test_a_backbone_beyond_half_precision(tmp_path, tiny_checkpoint_dir, monkeypatch):
    monkeypatch.setattr(half_precision, "_LARGEST", 1e-3)
    with pytest.raises(
        GateError,
        match=r"^precision: the backbone's .+ reaches [\d.]+, expected at most 0\.001 for fp16\. Build with --precision fp32\.$",
    ):
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig("fp16"))
    assert list(tmp_path.iterdir()) == []


def test_half_precision(tmp_path, tiny_checkpoint_dir, tiny_fp32_bundle_dir, tiny_other_texts):
    """On a CPU, where onnxruntime widens each operator: the numbers are those of float16 constants and values."""
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig(target="cuda", max_flips_percent=100))
    assert result.manifest.graph.precision == "fp16"
    assert result.shipped.passes["half_precision"] > 10
    model = onnx.load(tmp_path / "x.bundle" / "model.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert (kinds["label_keys"], kinds["label_bias"]) == (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    large = [tensor.data_type for tensor in model.graph.initializer if len(tensor.raw_data) > 1000]
    assert large.count(onnx.TensorProto.FLOAT16) > 8
    texts = list(tiny_other_texts)
    expected = Classifier.load(tiny_fp32_bundle_dir).predict_proba(texts)
    found = Classifier.load(tmp_path / "x.bundle")
    for batch_size in (1, 8):
        difference = np.abs(found.predict_proba(texts, batch_size=batch_size) - expected).max()
        assert 0 < difference <= tolerances.FP16_GRAPH_TO_FP32
    assert found.selftest().passed
