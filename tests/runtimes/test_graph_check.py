"""Forged graphs: every runtime refuses them before onnxruntime, with the message of the Python runtime."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest

from crosstune_export import BundleContentError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import check_graph
from tests.fixtures.edited_bundle import edited, put
from tests.fixtures.forged_graphs import BROKEN, FORGERIES, forged, in_function, scrambled
from tests.runtimes.every_runtime import Refused


@pytest.fixture(scope="module")
def files(tiny_fp32_bundle_dir):
    return read_bundle(tiny_fp32_bundle_dir)


@pytest.fixture
def verdicts(runtime, files, tiny_fp32_bundle_dir, tmp_path):
    """The messages of the runtime and of Python's check for a graph; None when the check passes."""
    count = iter(range(10_000))

    def call(model: bytes) -> tuple[str | None, str | None]:
        path = edited(tiny_fp32_bundle_dir, tmp_path / str(next(count)), files={"model.onnx": model})
        message = python_message = None
        try:
            runtime.load(path).close()
        except Refused as error:
            assert (error.code, error.kind or "BundleContentError") == (5, "BundleContentError")
            message = error.message if ": the graph has " in error.message else None
        try:
            check_graph(model, files.manifest.graph, runtime.graph_place(path))
        except BundleContentError as error:
            python_message = str(error)
        return message, python_message

    return call


@pytest.mark.fault("G7", "G15")
@pytest.mark.parametrize("name", [*FORGERIES, *BROKEN])
def test_a_forged_graph_is_refused_with_pythons_message(verdicts, files, name):
    message, python_message = verdicts(forged(files.model, name))
    assert python_message is not None
    if name != "a name with odd characters":  # Python escapes it differently
        assert message == python_message
    assert message.isprintable()


def test_graphs_of_the_build_pass(runtime, tiny_bundle_dir, tiny_pair_bundle_dir, tiny_paper_bundle_dir):
    for path in (tiny_bundle_dir, tiny_pair_bundle_dir, tiny_paper_bundle_dir):
        runtime.load(path).close()


def test_a_graph_as_one_call_of_a_function_passes(verdicts, files):
    model = onnx.load_from_string(files.model)
    in_function(model)
    assert verdicts(model.SerializeToString()) == (None, None)


@pytest.mark.parametrize("value", [np.float32("-inf"), np.array([np.inf], np.float16), np.zeros(0, np.float32)])
def test_unusual_constants_pass(verdicts, files, value):
    """A single number may be infinite, because graphs mask padding with it."""
    model = onnx.load_from_string(files.model)
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, "planted"))
    assert verdicts(model.SerializeToString()) == (None, None)


@pytest.mark.slow
def test_scrambled_graphs_get_the_same_verdict(verdicts, files):
    passed = 0
    for model in scrambled(files.model, random.Random(31), 200):
        message, python_message = verdicts(model)
        assert (message is None) == (python_message is None), (message, python_message)
        passed += python_message is None
        if python_message is not None and python_message.isascii() and not set(python_message) & set('\\"'):
            assert message == python_message
    assert 0 < passed < 200


@pytest.mark.fault("G8")
def test_ids_beyond_the_embedding_table(runtime, tiny_fp32_bundle_dir, files, tmp_path):
    rows = check_graph(files.model, files.manifest.graph, "here")
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("tokens", "suffix_ids", [rows]))
    with pytest.raises(Refused) as caught:
        runtime.load(path)
    assert (caught.value.code, caught.value.message) == (
        5,
        f"{path}/tokenizer.json: has the id {rows}, expected ids below {rows}. Build the bundle again.",
    )
