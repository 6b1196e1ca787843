"""The folder that a build for phones writes next to the bundle."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from crosstune_export import Classifier, GateError
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.targets import mobile
from crosstune_export.builder.targets.mobile import convert, mobile_path, required_operators, write_mobile
from crosstune_export.bundle.files import read_bundle

pytestmark = pytest.mark.usefixtures("quick_builds")

TEXTS = ["where is my parcel", "", "the money back, please", "parcel " * 100]


@pytest.fixture(params=["tiny_bundle_dir", "tiny_exits_bundle_dir"])
def parts(request, tmp_path):
    """A copy of a bundle, without and with early exits, its files, and inputs of its graph."""
    bundle = shutil.copytree(request.getfixturevalue(request.param), tmp_path / "phone.bundle")
    rows = [np.array([ids], np.int64) for ids in Classifier.load(bundle).token_ids(TEXTS)]
    return bundle, read_bundle(bundle), [{"input_ids": ids, "attention_mask": np.ones_like(ids)} for ids in rows]


def write(bundle, files, feeds):
    return write_mobile(bundle, files.manifest, convert(bundle, files.manifest.graph, files.model, feeds))


def test_the_converted_graph_answers_as_the_bundle_does(parts):
    bundle, files, feeds = parts
    written = write(bundle, files, feeds)
    assert written.path == mobile_path(bundle) == bundle.with_name("phone.mobile")
    assert sorted(path.name for path in written.path.iterdir()) == [
        "README.md",
        "model.ort",
        "required_operators.config",
    ]
    session = onnxruntime.InferenceSession(written.path / "model.ort", providers=["CPUExecutionProvider"])
    probs = np.concatenate([session.run(["probs"], feed)[0] for feed in feeds])
    assert probs == pytest.approx(Classifier.load(bundle, kernels="portable").predict_proba(TEXTS), abs=1e-6)
    card = (written.path / "README.md").read_text("utf-8")
    assert files.manifest.digest in card and f"the {written.operators} operators" in card
    files_written = [(written.path / name).read_bytes() for name in ("README.md", "required_operators.config")]
    again = write(bundle, files, feeds)
    assert (again.path, again.operators) == (written.path, written.operators)
    # onnxruntime orders the contents of model.ort anew each time, with some bytes of padding more or less.
    assert abs((again.path / "model.ort").stat().st_size - written.size_bytes) < 1000
    assert [(written.path / name).read_bytes() for name in ("README.md", "required_operators.config")] == files_written


def test_the_operators_are_those_that_the_tool_of_onnxruntime_lists(parts, tmp_path):
    """The tool runs in another process because it leaves files open and sets up logging."""
    bundle, files, feeds = parts
    written = write(bundle, files, feeds)
    code = (
        "import pathlib, sys\n"
        "from onnxruntime.tools.ort_format_model import create_config_from_models\n"
        "create_config_from_models([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]), False)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(written.path / "model.ort"), str(tmp_path / "tool.config")],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    tool_lines = [line for line in (tmp_path / "tool.config").read_text().splitlines() if not line.startswith("#")]
    lines = (written.path / "required_operators.config").read_text().splitlines()
    assert lines == tool_lines
    assert written.operators == sum(len(line.split(";")[2].split(",")) for line in tool_lines)


@pytest.mark.parametrize("old", [False, True])
def test_other_probabilities_are_refused_and_nothing_is_written(
    tmp_path, tiny_checkpoint_dir, tiny_bundle_dir, monkeypatch, old
):
    bundle = tmp_path / "phone.bundle"
    if old:
        shutil.copytree(tiny_bundle_dir, bundle)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(mobile, "TOLERANCE", -1.0)
    with pytest.raises(GateError, match=r"^the graph for phones of phone\.bundle: differs from the bundle by "):
        build(tiny_checkpoint_dir, bundle, BuildConfig("fp32", target="mobile"), force=old)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_operators_are_listed_by_domain_and_opset():
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], np.eye(4, dtype=np.float32).flatten())
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"]),
        helper.make_node("Gelu", ["b"], ["y"], domain="com.microsoft"),
    ]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]), opset_imports=opsets, ir_version=10)
    assert required_operators(model) == "ai.onnx;13;MatMul,Softmax\ncom.microsoft;1;Gelu\n"


def test_logging_stays_as_it_was(parts):
    bundle, files, feeds = parts
    before = (logging.getLogger().handlers[:], logging.getLogger().level)
    write(bundle, files, feeds)
    assert (logging.getLogger().handlers, logging.getLogger().level) == before
