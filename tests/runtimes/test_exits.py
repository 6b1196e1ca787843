"""Bundles with early exits: every runtime gives the answers of Python, and refuses other branches with its message."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from crosstune_export import BundleContentError, Classifier
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import check_graph
from tests import tolerances
from tests.conftest import TINY_OTHER_TEXTS, tiny_log
from tests.fixtures.edited_bundle import edited
from tests.fixtures.forged_branches import FORGED_BRANCHES
from tests.runtimes.every_runtime import Refused, WebRuntime


def test_answers_are_those_of_python(runtime, tiny_exits_bundle_dir):
    """The web runtime has the portable kernels only; the others take the fast ones where they run."""
    texts = [*tiny_log(40), *TINY_OTHER_TEXTS]
    kernels = "portable" if isinstance(runtime, WebRuntime) else "auto"
    expected = Classifier.load(tiny_exits_bundle_dir, kernels=kernels).classify(texts)
    loaded = runtime.load(tiny_exits_bundle_dir)
    for text, answer in zip(texts, expected, strict=True):
        found = loaded.answer(text)
        assert found.label == answer.label
        assert np.abs(np.array(found.probs) - answer.probs).max() <= tolerances.WEB_TO_PYTHON
    loaded.close()


def test_explanations_in_the_browser_are_those_of_all_layers(node, tiny_exits_bundle_dir):
    text = tiny_log(1)[0]
    expected = Classifier.load(tiny_exits_bundle_dir, kernels="portable").explain(text)
    found = node.load(tiny_exits_bundle_dir).explain(text)
    assert found["label"] == expected.prediction.label
    for word, other in zip(found["words"], expected.words, strict=True):
        np.testing.assert_allclose(word["evidence"], other.evidence, atol=tolerances.WEB_EVIDENCE)


@pytest.mark.fault("G7", "G15")
@pytest.mark.parametrize("name", FORGED_BRANCHES)
def test_other_branches_are_refused_with_pythons_message(runtime, tiny_exits_bundle_dir, tmp_path, name):
    files = read_bundle(tiny_exits_bundle_dir)
    model = onnx.load_from_string(files.model)
    FORGED_BRANCHES[name](model)
    data = model.SerializeToString()
    path = edited(tiny_exits_bundle_dir, tmp_path / "x.bundle", files={"model.onnx": data})
    with pytest.raises(BundleContentError) as python:
        check_graph(data, files.manifest.graph, runtime.graph_place(path), files.manifest.tokens.max_length_tokens)
    with pytest.raises(Refused) as caught:
        runtime.load(path).close()
    assert caught.value.message == str(python.value)
