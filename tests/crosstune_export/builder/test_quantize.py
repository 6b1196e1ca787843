"""Quantization on the smallest graphs that show it, with onnxruntime's own optimizations off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxscript import ir

from crosstune_export.builder.passes import quantize_products, split_overflow_units, tanh_gelu
from crosstune_export.builder.quantize import QuantizePlan, quantize_layers, quantize_tables
from tests import tolerances
from tests.crosstune_export.builder.passes.test_passes import FLOAT, constant, model_of, operators, run, value

RANDOM = np.random.default_rng(13)
INNER = 96


def quantize(model, activations, plan):
    quantized, counts = quantize_layers(model, activations, plan)
    return quantized, {**counts, **quantize_tables(quantized, plan)}


def feed_forward(outlier=None):
    """x → MatMul → BiasGelu → MatMul → Add, with one inner unit that now and then reaches far beyond the others."""
    x = value("x", FLOAT, ["b", "t", 16])
    first = RANDOM.normal(size=(16, INNER)).astype(np.float32) / 4
    if outlier is not None:
        first[:, 5] = 0
        first[0, 5] = outlier
    arrays = {"first": first, "first_bias": RANDOM.normal(size=INNER).astype(np.float32) / 4}
    arrays |= {"second": RANDOM.normal(size=(INNER, 16)).astype(np.float32) / 8, "second_bias": np.ones(16, np.float32)}
    weights = {name: constant(name, array) for name, array in arrays.items()}
    inner = ir.node("MatMul", [x, weights["first"]])
    gelu = ir.node("BiasGelu", [inner.outputs[0], weights["first_bias"]], domain="com.microsoft")
    outer = ir.node("MatMul", [gelu.outputs[0], weights["second"]])
    total = ir.node("Add", [outer.outputs[0], weights["second_bias"]])
    for node, name, width in ((inner, "inner", INNER), (gelu, "gelu", INNER), (outer, "outer", 16), (total, "y", 16)):
        node.outputs[0].name, node.outputs[0].dtype = name, FLOAT
        node.outputs[0].shape = ir.Shape(["b", "t", width])
    return model_of([x], [inner, gelu, outer, total], [total.outputs[0]], list(weights.values()))


def samples_of(model, x):
    """Inputs of both products: x and the Gelu's output, by a graph that ends there."""
    shorter = ir.serde.deserialize_model(ir.serde.serialize_model(model))
    gelu = next(node for node in shorter.graph if node.op_type == "BiasGelu").outputs[0]
    shorter.graph.outputs.clear()
    shorter.graph.outputs.append(gelu)
    return {"x": x.reshape(-1, 16), "gelu": run(shorter, {"x": x})[0].reshape(-1, INNER)}


@pytest.fixture
def x():
    states = RANDOM.normal(size=(6, 9, 16)).astype(np.float32)
    states[:, :, 0] = RANDOM.random((6, 9)) < 0.2
    return states


def error(model, before, x):
    return float(np.sqrt(np.square(run(model, {"x": x})[0] - before).mean()))


def test_products_become_integer_products(x):
    model = feed_forward()
    before, samples = run(model, {"x": x})[0], samples_of(model, x)
    assert quantize_products.apply(model, samples, {}) == 2
    expected = ["QuantizeLinear", "MatMulIntegerToFloat", "Gelu", "QuantizeLinear", "MatMulIntegerToFloat"]
    assert [name for name in operators(model) if name != "Mul"] == expected
    assert error(model, before, x) <= 0.02 * before.std()
    assert all(array.dtype != FLOAT or len(array.shape) < 2 for array in model.graph.initializers.values())
    assert quantize_products.apply(model, samples, {}) == 0


def test_a_row_depends_on_itself_alone(x):
    model = feed_forward(outlier=8)
    quantized, counts = quantize(model, samples_of(model, x), QuantizePlan())
    assert operators(model) == ["MatMul", "BiasGelu", "MatMul", "Add"]  # the source is left as it was
    assert counts == {
        "centre_states": 0,
        "split_overflow_units": 1,
        "quantize_products": 2,
        "quantize_embeddings": 0,
    }
    whole = run(quantized, {"x": x})[0]
    for i in range(len(x)):
        for j in range(x.shape[1]):
            assert np.array_equal(run(quantized, {"x": x[i : i + 1, j : j + 1]})[0][0, 0], whole[i, j])


def test_spare_units_pay_where_a_unit_reaches_far(x, monkeypatch):
    monkeypatch.setattr(quantize_products, "SMOOTH_ABOVE", float("inf"))
    model = feed_forward(outlier=24)
    before, samples = run(model, {"x": x})[0], samples_of(model, x)
    with_spare, _ = quantize(model, samples, QuantizePlan())
    without, counts = quantize(model, samples, QuantizePlan(split_units=False))
    assert counts["split_overflow_units"] == 0
    assert error(with_spare, before, x) < 0.7 * error(without, before, x)


