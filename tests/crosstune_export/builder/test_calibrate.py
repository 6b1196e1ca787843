"""Which texts a graph is calibrated on, and which values are recorded."""

from __future__ import annotations

import itertools

import numpy as np
from onnxscript import ir

from crosstune.core.token_layout import TokenRow
from crosstune_export.builder.calibrate import _subset, collect
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.tokenization import TextTokenizer
from tests.crosstune_export.builder.passes.test_passes import FLOAT, constant, model_of, value


def rows(count: int) -> list[TokenRow]:
    return [TokenRow((index,) * 10, (0,) * 10, False) for index in range(count)]


def test_few_texts_are_all_used():
    assert _subset(rows(8), 80) == rows(8)


def test_many_texts_are_picked_evenly():
    """Files are often sorted by label: the first texts would show one label only."""
    picked = [row.ids[0] for row in _subset(rows(100), 250)]
    assert len(picked) == 25
    assert picked[0] < 4 and picked[-1] >= 96
    assert {after - before for before, after in itertools.pairwise(picked)} <= {3, 4, 5}


def test_inputs_of_products_with_constant_weights_are_recorded_and_the_output(tiny_fp32_bundle_dir):
    """Of a graph that reads the ids alone and also has a product of two values, and nodes with one input and with constants."""
    files = read_bundle(tiny_fp32_bundle_dir)
    tokenizer = TextTokenizer(files.tokenizer, files.manifest.tokens, files.manifest.text_pair, "here")
    ids = value("input_ids", ir.DataType.INT64, ["b", "t"])
    table = np.random.default_rng(13).normal(size=(1000, 4)).astype(np.float32)
    arrays = {"table": table, "weights": np.eye(4, dtype=np.float32), "shift": np.ones(4, np.float32)}
    constants = {name: constant(name, array) for name, array in arrays.items()}
    nodes = [ir.node("Gather", [constants["table"], ids])]
    for operator, inputs in (
        ("MatMul", [nodes[0].outputs[0], constants["weights"]]),
        ("Add", [nodes[0].outputs[0], constants["shift"]]),
        ("Neg", [nodes[0].outputs[0]]),
    ):
        nodes.append(ir.node(operator, inputs))
    nodes.append(ir.node("Transpose", [nodes[3].outputs[0]], attributes={"perm": [0, 2, 1]}))
    nodes.append(ir.node("MatMul", [nodes[2].outputs[0], nodes[4].outputs[0]]))
    nodes.append(ir.node("MatMul", [nodes[5].outputs[0], nodes[1].outputs[0]]))
    names = ("states", "product", "shifted", "negative", "turned", "pairs", "y")
    for node, name in zip(nodes, names, strict=True):
        node.outputs[0].name, node.outputs[0].dtype = name, FLOAT
    model = model_of([ids], nodes, [nodes[-1].outputs[0]], list(constants.values()))
    texts = tokenizer.rows(["where is my parcel", "thanks"])
    recorded = collect(model, texts, tokenizer, ())
    assert set(recorded) == {"states", "y"}
    rows = np.concatenate([table[list(row.ids)] for row in texts])
    np.testing.assert_array_equal(recorded["states"], rows)
    assert recorded["y"].shape == rows.shape
