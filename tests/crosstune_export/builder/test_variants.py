"""An optional rewrite that raises an error leaves the graph as it was, and the manifest says so."""

from __future__ import annotations

import onnx
import pytest
from onnxscript import ir

from crosstune_export.builder.variants import FAILED, try_pass
from crosstune_export.bundle.facts import QualityFacts


@pytest.fixture
def model(tiny_fp32_bundle_dir):
    return ir.from_proto(onnx.load(tiny_fp32_bundle_dir / "model.onnx"))


def test_a_rewrite_that_fails_halfway_leaves_the_graph_as_it_was(model):
    before = ir.serde.serialize_model(model.clone()).SerializeToString(deterministic=True)

    def fails(model):
        model.graph[0].op_type = "Other"
        raise IndexError("list index out of range")

    same, count = try_pass(model, fails)
    assert count == FAILED
    assert ir.serde.serialize_model(same).SerializeToString(deterministic=True) == before


def test_a_rewrite_that_works_is_counted(model):
    def renames(model):
        model.graph[0].op_type = "Other"
        return 1

    changed, count = try_pass(model, renames)
    assert (count, changed.graph[0].op_type) == (1, "Other")
    assert model.graph[0].op_type != "Other"


def test_the_manifest_keeps_what_failed():
    facts = QualityFacts("fp32", None, None, None, None, rewrites={"padding_mask": FAILED, "fuse_encoder": 2})
    body = facts.to_json()
    assert body["rewrites"] == "padding_mask failed, fuse_encoder 2"
    again = QualityFacts.from_json(body, "fp32")
    assert again == facts
    assert again.failed_rewrites == ("padding_mask",)