@pytest.mark.parametrize("reader", ["the graph", "another node"])
def test_a_product_that_others_read_as_well_is_not_merged_with_its_bias(x, reader):
    source, weights = value("x", FLOAT, ["b", "t", 16]), RANDOM.normal(size=(16, 16)).astype(np.float32) / 4
    constants = [constant("weights", weights), constant("bias", np.full(16, 5, np.float32))]
    product = ir.node("MatMul", [source, constants[0]])
    total = ir.node("Add", [product.outputs[0], constants[1]])
    other = ir.node("Neg", [product.outputs[0]])
    nodes = [product, total, other]
    for node, name in zip(nodes, ("product", "total", "other"), strict=True):
        node.outputs[0].name, node.outputs[0].dtype, node.outputs[0].shape = name, FLOAT, ir.Shape(["b", "t", 16])
    read = product if reader == "the graph" else other
    nodes = [product, total] if reader == "the graph" else nodes
    model = model_of([source], nodes, [total.outputs[0], read.outputs[0]], constants)
    before = run(model, {"x": x})
    assert quantize_products.apply(model, {"x": x.reshape(-1, 16)}, {}) == 1
    for found, expected in zip(run(model, {"x": x}), before, strict=True):
        assert float(np.sqrt(np.square(found - expected).mean())) <= 0.02 * expected.std()


def test_the_mean_of_a_product_stays(x):
    """Rounding shifts the mean of each column; the bias takes the shift back."""
    model = feed_forward()
    before, samples = run(model, {"x": x})[0], samples_of(model, x)
    quantize_products.apply(model, {"gelu": samples["gelu"]}, {})  # the second product alone
    shift = run(model, {"x": x})[0] - before
    assert np.abs(shift).max() > 1e-3 * before.std()
    assert np.abs(shift.mean((0, 1))).max() <= 1e-5 * before.std()


def test_products_without_samples_stay(x):
    model = feed_forward()
    assert quantize_products.apply(model, {}, {}) == 0
    assert operators(model) == ["MatMul", "BiasGelu", "MatMul", "Add"]


def test_split_overflow_units_with_every_unit_cut_off(x):
    """Away from multiples of the bound, the sum of units and spare units equals the original units."""
    model = feed_forward(outlier=24)
    samples = samples_of(model, x)
    names = {"inner": "inner", "second": "second"}
    bounds = split_overflow_units.apply(model, {"gelu": samples["gelu"].max(0)})
    assert set(bounds) == {"gelu"}
    assert model.graph.initializers["first"].shape == (16, INNER + INNER // split_overflow_units.UNITS_PER_SPARE)
    gelu = next(node for node in model.graph if node.op_type == "BiasGelu").outputs[0]
    cut = ir.node("Min", [gelu, constant("bound", np.array(bounds["gelu"], np.float32))])
    cut.outputs[0].name, cut.outputs[0].dtype = "cut", FLOAT
    user = next(use.node for use in gelu.uses() if use.node is not cut)
    user.replace_input_with(0, cut.outputs[0])
    model.graph.insert_after(gelu.producer(), cut)
    model.graph.initializers["bound"] = cut.inputs[1]
    exact = samples["gelu"].astype(np.float64)
    found = run(model, {"x": x})[0].reshape(-1, 16)
    second = model.graph.initializers[names["second"]].const_value.numpy().astype(np.float64)
    expected = exact @ second[:INNER] + 1
    worst = 0.17 * np.abs(second[INNER:]).sum(0)  # one Gelu's bend for each spare unit
    assert (np.abs(found - expected) <= worst + tolerances.STATES_PADDED).all()


@given(st.integers(0, 1000), st.integers(0, 12))
def test_fit_bound(seed, spare):
    peaks = np.random.default_rng(seed).lognormal(0, 1.5, size=40).astype(np.float32)
    bound, copies = split_overflow_units.fit_bound(peaks, spare)
    assert 0 <= copies.sum() <= spare
    assert (peaks <= bound * (copies + 1) * (1 + 1e-5)).all()


def test_tanh_gelu(x):
    model = feed_forward()
    before = run(model, {"x": x})[0]
    assert tanh_gelu.apply(model) == 1
    assert operators(model) == ["MatMul", "FastGelu", "MatMul", "Add"]
    sums = np.abs(model.graph.initializers["second"].const_value.numpy()).sum(0)
    assert (np.abs(run(model, {"x": x})[0] - before) <= 5e-4 * sums).all()
    assert tanh_gelu.apply(model) == 0
