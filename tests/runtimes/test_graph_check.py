"""Forged graphs: refused before onnxruntime sees them, in the words of the Python runtime."""

from __future__ import annotations

import random

import numpy as np
import onnx
import pytest

from crosstune_export import BundleContentError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import check_graph
from tests.fixtures.edited_bundle import edited, put
from tests.fixtures.forged_graphs import BROKEN, FORGERIES, forged, scrambled
from tests.runtimes.every_runtime import Refused


@pytest.fixture(scope="module")
def files(tiny_fp32_bundle_dir):
    return read_bundle(tiny_fp32_bundle_dir)


@pytest.fixture
def verdicts(runtime, files, tiny_fp32_bundle_dir, tmp_path):
    """What the runtime and what Python's check say of a graph; None where it passes to onnxruntime."""
    count = iter(range(10_000))

    def call(model: bytes) -> tuple[str | None, str | None]:
        path = edited(tiny_fp32_bundle_dir, tmp_path / str(next(count)), files={"model.onnx": model})
        ours = theirs = None
        try:
            runtime.load(path).close()
        except Refused as error:
            assert (error.code, error.kind or "BundleContentError") == (5, "BundleContentError")
            ours = error.message if ": the graph has " in error.message else None
        try:
            check_graph(model, files.manifest.graph, runtime.graph_place(path))
        except BundleContentError as error:
            theirs = str(error)
        return ours, theirs

    return call


@pytest.mark.fault("G7", "G15")
@pytest.mark.parametrize("name", [*FORGERIES, *BROKEN])
def test_a_forged_graph_is_refused_in_the_words_of_python(verdicts, files, name):
    ours, theirs = verdicts(forged(files.model, name))
    assert theirs is not None
    if name != "a name with odd characters":  # which Python spells in its own way
        assert ours == theirs
    assert ours.isprintable()


def test_graphs_that_a_build_writes_pass(runtime, tiny_bundle_dir, tiny_pair_bundle_dir, tiny_paper_bundle_dir):
    for path in (tiny_bundle_dir, tiny_pair_bundle_dir, tiny_paper_bundle_dir):
        runtime.load(path).close()


@pytest.mark.parametrize("value", [np.float32("-inf"), np.array([np.inf], np.float16), np.zeros(0, np.float32)])
def test_what_passes_in_python_passes(verdicts, files, value):
    """A number alone may be infinite: graphs hide padding with it."""
    model = onnx.load_from_string(files.model)
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, "planted"))
    assert verdicts(model.SerializeToString()) == (None, None)


@pytest.mark.slow
def test_scrambled_graphs_meet_the_same_verdict(verdicts, files):
    passed = 0
    for model in scrambled(files.model, random.Random(31), 200):
        ours, theirs = verdicts(model)
        assert (ours is None) == (theirs is None), (ours, theirs)
        passed += theirs is None
        if theirs is not None and theirs.isascii() and not set(theirs) & set('\\"'):
            assert ours == theirs
    assert 0 < passed < 200


@pytest.mark.fault("G8")
def test_ids_beyond_the_table_of_words(runtime, tiny_fp32_bundle_dir, files, tmp_path):
    rows = check_graph(files.model, files.manifest.graph, "here")
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("tokens", "suffix_ids", [rows]))
    with pytest.raises(Refused) as caught:
        runtime.load(path)
    assert (caught.value.code, caught.value.message) == (
        5,
        f"{path}/tokenizer.json: has the id {rows}, the graph knows {rows} ids. Build the bundle again.",
    )
