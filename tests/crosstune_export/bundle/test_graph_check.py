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
from crosstune_export.bundle.graph_check import check_graph
from crosstune_export.bundle.graph_rules import OPERATORS
from crosstune_export.bundle.onnx_wire import bytes_field, number_field
from tests.fixtures.forged_graphs import BROKEN, forged, in_function


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


@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("", "Loop"),
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
    assert refused(with_function) == "the function 'Gelu' of com.microsoft"
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
    model.graph.node.append(helper.make_node("LayerNormalization", ["probs"], ["x"], epsilon=float("nan")))
    assert refused(model) == "the attribute 'epsilon' of LayerNormalization out of its range"


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


def test_no_table_of_words(files, refused):
    assert refused(forged(files.model, "no table")) == "no embedding table for input_ids"


@pytest.mark.fault("L17")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("an attribute out of its range", "the attribute 'axis' of LayerNormalization out of its range"),
        ("an attribute that its operator has not", "the attribute 'saturate' of Cast"),
        ("an attribute twice", "the attribute 'axis' of Softmax twice"),
        ("an attribute of two kinds", "the attribute 'axis' of Softmax in another form"),
        ("a constant in an attribute", "a constant in an attribute"),
        ("a cast to a type that no build uses", "a node Cast with the inputs l?"),
        ("an empty input in the middle", "a node Max with the inputs f-f"),
        ("an input too many", "a node Add with the inputs fff"),
        ("a node without output", "a node Sqrt with 0 outputs"),
        ("an output too many", "a node Sqrt with 2 outputs"),
        ("numbers of another type", "a node Sqrt with the inputs l"),
        ("a value twice", "the value 'probs' twice"),
        ("a value before it is there", "a node Sqrt that reads 'y' before it is there"),
    ],
)
def test_nodes_that_no_build_writes(files, refused, name, expected):
    """onnxruntime ends the process or reads memory on some of them."""
    assert refused(forged(files.model, name)) == expected


@pytest.mark.fault("L18")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shapes that do not fit", "a node Add whose shapes do not fit"),
        ("a bias of another size", "a node BiasGelu whose shapes do not fit"),
        ("a shape from the text", "a node Expand whose shape cannot be told"),
        ("gigabytes", "a node Expand that takes more than a graph of its size may"),
        ("a size beyond 64 bits", "a node Expand that takes more than a graph of its size may"),
        ("values that double", "a node Concat that takes more than a graph of its size may"),
        ("products without end", "a node MatMul that takes more than a graph of its size may"),
        ("too many nodes", "more than 20000 nodes"),
    ],
)
def test_graphs_that_take_too_much(files, refused, name, expected):
    assert refused(forged(files.model, name)) == expected


@pytest.mark.fault("L17")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a loop in a function", "the operator 'Loop' of ai.onnx"),
        ("a function and another node", "a function and 2 nodes"),
        ("a function that no node calls", "a function that no node calls"),
        ("another function", "the function 'Gelu' of crosstune"),
        ("a function of another opset", "a function of another opset"),
        ("a function with other inputs", "a function with other inputs and outputs than the graph"),
        ("a call with an unknown attribute", "the attribute 'body' of Classify"),
        ("a call with an attribute out of its range", "the attribute 'mean' of Classify out of its range"),
    ],
)
def test_functions_are_checked_as_graphs_are(files, refused, name, expected):
    assert refused(forged(files.model, name)) == expected


def test_a_graph_as_one_call_of_a_function(model, files):
    in_function(model)
    rows = check_graph(files.model, files.manifest.graph, "here")
    assert check_graph(model.SerializeToString(), files.manifest.graph, "here") == rows


@pytest.mark.fault("L18")
def test_the_length_of_texts_counts(model, files):
    """A graph that is small for short texts and large for long ones."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(1, np.float32), "ones"))
    sizes = ["sizes"] * 5
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["input_ids"], ["sizes"], start=1, end=2),
            helper.make_node("Concat", sizes, ["sides"], axis=0),
            helper.make_node("Expand", ["ones", "sides"], ["x"]),
        ]
    )
    data = model.SerializeToString()
    check_graph(data, files.manifest.graph, "here", 4)
    with pytest.raises(BundleContentError, match="a node Expand that takes more than a graph of its size may"):
        check_graph(data, files.manifest.graph, "here", 64)


def test_the_rules_hold_nothing_that_can_run_programs():
    known = {name for operators in OPERATORS.values() for name in operators}
    assert {"MatMul", "QAttention"} <= known
    assert not known & {"If", "Loop", "Scan", "RandomNormal", "SequenceMap", "EPContext", "ConstantOfShape", "Einsum"}


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


def test_the_smaller_of_two_tables_counts(model, files):
    """Ids that only the larger table has would read beyond the smaller one."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((5, 2), np.float32), "small"))
    model.graph.node.append(helper.make_node("Gather", ["small", "input_ids"], ["x"], axis=0))
    assert check_graph(model.SerializeToString(), files.manifest.graph, "here") == 5


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16383, 16384, (1 << 63) - 1])
def test_numbers_are_written_as_short_as_protobuf_writes_them(value):
    assert number_field(1, value) == onnx.ModelProto(ir_version=value).SerializeToString()


def test_the_largest_dimension_of_a_constant(files, model, refused):
    empty = model.graph.initializer.add(name="none", data_type=TensorProto.FLOAT, dims=[1 << 40, 0])
    check_graph(model.SerializeToString(), files.manifest.graph, "here")
    empty.dims[0] += 1
    assert refused(model) == "0 bytes for the constant 'none' of shape (1099511627777, 0)"
