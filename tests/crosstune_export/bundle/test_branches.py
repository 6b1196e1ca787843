"""Branches are allowed as builds with early exits write them, and in no other form."""

from __future__ import annotations

import onnx
import pytest

from crosstune_export import BundleContentError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import check_graph
from crosstune_export.bundle.label_bank import without_exits
from tests.fixtures.forged_branches import FORGED_BRANCHES


@pytest.fixture(scope="module")
def files(tiny_exits_bundle_dir):
    return read_bundle(tiny_exits_bundle_dir)


def test_what_a_build_writes_passes(files):
    longest = files.manifest.tokens.max_length_tokens
    assert check_graph(files.model, files.manifest.graph, "here", longest) > 0
    assert check_graph(without_exits(files.model), files.manifest.graph, "here", longest) > 0


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a branch in a branch", "the operator 'If' of ai.onnx"),
        ("a constant in a branch", "a constant in a branch"),
        ("a foreign operator in a branch", "the operator 'Loop' of ai.onnx"),
        ("a third branch", "the attribute 'body' of If"),
        ("branches with other numbers of outputs", "a node If whose branches give another number of values"),
        ("branches with other shapes", "a node If whose shapes do not fit"),
        ("a condition of another type", "a node If with other inputs than one condition"),
        ("rows that may be none", "a node TopK that may select no row"),
        ("rows that may be none by a constant", "a node TopK that may select no row"),
    ],
)
def test_other_branches_are_refused(files, name, reason):
    model = onnx.load_from_string(files.model)
    FORGED_BRANCHES[name](model)
    with pytest.raises(BundleContentError, match="the graph has") as caught:
        check_graph(model.SerializeToString(), files.manifest.graph, "here", 16)
    assert str(caught.value).split("the graph has ")[1].startswith(reason + ", expected only what a build writes")


@pytest.mark.fault("G7")
def test_rows_of_two_selections_do_not_mix(files):
    model = onnx.load_from_string(files.model)
    FORGED_BRANCHES["all rows beside some"](model)
    with pytest.raises(BundleContentError, match="whose shapes do not fit"):
        check_graph(model.SerializeToString(), files.manifest.graph, "here", 16)
