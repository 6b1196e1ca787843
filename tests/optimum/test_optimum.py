"""Bundles by way of optimum: the exporter inside the build, and a folder that ``optimum-cli`` made."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import pytest

from crosstune import TrainConfig, load_checkpoint, read_examples, read_labels, train
from crosstune.backbone.loading import packaged_folder
from crosstune.checkpoint import predict_proba
from crosstune_export import Classifier
from tests import tolerances

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # those of optimum and of the older transformers are not ours
    pytest.mark.timeout(900),
]
SCRIPTS = Path(sys.executable).parent


def run(*line) -> str:
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources(backbone, folder):
    """The two ways, as options of the build."""
    export = folder / "onnx"
    run(SCRIPTS / "optimum-cli", "export", "onnx", "--task", "feature-extraction", "--library-name", "transformers",
        "--model", backbone, export)  # fmt: skip
    return {"optimum": ("--exporter", "optimum"), "folder": ("--backbone-onnx", export)}


def assert_answers_are_torchs(checkpoint, bundle, texts):
    trained = load_checkpoint(checkpoint)
    expected = predict_proba(trained, trained.load_backbone(device="cpu"), texts)
    classifier = Classifier.load(bundle)
    for batch_size in (1, 3, 32):
        found = classifier.predict_proba(texts, batch_size=batch_size)
        assert np.abs(found - expected).max() <= tolerances.FP32_GRAPH_TO_TORCH
    return classifier.manifest


def test_the_tiny_backbone(tmp_path, tiny_backbone_dir, tiny_checkpoint_dir, tiny_other_texts):
    exporters = {}
    for name, options in sources(tiny_backbone_dir, tmp_path).items():
        bundle = tmp_path / f"{name}.bundle"
        run(
            SCRIPTS / "crosstune-export",
            "build",
            tiny_checkpoint_dir,
            "--output",
            bundle,
            "--precision",
            "fp32",
            *options,
        )
        kinds = [node.op_type for node in onnx.load(bundle / "model.onnx").graph.node]
        assert (kinds.count("Attention"), kinds.count("BiasGelu")) == (2, 2)
        exporters[name] = assert_answers_are_torchs(tiny_checkpoint_dir, bundle, list(tiny_other_texts)).producer[
            "exporter"
        ]
    assert exporters["optimum"] == f"optimum-onnx {metadata.version('optimum-onnx')}"
    assert exporters["folder"].startswith("pytorch ")


def test_minilm_with_the_example_data(tmp_path, minilm, support_desk):
    """int8, whose build compares the fp32 graph with torch first."""
    checkpoint = train(
        read_examples(support_desk.train), read_labels(support_desk.labels), TrainConfig(), backbone=minilm
    )
    checkpoint.save(tmp_path / "support.ckpt")
    texts = [example.text for example in read_examples(support_desk.test)]
    by_torch = predict_proba(checkpoint, minilm, texts).argmax(1)
    found = {}
    for name, options in sources(packaged_folder("minilm"), tmp_path).items():
        bundle = tmp_path / f"{name}.bundle"
        run(
            SCRIPTS / "crosstune-export",
            "build",
            tmp_path / "support.ckpt",
            "--output",
            bundle,
            "--precision",
            "int8",
            *options,
        )
        assert "self-test: " in run(SCRIPTS / "crosstune-export", "verify", bundle)
        classifier = Classifier.load(bundle)
        assert classifier.manifest.quality["fp32_to_torch"]["max_prob_difference"] <= tolerances.FP32_GRAPH_TO_TORCH
        found[name] = classifier.predict_proba(texts)
        assert (found[name].argmax(1) == by_torch).mean() >= 0.97
        assert sum(path.stat().st_size for path in bundle.iterdir()) <= 23_750_000 + 25_000 * 8
    assert np.abs(found["optimum"] - found["folder"]).max() <= tolerances.OTHER_ONNXRUNTIME
