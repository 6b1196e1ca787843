"""Each rewrite on the smallest graph that shows it, run before and after with onnxruntime's own optimizations off."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnxscript import ir

from crosstune.features.attention import SHARPNESS
from crosstune_export.builder.passes import (
    centre_output,
    drop_positions,
    float16_labels,
    fold_constants,
    label_attention,
    mean_by_product,
    product_quantize_embeddings,
    quantize_embeddings,
    share_constants,
    split_skip_layer_norm,
)
from tests import tolerances
from tests.oracle.head_reference import reference_attention, reference_prior_probs

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
RANDOM = np.random.default_rng(13)


def value(name, dtype, shape):
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(dtype))


def constant(name, array):
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    return ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def model_of(inputs, nodes, outputs, initializers):
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=initializers,
        opset_imports={"": 18, "com.microsoft": 1},
        name="small",
    )
    return ir.Model(graph, ir_version=10)


def run(model, feeds):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = ir.serde.serialize_model(model).SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def operators(model):
    return [node.op_type for node in model.graph]


def skip_norm_model(bias, fourth_output):
    x, skip = value("x", FLOAT, ["b", "t", 8]), value("skip", FLOAT, ["b", "t", 8])
    weights = [constant(name, RANDOM.normal(size=8).astype(np.float32)) for name in ("gamma", "beta", "bias")]
    used = weights if bias else weights[:2]
    node = ir.node(
        "SkipLayerNormalization",
        [x, skip, *used],
        domain="com.microsoft",
        attributes={"epsilon": 1e-3},
        num_outputs=4 if fourth_output else 1,
        name="norm",
    )
    for output, name in zip(node.outputs, ("y", "mean", "deviation", "total"), strict=False):
        output.name, output.dtype, output.shape = name, FLOAT, ir.Shape(["b", "t", 8])
    outputs = [node.outputs[0], node.outputs[3]] if fourth_output else [node.outputs[0]]
    return model_of([x, skip], [node], outputs, used)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("fourth_output", [True, False])
def test_split_skip_layer_norm(bias, fourth_output):
    model = skip_norm_model(bias, fourth_output)
    feeds = {name: RANDOM.normal(size=(2, 3, 8)).astype(np.float32) for name in ("x", "skip")}
    before = run(model, feeds)
    assert split_skip_layer_norm.apply(model) == 1
    assert operators(model) == ["Add"] * (1 + bias) + ["LayerNormalization"]
    for expected, found in zip(before, run(model, feeds), strict=True):
        assert np.abs(found - expected).max() <= tolerances.STATES_PADDED
    assert split_skip_layer_norm.apply(model) == 0


def test_share_constants():
    x = value("x", FLOAT, ["b", 4])
    weights = RANDOM.normal(size=(4, 4)).astype(np.float32)
    shared = [constant(f"shared_{index}", weights) for index in range(3)]
    other, vector = constant("other", weights.T), [constant(f"vector_{index}", weights[0]) for index in range(2)]
    nodes, last = [], x
    for index, addend in enumerate([*shared, other, *vector]):
        node = ir.node("MatMul" if index < 4 else "Add", [last, addend])
        last, node.outputs[0].name = node.outputs[0], f"step_{index}"
        nodes.append(node)
    last.dtype, last.shape = FLOAT, ir.Shape(["b", 4])
    model = model_of([x], nodes, [last], [*shared, other, *vector])
    feeds = {"x": RANDOM.normal(size=(2, 4)).astype(np.float32)}
    before = run(model, feeds)[0]
    assert share_constants.apply(model) == 2
    assert set(model.graph.initializers) == {"shared_0", "other", "vector_0", "vector_1"}
    np.testing.assert_array_equal(run(model, feeds)[0], before)
    assert share_constants.apply(model) == 0


def test_fold_constants():
    x = value("x", FLOAT, ["b", 4])
    halves = [constant(name, RANDOM.normal(size=(4, 3)).astype(np.float32)) for name in ("left", "right")]
    join = ir.node("Concat", halves, attributes={"axis": 1})
    join.outputs[0].name = "joined"
    product = ir.node("MatMul", [x, join.outputs[0]])
    product.outputs[0].name, product.outputs[0].dtype = "y", FLOAT
    product.outputs[0].shape = ir.Shape(["b", 6])
    model = model_of([x], [join, product], [product.outputs[0]], halves)
    feeds = {"x": RANDOM.normal(size=(5, 4)).astype(np.float32)}
    before = run(model, feeds)[0]
    assert fold_constants.apply(model) == 1
    assert operators(model) == ["MatMul"]
    assert np.array_equal(run(model, feeds)[0], before)
    assert fold_constants.apply(model) == 0


def test_centre_output():
    x = value("x", FLOAT, ["b", 6])
    node = ir.node("Identity", [x])
    node.outputs[0].name, node.outputs[0].dtype = "text_vector", FLOAT
    node.outputs[0].shape = ir.Shape(["b", 6])
    model = model_of([x], [node], [node.outputs[0]], [])
    error = RANDOM.normal(size=6).astype(np.float32)
    assert centre_output.apply(model, error) == 1
    assert [output.name for output in model.graph.outputs] == ["text_vector"]
    rows = RANDOM.normal(size=(3, 6)).astype(np.float32)
    assert np.array_equal(run(model, {"x": rows})[0], rows - error)


def masked_sum_model(axis=1, last=-1):
    """ReduceSum over tokens of states times a mask, as torch exports a mean."""
    states, mask = value("states", FLOAT, ["b", "t", 3, 8]), value("mask", FLOAT, ["b", "t"])
    ends = constant("ends", np.array([last])), constant("last", np.array([-1]))
    axes = constant("axes", np.array([axis]))
    wide = ir.node("Unsqueeze", [mask, ends[0]])
    wider = ir.node("Unsqueeze", [wide.outputs[0], ends[1]])
    product = ir.node("Mul", [states, wider.outputs[0]])
    total = ir.node("ReduceSum", [product.outputs[0], axes], attributes={"keepdims": 0})
    for index, node in enumerate((wide, wider, product)):
        node.outputs[0].name = f"step_{index}"
    total.outputs[0].name, total.outputs[0].dtype = "y", FLOAT
    total.outputs[0].shape = ir.Shape(["b", 3, 8] if axis == 1 else ["b", "t", 8])
    return model_of([states, mask], [wide, wider, product, total], [total.outputs[0]], [*ends, axes])


def test_mean_by_product():
    model = masked_sum_model()
    mask = (RANDOM.random((4, 7)) < 0.7).astype(np.float32)
    feeds = {"states": RANDOM.normal(size=(4, 7, 3, 8)).astype(np.float32), "mask": mask}
    before = run(model, feeds)[0]
    assert mean_by_product.apply(model) == 1
    assert "ReduceSum" not in operators(model) and operators(model).count("MatMul") == 1
    after = run(model, feeds)[0]
    assert after.shape == before.shape
    assert np.abs(after - before).max() <= tolerances.STATES_PADDED
    assert mean_by_product.apply(model) == 0


def test_mean_by_product_leaves_other_sums_alone():
    model = masked_sum_model(axis=2)
    before = operators(model)
    assert mean_by_product.apply(model) == 0
    assert operators(model) == before


def gather_model(table, axis=0):
    ids = value("ids", INT64, ["b", "t"])
    node = ir.node("Gather", [constant("table", table), ids], attributes={"axis": axis})
    node.outputs[0].name, node.outputs[0].dtype = "y", ir.DataType(node.inputs[0].dtype)
    node.outputs[0].shape = ir.Shape(["b", "t", table.shape[1]] if axis == 0 else [table.shape[0], "b", "t"])
    return model_of([ids], [node], [node.outputs[0]], [node.inputs[0]])


def test_quantize_embeddings():
    table = (RANDOM.normal(size=(50, 8)) * RANDOM.lognormal(0, 3, size=(50, 1))).astype(np.float32)
    table[7] = 0
    model = gather_model(table)
    assert quantize_embeddings.apply(model) == 1
    assert {name: init.dtype for name, init in model.graph.initializers.items()} == {
        "table_int8": ir.DataType.INT8,
        "table_scale": FLOAT,
        "table_columns": FLOAT,
    }
    found = run(model, {"ids": np.arange(50).reshape(1, 50)})[0][0]
    columns = np.sqrt(np.square(table, dtype=np.float64).mean(0))
    half_a_step = columns * np.abs(table / columns).max(1, keepdims=True) / 127 / 2
    assert (np.abs(found - table) <= half_a_step * (1 + tolerances.FIT_EXCESS)).all()
    assert (found[7] == 0).all()


def position_model(numbers, start=0):
    """Vectors of the positions of the tokens of a text, as many as there are ids."""
    ids = value("ids", INT64, ["b", "t"])
    constants = [
        constant("table", RANDOM.normal(size=(9, 4)).astype(np.float32)),
        constant("numbers", np.array([numbers], np.int64)),
        *(constant(name, np.array([number], np.int64)) for name, number in (("start", start), ("axis", 1))),
    ]
    table, whole, first, axis = constants
    length = ir.node("Shape", [ids], attributes={"start": 1})
    cut = ir.node("Slice", [whole, first, length.outputs[0], axis])
    node = ir.node("Gather", [table, cut.outputs[0]])
    node.outputs[0].name, node.outputs[0].dtype = "y", FLOAT
    return model_of([ids], [length, cut, node], [node.outputs[0]], constants)


def test_drop_positions():
    model = position_model(range(9))
    ids = {"ids": np.ones((2, 5), np.int64)}
    before = run(model, ids)[0]
    assert drop_positions.apply(model, 5) == 1
    assert model.graph.initializers["table"].shape == (5, 4)
    assert np.array_equal(run(model, ids)[0], before)
    assert drop_positions.apply(model, 5) == 0


def test_drop_positions_leaves_other_tables_alone():
    for model in (
        position_model([0, 1, 2, 2, 4, 5, 6, 7, 8]),
        position_model(range(9), 1),
        gather_model(np.ones((9, 4))),
    ):
        assert drop_positions.apply(model, 5) == 0


def test_product_quantize_embeddings(monkeypatch):
    monkeypatch.setattr(product_quantize_embeddings, "LEAST_ROWS", 600)
    table = (RANDOM.normal(size=(700, 8)) * RANDOM.lognormal(0, 1, size=(700, 1))).astype(np.float32)
    table[7] = 0
    ids = {"ids": np.arange(700).reshape(2, 350)}
    errors = []
    for group in (2, 4):
        model = gather_model(table)
        assert product_quantize_embeddings.apply(model, group) == 1
        stored = {name: init.const_value.numpy() for name, init in model.graph.initializers.items()}
        assert (stored["table_codes"].dtype, stored["table_codes"].shape) == (np.uint8, (700, 8 // group))
        assert (stored["table_book"].dtype, stored["table_book"].shape) == (np.float16, (8 // group * 256, group))
        found = run(model, ids)[0].reshape(700, 8)
        assert (found[7] == 0).all()
        size = np.linalg.norm(table, axis=1)
        errors.append(float(np.median(np.linalg.norm(found - table, axis=1)[size > 0] / size[size > 0])))
    assert errors[0] < 0.1 < errors[1] < 0.5


def test_codes_are_the_nearest_of_the_book():
    array = RANDOM.normal(size=(900, 6)).astype(np.float32)
    codes, book = product_quantize_embeddings.encode(array, 3)
    for part in range(2):
        points = array[:, 3 * part : 3 * part + 3]
        distance = np.square(points[:, None] - book[part]).sum(2)
        chosen = distance[np.arange(900), codes[:, part]]
        assert np.abs(chosen - distance.min(1)).max() <= tolerances.FEATURES_TO_ORACLE * 10
    again, _ = product_quantize_embeddings.encode(array, 3)
    assert np.array_equal(codes, again)


def test_product_quantize_embeddings_leave_small_and_uneven_tables_alone(monkeypatch):
    assert product_quantize_embeddings.apply(gather_model(np.ones((600, 8), np.float32)), 2) == 0
    monkeypatch.setattr(product_quantize_embeddings, "LEAST_ROWS", 600)
    assert product_quantize_embeddings.apply(gather_model(np.ones((600, 8), np.float32)), 3) == 0


def test_quantize_embeddings_leaves_other_gathers_alone():
    for model in (gather_model(np.ones((4, 3), np.int64)), gather_model(np.ones((3, 4), np.float32), axis=1)):
        assert quantize_embeddings.apply(model) == 0


@pytest.mark.parametrize("heads", [1, 3])
def test_label_attention(heads):
    batch, labels, features = 4, 5, 6
    keys = RANDOM.normal(size=(heads, labels, features)).astype(np.float32)
    bias = RANDOM.normal(size=(heads, labels)).astype(np.float32)
    ids = value("input_ids", FLOAT, ["b", features])
    node = ir.node("Identity", [ids])
    node.outputs[0].name, node.outputs[0].dtype = "text_vector", FLOAT
    node.outputs[0].shape = ir.Shape(["b", features])
    model = model_of([ids], [node], [node.outputs[0]], [])
    assert label_attention.apply(model, label_attention.HeadArrays(keys, bias)) == 1
    x = RANDOM.normal(size=(batch, features)).astype(np.float32)
    probs, vector = run(model, {"input_ids": x})
    scores = np.einsum("hlf,bf->bhl", keys.astype(np.float64), x) + bias
    powers = np.exp(scores - scores.max(2, keepdims=True))
    expected = (powers / powers.sum(2, keepdims=True)).mean(1)
    assert np.abs(probs - expected).max() <= tolerances.PROBS_TO_ORACLE * 10
    assert np.array_equal(vector, x)
    names = model.graph.initializers
    assert np.array_equal(names["label_keys"].const_value.numpy(), keys.reshape(-1, features))
    assert np.array_equal(names["label_bias"].const_value.numpy(), bias.reshape(-1))
    with pytest.raises(ValueError, match="outputs"):
        label_attention.apply(model, label_attention.HeadArrays(keys, bias))


def test_float16_labels():
    keys = RANDOM.normal(size=(1, 5, 6)).astype(np.float32)
    ids = value("input_ids", FLOAT, ["b", 6])
    node = ir.node("Identity", [ids])
    node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = "text_vector", FLOAT, ir.Shape(["b", 6])
    model = model_of([ids], [node], [node.outputs[0]], [])
    label_attention.apply(model, label_attention.HeadArrays(keys, np.zeros((1, 5), np.float32)))
    x = RANDOM.normal(size=(4, 6)).astype(np.float32)
    before, _ = run(model, {"input_ids": x})
    assert float16_labels.apply(model) == 1
    assert operators(model) == ["Identity", "Cast", "Gemm", "Softmax"]
    stored = model.graph.initializers["label_keys"].const_value.numpy()
    assert (stored.dtype, stored.shape) == (np.float16, (5, 6))
    assert model.graph.initializers["label_bias"].dtype == FLOAT
    found, _ = run(model, {"input_ids": x})
    scores = x @ stored.astype(np.float32).T
    assert (
        np.abs(found - np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).max() <= tolerances.PROBS_TO_ORACLE * 10
    )
    assert np.abs(found - before).max() <= 2**-11 * np.abs(keys[0] * x[:, None]).sum(2).max()
    assert float16_labels.apply(model) == 0


def test_float16_labels_leaves_what_float16_cannot_hold():
    ids = value("input_ids", FLOAT, ["b", 6])
    node = ir.node("Identity", [ids])
    node.outputs[0].name, node.outputs[0].dtype = "text_vector", FLOAT
    model = model_of([ids], [node], [node.outputs[0]], [])
    keys = np.full((1, 2, 6), 7e4, np.float32)
    label_attention.apply(model, label_attention.HeadArrays(keys, np.zeros((1, 2), np.float32)))
    assert float16_labels.apply(model) == 0
    assert operators(model) == ["Identity", "Gemm", "Softmax"]


@pytest.mark.parametrize("by_length", [False, True])
def test_label_queries_and_scope(by_length):
    """Queries and scope by the oracle, on a padded batch."""
    batch, tokens, hidden, count, labels, atoms = 3, 5, 4, 6, 2, 2
    lengths, layers = (5, 2, 3), 2
    ids, mask = value("input_ids", FLOAT, ["b", atoms * hidden]), value("attention_mask", ir.DataType.INT64, ["b", "t"])
    raw = [value(f"raw_{index}", FLOAT, ["b", "t", hidden]) for index in range(layers)]
    nodes = [ir.node("Identity", [source]) for source in (ids, *raw)]
    for node, name in zip(nodes, ("text_vector", "token_states_0", "token_states_1"), strict=True):
        node.outputs[0].name, node.outputs[0].dtype = name, FLOAT
    model = model_of([ids, mask, *raw], nodes, [node.outputs[0] for node in nodes], [])
    queries = RANDOM.normal(size=(layers, count, hidden))
    queries /= np.linalg.norm(queries, axis=2, keepdims=True)
    keys = RANDOM.normal(size=(1, labels, atoms * hidden + layers * count)).astype(np.float32)
    scope_keys = RANDOM.normal(size=(labels, hidden)).astype(np.float32)
    offsets = RANDOM.normal(size=tokens + 1).astype(np.float32) if by_length else None
    bias = np.zeros((1, labels), np.float32)
    head = label_attention.HeadArrays(keys, bias, queries.astype(np.float32), scope_keys, offsets)
    assert label_attention.apply(model, head) == 1
    x = RANDOM.normal(size=(batch, atoms * hidden)).astype(np.float32)
    states = [RANDOM.normal(size=(batch, tokens, hidden)).astype(np.float32) for _ in range(layers)]
    there = np.array([[int(t < length) for t in range(tokens)] for length in lengths], np.int64)
    feeds = {"input_ids": x, "attention_mask": there, "raw_0": states[0], "raw_1": states[1]}
    probs, vector, scope = run(model, feeds)
    for row, length in enumerate(lengths):
        found = reference_attention([state[row] for state in states], length, (0, 1), queries, SHARPNESS)
        expected = np.concatenate([x[row], found])
        assert np.abs(vector[row] - expected).max() <= tolerances.FEATURES_TO_ORACLE
        assert np.abs(probs[row] - reference_prior_probs(expected, keys[0], np.zeros(labels))).max() <= 1e-5
    cosines = (x[:, :hidden] @ scope_keys.T).max(1)
    assert np.abs(scope - cosines - (offsets[list(lengths)] if by_length else 0)).max() <= 1e-5
