"""Rewrites of attention, before and after with onnxruntime's own optimizations off."""

from __future__ import annotations

import numpy as np
import pytest
from onnxscript import ir

from crosstune_export.builder.passes import (
    distance_bias,
    fuse_encoder,
    join_biases,
    padding_mask,
    split_biased_attention,
)
from tests import tolerances
from tests.crosstune_export.builder.passes.test_passes import (
    FLOAT,
    INT64,
    RANDOM,
    constant,
    model_of,
    operators,
    run,
    value,
)


@pytest.mark.parametrize(
    ("lowest", "kept"), [(float(np.finfo(np.float32).min), False), (-10_000.0, False), (-5.0, True)]
)
def test_padding_has_no_weight_whatever_an_exporter_adds_to_its_scores(lowest, kept):
    """Older versions of transformers add the lowest number; no build writes that attribute, so readers refuse it."""
    x, mask = value("x", FLOAT, ["b", "t", 4]), value("mask", ir.DataType.INT32, ["b", "t"])
    weights = [
        constant("w", RANDOM.normal(size=(4, 12)).astype(np.float32)),
        constant("bias", np.zeros(12, np.float32)),
    ]
    node = ir.node(
        "Attention", [x, *weights, mask], {"num_heads": 2, "mask_filter_value": lowest}, domain="com.microsoft"
    )
    node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = "y", FLOAT, x.shape
    model = model_of([x, mask], [node], [node.outputs[0]], weights)
    feeds = {"x": RANDOM.normal(size=(2, 3, 4)).astype(np.float32), "mask": np.array([[1, 1, 1], [1, 1, 0]], np.int32)}
    before = run(model, feeds)[0]
    assert fuse_encoder.apply(model) == 1
    (fused,) = (node for node in model.graph if node.op_type == "Attention")
    assert ("mask_filter_value" in fused.attributes) is kept
    np.testing.assert_array_equal(run(model, feeds)[0], before)


def test_join_biases():
    """Two layers share the position bias and the mask: they share the sum too. A sum that is used elsewhere stays."""
    scores, bias, mask = (value(name, FLOAT, ["b", 2, "t", "t"]) for name in ("scores", "bias", "mask"))
    nodes, outputs, last = [], [], scores
    for layer in range(3):
        inner = ir.node("Add", [last, bias])
        outer = ir.node("Add", [inner.outputs[0], mask])
        softmax = ir.node("Softmax", outer.outputs, attributes={"axis": -1})
        for name, node in (("inner", inner), ("outer", outer), ("softmax", softmax)):
            node.outputs[0].name, node.outputs[0].dtype = f"{name}_{layer}", FLOAT
            node.outputs[0].shape = scores.shape
        nodes += [inner, outer, softmax]
        last = softmax.outputs[0]
        outputs = [inner.outputs[0], last]
    model = model_of([scores, bias, mask], nodes, outputs, [])
    feeds = {name: RANDOM.normal(size=(1, 2, 3, 3)).astype(np.float32) for name in ("scores", "bias", "mask")}
    before = run(model, feeds)
    assert join_biases.apply(model) == 2
    assert operators(model).count("Add") == 1 + 2 + 2
    for old, new in zip(before, run(model, feeds), strict=True):
        np.testing.assert_allclose(new, old, rtol=0, atol=tolerances.STATES_PADDED)
    assert join_biases.apply(model) == 0


def test_split_biased_attention():
    states, bias = value("states", FLOAT, ["b", "t", 8]), value("bias", FLOAT, ["b", 2, "t", "t"])
    weights = constant("weights", RANDOM.normal(size=(8, 24)).astype(np.float32))
    added = constant("added", RANDOM.normal(size=24).astype(np.float32))
    biased = ir.node(
        "Attention",
        [states, weights, added, None, None, bias],
        domain="com.microsoft",
        attributes={"num_heads": 2},
    )
    plain = ir.node(
        "Attention", [biased.outputs[0], weights, added], domain="com.microsoft", attributes={"num_heads": 2}
    )
    for name, node in (("middle", biased), ("y", plain)):
        node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = name, FLOAT, states.shape
    model = model_of([states, bias], [biased, plain], plain.outputs, [weights, added])
    feeds = {
        "states": RANDOM.normal(size=(2, 5, 8)).astype(np.float32),
        "bias": RANDOM.normal(size=(2, 2, 5, 5)).astype(np.float32),
    }
    (before,) = run(model, feeds)
    assert split_biased_attention.apply(model) == 1
    assert operators(model) == ["MatMul", "Add", "Split", "MultiHeadAttention", "Attention"]
    np.testing.assert_allclose(run(model, feeds)[0], before, rtol=0, atol=tolerances.STATES_PADDED)
    assert split_biased_attention.apply(model) == 0


