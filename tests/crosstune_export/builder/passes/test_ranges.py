"""Rewrites that narrow the ranges of activations, on one encoder layer, before and after with onnxruntime's own optimizations off."""

from __future__ import annotations

import numpy as np
import pytest
from onnxscript import ir

from crosstune_export.builder.passes import centre_states, split_biased_attention
from crosstune_export.builder.passes.rounding import column_scales, round_nearest
from crosstune_export.builder.passes.smoothing import MOVED, Step, best_step, channel_factors
from crosstune_export.builder.quantize import QuantizePlan, quantize_layers
from tests import tolerances
from tests.crosstune_export.builder.passes.test_passes import FLOAT, constant, model_of, operators, run, value

SIZE, INNER, HEADS = 16, 48, 2
RECORDED = ("state", "mixed", "between", "gelu")


def layer(biased: bool = False, reader: str | None = None):
    """An encoder layer whose states are far from 0; ``reader`` is a state that another node reads as well."""
    random = np.random.default_rng(13)
    arrays = {
        name: random.normal(size=shape).astype(np.float32) / 4
        for name, shape in {
            "qkv": (SIZE, 3 * SIZE),
            "out": (SIZE, SIZE),
            "up": (SIZE, INNER),
            "down": (INNER, SIZE),
            "qkv_bias": (3 * SIZE,),
            "out_bias": (SIZE,),
            "up_bias": (INNER,),
            "down_bias": (SIZE,),
        }.items()
    }
    for name in ("first", "second", "third"):
        arrays |= {f"{name}_gamma": np.ones(SIZE, np.float32), f"{name}_beta": np.zeros(SIZE, np.float32)}
    arrays["first_beta"] += np.linspace(-5, 5, SIZE, dtype=np.float32)
    arrays["second_beta"] += np.linspace(4, -4, SIZE, dtype=np.float32)
    inputs = {name: constant(name, array) for name, array in arrays.items()}
    inputs["x"] = value("x", FLOAT, ["b", "t", SIZE])
    inputs["distances"] = value("distances", FLOAT, [1, HEADS, "t", "t"])
    nodes = []

    def add(name, operator, sources, width=SIZE, **keywords):
        nodes.append(ir.node(operator, [None if key is None else inputs[key] for key in sources], **keywords))
        result = nodes[-1].outputs[0]
        result.name, result.dtype, result.shape = name, FLOAT, ir.Shape(["b", "t", width])
        inputs[name] = result

    extra, heads = "com.microsoft", {"num_heads": HEADS}
    add("state", "LayerNormalization", ["x", "first_gamma", "first_beta"])
    add(
        "mixed",
        "Attention",
        ["state", "qkv", "qkv_bias", *([None, None, "distances"] if biased else [])],
        domain=extra,
        attributes=heads,
    )
    add("out_product", "MatMul", ["mixed", "out"])
    add("attended", "Add", ["out_product", "out_bias"])
    add("first_sum", "Add", ["attended", "state"])
    add("between", "LayerNormalization", ["first_sum", "second_gamma", "second_beta"])
    add("up_product", "MatMul", ["between", "up"], INNER)
    add("gelu", "BiasGelu", ["up_product", "up_bias"], INNER, domain=extra)
    add("down_product", "MatMul", ["gelu", "down"])
    add("lowered", "Add", ["down_product", "down_bias"])
    add("second_sum", "Add", ["lowered", "between"])
    add("y", "LayerNormalization", ["second_sum", "third_gamma", "third_beta"])
    outputs = [inputs["y"]]
    if reader is not None:
        add("other", "Neg", [reader])
        outputs.append(inputs["other"])
    sources = [inputs["x"], *([inputs["distances"]] if biased else [])]
    model = model_of(sources, nodes, outputs, [inputs[name] for name in arrays])
    feeds = {"x": random.normal(size=(12, 7, SIZE)).astype(np.float32)}
    if biased:
        feeds["distances"] = random.normal(size=(1, HEADS, 7, 7)).astype(np.float32)
        assert split_biased_attention.apply(model) == 1
    return model, feeds


