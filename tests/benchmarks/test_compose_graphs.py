"""The composed graphs of ``benchmarks/robustness/compose_graphs.py``: what they find, and a small part of them."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks.robustness.compose_graphs import _M_PERTURB, _PATTERNS, run_once, unknown_form
from tests.conftest import REPO_ROOT


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills new memory")
@pytest.mark.fault("L17")
@pytest.mark.parametrize(("saturate", "differ"), [(7, True), (1, False)])
def test_two_fill_patterns_show_memory_that_nobody_wrote(saturate, differ):
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.UINT8, saturate=saturate)
    values = (helper.make_tensor_value_info(name, kind, None) for name, kind in (("x", 1), ("y", 2)))
    graph = helper.make_graph([node], "g", [next(values)], [next(values)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()
    library, found = ctypes.CDLL(None), []
    try:
        for pattern in _PATTERNS:
            library.mallopt(_M_PERTURB, pattern)
            found.append(run_once(model, {"x": np.ones(600, np.float32)}))
    finally:
        library.mallopt(_M_PERTURB, 0)
    assert None not in found
    assert (found[0] != found[1]) is differ


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (helper.make_node("Sqrt", ["x"], ["y"]), ""),
        (helper.make_node("Loop", ["x"], ["y"]), "Loop: not in the rules"),
        (helper.make_node("Add", ["x", ""], ["y"]), "Add: inputs ['x', '']"),
        (helper.make_node("Cast", ["x"], ["y"], to=1, saturate=7), "Cast: attribute saturate"),
        (helper.make_node("Softmax", ["x"], ["y"], axis=99), "Softmax: axis=99"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.op_type,
)
def test_what_no_build_writes_is_told_without_our_check(node, reason):
    assert unknown_form(node) == reason


@pytest.mark.fault("L17")
def test_some_graphs(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.robustness.compose_graphs",
        "--graphs",
        "400",
        "--json",
        tmp_path / "x",
    ]
    subprocess.run(command, cwd=REPO_ROOT, check=True, capture_output=True, timeout=250)
    found = json.loads((tmp_path / "x").read_text("utf-8"))
    assert found["wrong"] == []
    assert sum(found["results"].values()) == 400
    assert min(found["results"]["ran"], found["results"]["refused"]) > 50