def attention_model(bias_from):
    """Fused attention whose bias comes from an input: 0 where it is 1, -10,000 where it is 0."""
    states = value("states", FLOAT, ["b", "t", 8])
    mask = value(bias_from, INT64, ["b", "t"])
    weights = constant("weights", RANDOM.normal(size=(8, 24)).astype(np.float32))
    qkv_bias = constant("qkv_bias", RANDOM.normal(size=24).astype(np.float32))
    axes, one = constant("axes", np.array([1, 2])), constant("one", np.array(1, np.float32))
    large = constant("large", np.array(1e4, np.float32))
    shape_last, full = constant("last", np.array([1])), constant("full", np.array([1, 1], np.int64))
    cast = ir.node("Cast", [mask], attributes={"to": FLOAT})
    minus = ir.node("Sub", [cast.outputs[0], one])
    times = ir.node("Mul", [minus.outputs[0], large])
    wide = ir.node("Unsqueeze", [times.outputs[0], axes])  # (B, 1, 1, T)
    length = ir.node("Shape", [mask], attributes={"start": 1})
    target = ir.node("Concat", [full, length.outputs[0], shape_last], attributes={"axis": 0})
    expand = ir.node("Expand", [wide.outputs[0], target.outputs[0]])  # (B, 1, T, T)
    attention = ir.node(
        "Attention",
        [states, weights, qkv_bias, None, None, expand.outputs[0]],
        domain="com.microsoft",
        attributes={"num_heads": 2},
    )
    attention.outputs[0].name, attention.outputs[0].dtype = "y", FLOAT
    attention.outputs[0].shape = ir.Shape(["b", "t", 8])
    nodes = [cast, minus, times, wide, length, target, expand, attention]
    for index, node in enumerate(nodes[:-1]):
        node.outputs[0].name = f"step_{index}"
    initializers = [weights, qkv_bias, axes, one, large, shape_last, full]
    return model_of([states, mask], nodes, [attention.outputs[0]], initializers)


def test_padding_mask():
    model = attention_model("attention_mask")
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    feeds = {"states": RANDOM.normal(size=(2, 4, 8)).astype(np.float32), "attention_mask": mask}
    before = run(model, feeds)[0]
    assert padding_mask.apply(model, 16) == 1
    assert operators(model) == ["Cast", "Attention"]
    after = run(model, feeds)[0]
    assert np.abs(after - before)[mask == 1].max() <= tolerances.STATES_PADDED
    changed = feeds | {"states": feeds["states"].copy()}
    changed["states"][1, 2:] = 99  # padding
    assert np.abs(run(model, changed)[0] - after)[mask == 1].max() <= tolerances.STATES_PADDED
    assert padding_mask.apply(model, 16) == 0


def test_padding_mask_leaves_other_biases_alone():
    model = attention_model("another_input")
    before = operators(model)
    assert padding_mask.apply(model, 16) == 0
    assert operators(model) == before