def recorded(model, feeds, names=RECORDED):
    """Values of the graph by name, (S, K)."""
    watched = model.clone()
    values = {result.name: result for node in watched.graph for result in node.outputs}
    watched.graph.outputs.clear()
    watched.graph.outputs.extend(values[name] for name in names)
    arrays = run(watched, feeds)
    return {name: array.reshape(-1, array.shape[-1]) for name, array in zip(names, arrays, strict=True)}


def assert_same_function(model, feeds, before):
    for found, expected in zip(run(model, feeds), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerances.STATES_PADDED)


@pytest.mark.parametrize("biased", [False, True])
def test_states_are_centred(biased):
    model, feeds = layer(biased)
    before, samples, nodes = run(model, feeds), recorded(model, feeds), operators(model)
    middles = centre_states.apply(model, samples)
    assert set(middles) == {"state", "between"} and operators(model) == nodes
    assert_same_function(model, feeds, before)
    after = recorded(model, feeds)
    for name in RECORDED:
        moved = samples[name] - middles.get(name, 0)
        np.testing.assert_allclose(after[name], moved, rtol=0, atol=tolerances.STATES_PADDED)
    for name in middles:
        assert np.abs(after[name].max(0) + after[name].min(0)).max() <= tolerances.STATES_PADDED


@pytest.mark.parametrize("reader", ["state", "between"])
def test_a_state_that_others_read_as_well_stays(reader):
    model, feeds = layer(reader=reader)
    before, samples = run(model, feeds), recorded(model, feeds)
    assert set(centre_states.apply(model, samples)) == {"state", "between"} - {reader}
    assert_same_function(model, feeds, before)


def test_states_without_samples_stay():
    model, feeds = layer()
    before = run(model, feeds)
    assert centre_states.apply(model, {}) == {}
    assert_same_function(model, feeds, before)


def test_int8_misses_less_with_narrow_ranges(monkeypatch):
    model, feeds = layer()
    (before,) = run(model, feeds)
    samples = recorded(model, feeds)

    def error():
        quantized, counts = quantize_layers(model, samples, QuantizePlan())
        return counts, float(np.sqrt(np.square(run(quantized, feeds)[0] - before).mean()))

    counts, narrow = error()
    assert counts["centre_states"] == 2 and counts["quantize_products"] == 4
    monkeypatch.setattr(centre_states, "apply", lambda *_: {})
    assert narrow < 0.9 * error()[1]


def test_the_step_with_the_least_error_is_found():
    """Against a search in plain numpy over many more ends of the range, also for rare large values."""
    random = np.random.default_rng(13)
    samples, weights = random.normal(size=(40_000, 8)), random.normal(size=(8, 3))
    samples[0, 0] = 9

    def error(step):
        return float(np.square((step.rounded(samples) - samples) * np.linalg.norm(weights, axis=1)).sum(1).mean())

    step, found = best_step(samples, weights)
    assert found == pytest.approx(error(step))
    low, high = samples.min(), samples.max()
    least = min(error(Step.of(low * share, high * share)) for share in np.linspace(0.3, 1, 71))
    assert found <= 1.1 * least
    assert found < 0.9 * error(Step.of(low, high))


@pytest.mark.parametrize("wide", ["samples", "weights"])
def test_factors_move_range_to_where_it_does_less_harm(wide):
    random = np.random.default_rng(13)
    samples, weights = random.normal(size=(300, 32)), random.normal(size=(32, 24))
    if wide == "samples":
        samples *= np.geomspace(0.05, 20, 32)
    else:
        weights *= np.geomspace(0.05, 20, 32)[:, None]
    factors = channel_factors(samples, weights)
    assert np.exp(np.log(factors).mean()) == pytest.approx(1)

    def error(factors):
        scaled, spread = samples / factors, weights * factors[:, None]
        scales = column_scales(spread)
        product = best_step(scaled, spread)[0].rounded(scaled) @ (round_nearest(spread, scales) * scales)
        return float(np.square(product - samples @ weights).mean())

    peaks, reach = np.abs(samples).max(0), np.abs(weights).max(1)
    assert error(factors) <= 1.2 * min(error(peaks**share / reach ** (1 - share)) for share in MOVED)
    assert error(factors) < error(np.ones(32))
