"""Graphs of an attacker who can compute correct hashes are refused before onnxruntime reads them."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from crosstune_export import BundleContentError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import OPERATORS, check_graph
from crosstune_export.bundle.onnx_wire import bytes_field, number_field
from tests.fixtures.forged_graphs import BROKEN


@pytest.fixture(scope="module")
def files(tiny_fp32_bundle_dir):
    return read_bundle(tiny_fp32_bundle_dir)


@pytest.fixture
def model(files):
    return onnx.load_from_string(files.model)


@pytest.fixture
def refused(files):
    """The reason in the message of a refused graph."""

    def call(model) -> str:
        data = model if isinstance(model, bytes) else model.SerializeToString()
        with pytest.raises(BundleContentError) as caught:
            check_graph(data, files.manifest.graph, "here")
        found = re.fullmatch(
            r"here: the graph has (.+), expected only what a build writes\. Do not use it; build the bundle again\.",
            str(caught.value),
        )
        return found[1]

    return call


def test_what_a_build_writes_passes(files, tiny_bundle_dir):
    words = onnx.load_from_string(files.model).graph.initializer
    rows = next(tensor.dims[0] for tensor in words if "word_embeddings" in tensor.name)
    assert check_graph(files.model, files.manifest.graph, "here") == rows
    int8 = read_bundle(tiny_bundle_dir)
    assert check_graph(int8.model, int8.manifest.graph, "here") == rows


def test_operators_of_the_lists_exist():
    for domain, names in OPERATORS.items():
        for name in names if not domain else ():
            if name not in ("Gelu", "HardSwish"):  # later opsets
                assert onnx.defs.has(name, 18), name


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("", "Loop"),
        ("", "If"),
        ("", "Scan"),
        ("ai.onnx", "SequenceMap"),
        ("", "RandomNormal"),
        ("ai.onnx.ml", "LabelEncoder"),
        ("com.microsoft", "EPContext"),
        ("ai.onnx.contrib", "PythonOp"),
        ("", "MadeUp"),
    ],
)
def test_foreign_operators(model, refused, domain, operator):
    model.graph.node.append(helper.make_node(operator, ["input_ids"], ["x"], domain=domain))
    assert refused(model) == f"the operator {operator!r} of {domain or 'ai.onnx'}"


@pytest.mark.fault("G7")
def test_a_foreign_domain(model, refused):
    model.opset_import.append(helper.make_opsetid("evil.example", 1))
    assert refused(model) == "the domain 'evil.example'"


@pytest.mark.fault("G7")
def test_functions_inner_graphs_and_sparse_constants(model, refused):
    inner = helper.make_graph([], "inner", [], [])
    with_graph = onnx.ModelProto.FromString(model.SerializeToString())
    with_graph.graph.node[0].attribute.append(helper.make_attribute("body", inner))
    assert refused(with_graph) == "a graph of its own in an attribute"
    with_function = onnx.ModelProto.FromString(model.SerializeToString())
    with_function.functions.append(
        helper.make_function("com.microsoft", "Gelu", ["x"], ["y"], [], [helper.make_opsetid("", 18)])
    )
    assert refused(with_function) == "a function in a model"
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0]),
        helper.make_tensor("i", TensorProto.INT64, [1], [0]),
        [4],
    )
    model.graph.sparse_initializer.append(sparse)
    assert refused(model) == "a sparse constant in a graph"


@pytest.mark.fault("G7")
@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"])
def test_external_data(model, refused, location):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    assert refused(model) == "external data in a constant"


@pytest.mark.fault("G7")
def test_external_data_in_an_attribute(model, refused):
    tensor = helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.external_data.add(key="location", value="x")
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor))
    assert refused(model) == "external data in a constant"


@pytest.mark.fault("G15")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["label_keys", "label_bias"])
def test_weights_that_are_not_finite(model, refused, value, name):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[-1] = value
    tensor.raw_data = array.tobytes()
    assert refused(model) == f"numbers in the constant {name!r} that are not finite"


@pytest.mark.fault("G15")
def test_halves_and_attributes_that_are_not_finite(model, refused):
    half = onnx.ModelProto.FromString(model.SerializeToString())
    half.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, np.nan], np.float16), "half"))
    assert refused(half) == "numbers in the constant 'half' that are not finite"
    model.graph.node.append(helper.make_node("LeakyRelu", ["probs"], ["x"], alpha=float("nan")))
    assert refused(model) == "an attribute of LeakyRelu that is not finite"


def test_a_number_alone_may_be_infinite(model, files):
    """Graphs of encoders hide padding with it."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(-np.inf), "hidden"))
    check_graph(model.SerializeToString(), files.manifest.graph, "here")


@pytest.mark.fault("G6", "G7")
def test_sizes_that_are_not_those_of_the_bytes(model, refused):
    model.graph.initializer[0].dims[0] = 10**15
    assert re.fullmatch(r"\d+ bytes for the constant '.+' of shape \(1000000000000000.*\)", refused(model))


@pytest.mark.fault("G8", "G9")
def test_facts_other_than_the_manifests(model, refused):
    model.opset_import[0].version = 28
    assert refused(model) == "opset 28 and IR version 10 where the manifest says 18 and 10"
    model.opset_import[0].version, model.ir_version = 18, 14
    assert refused(model) == "opset 18 and IR version 14 where the manifest says 18 and 10"
    model.ir_version = 10
    model.graph.input[0].name = "ids"
    assert refused(model) == (
        "inputs ['ids', 'attention_mask'] and outputs ['probs', 'text_vector', 'scope'] differ from the manifest"
    )


def test_no_table_of_words(model, refused):
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[1] == "input_ids":
            node.op_type = "GatherND"
    assert refused(model) == "no embedding table for input_ids"


def test_two_readers_cannot_see_two_graphs(model, files, refused):
    """protobuf merges repeated graphs and uses the last of repeated numbers; ambiguous files are refused."""
    data = files.model
    assert refused(data + bytes_field(7, b"")) == "field 7 of a model twice"
    assert refused(data + number_field(1, 10)) == "field 1 of a model twice"
    assert refused(data + number_field(7, 1)) == "field 7 of a model in another form"
    assert refused(data + bytes_field(99, b"x")) == "an unknown field 99 in a model"
    model.graph.initializer.append(model.graph.initializer[0])
    assert refused(model) == f"the constant {model.graph.initializer[0].name!r} twice"


@pytest.mark.parametrize("name", ["a name that is not UTF-8", "a dimension whose name is not UTF-8"])
def test_names_that_are_not_utf8(files, refused, name):
    assert refused(BROKEN[name](files.model)) == "a name that is not UTF-8"


def test_not_a_model_at_all(refused):
    assert refused(b"") == "opset 0 and IR version 0 where the manifest says 18 and 10"
    assert refused(b"\x0b") == "wire type 3 at byte 0"


@given(st.data())
def test_any_change_of_the_structure_is_read_or_refused(tiny_fp32_bundle_dir, data):
    """Never another exception than the promised one."""
    files = read_bundle(tiny_fp32_bundle_dir)
    changed = bytearray(files.model)
    start = data.draw(st.integers(0, len(changed) - 1))
    changed[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        check_graph(bytes(changed), files.manifest.graph, "here")
    except BundleContentError as error:
        assert str(error).startswith("here: the graph has ")