def test_padding_mask_leaves_a_sliding_window_alone():
    """A window that is narrower than the longest text hides tokens; one that is wider hides padding only."""
    for length, expected in ((16, 0), (4, 1)):
        model = attention_model("attention_mask")
        graph = model.graph
        attention = graph[-1]
        window = np.where(abs(np.arange(64)[:, None] - np.arange(64)) < 5, 0, -1e4).astype(np.float32)[None, None]
        table, zero, two = (
            constant("window", window),
            constant("zeros", np.zeros(2, np.int64)),
            constant("two", np.array([2, 3])),
        )
        mask = next(item for item in graph.inputs if item.name == "attention_mask")
        size = ir.node("Shape", [mask], attributes={"start": 1}, name="size")
        ends = ir.node("Concat", [size.outputs[0], size.outputs[0]], attributes={"axis": 0}, name="ends")
        near = ir.node("Slice", [table, zero, ends.outputs[0], two], name="near")
        both = ir.node("Add", [attention.inputs[5], near.outputs[0]], name="both")
        for node in (size, ends, near, both):
            node.outputs[0].name = node.name
            graph.insert_before(attention, node)
        for item in (table, zero, two):
            graph.initializers[item.name] = item
        attention.replace_input_with(5, both.outputs[0])
        assert padding_mask.apply(model, length) == expected


def add_place_bias(model, operator):
    """Adds a bias of the places i and j to the bias of attention: the slope of a head times ``j operator i``."""
    graph = model.graph
    slopes = constant("slopes", RANDOM.normal(size=(1, 2, 1, 1)).astype(np.float32))
    zero, one, rows = constant("from", np.int64(0)), constant("by", np.int64(1)), constant("rows", np.array([1]))
    for added in (slopes, zero, one, rows):
        graph.initializers[added.name] = added
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    shape = ir.node("Shape", [mask], attributes={"start": 1, "end": 2})
    tokens = ir.node("Squeeze", shape.outputs)
    places = ir.node("Range", [zero, *tokens.outputs, one])
    floats = ir.node("Cast", places.outputs, attributes={"to": FLOAT})
    queries = ir.node("Unsqueeze", [*floats.outputs, rows])
    of_both = ir.node(operator, [*floats.outputs, *queries.outputs])
    by_head = ir.node("Mul", [slopes, *of_both.outputs])
    (attention,) = (node for node in graph if node.op_type == "Attention")
    total = ir.node("Add", [*by_head.outputs, attention.inputs[5]])
    nodes = [shape, tokens, places, floats, queries, of_both, by_head, total]
    for index, node in enumerate(nodes):
        node.outputs[0].name = f"place_{index}"
        node.outputs[0].dtype = FLOAT if index > 2 else INT64
    graph.insert_before(attention, nodes)
    attention.replace_input_with(5, total.outputs[0])
    return model


def test_biases_by_distance_are_looked_up():
    model = add_place_bias(attention_model("attention_mask"), "Sub")
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    feeds = {"states": RANDOM.normal(size=(2, 5, 8)).astype(np.float32), "attention_mask": mask}
    before = run(model, feeds)[0]
    assert distance_bias.apply(model, 16) == 1
    table = model.graph.initializers[distance_bias.TABLE].const_value.numpy()
    slopes = table[:, 1] - table[:, 0]
    np.testing.assert_allclose(table, slopes[:, None] * np.arange(-15, 16), rtol=1e-5, atol=1e-5)
    after = run(model, feeds)[0]
    assert np.abs(after - before)[mask == 1].max() <= tolerances.STATES_PADDED
    changed = feeds | {"states": feeds["states"].copy()}
    changed["states"][1, 3:] = 99  # padding
    assert np.abs(run(model, changed)[0] - after)[mask == 1].max() <= tolerances.STATES_PADDED


@pytest.mark.parametrize("of", ["attention_mask", "other"])
def test_other_biases_stay(of):
    """Biases of both places, and a sum whose other part is no padding."""
    model = attention_model(of)
    if of == "other":
        mask = value("attention_mask", INT64, ["b", "t"])
        model.graph.inputs.append(mask)
    model = add_place_bias(model, "Sub" if of == "other" else "Mul")
    before = operators(model)
    assert distance_bias.apply(model, 16) == 0
    assert operators(model) == before


def test_attention_without_biases_stays():
    model = attention_model("attention_mask")
    assert distance_bias.apply(model, 16) == 0
    assert padding_mask.apply(model, 16) == 1
    assert distance_bias.apply(model, 16) == 0
