"""Backbones that another exporter wrote: the bundle answers as the checkpoint does, or the graph is refused."""

from __future__ import annotations

import re
import shutil
import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from crosstune import BackboneError, load_checkpoint
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import predict_proba
from crosstune_export import Classifier, ConfigError, GateError, MissingExtraError
from crosstune_export.builder.exporters.foreign_graph import export_by_optimum
from crosstune_export.builder.pipeline import BuildConfig, build
from tests import tolerances
from tests.conftest import make_tiny_backbone

EXPORT = "Make one with: optimum-cli export onnx --task feature-extraction --model BACKBONE FOLDER."


def export_as_optimum_does(backbone_dir, folder, opset=18):
    """torch's older exporter with optimum's names; that optimum's own graphs work is shown by ``make test-optimum``."""
    import torch

    class LastState(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, ids, mask, types):
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)[0]

    ids = torch.ones(2, 7, dtype=torch.int64)
    inputs, output = ["input_ids", "attention_mask", "token_type_ids"], "last_hidden_state"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            LastState(Backbone.load(str(backbone_dir), device="cpu").model).eval(),
            (ids, ids, ids - 1),
            str(folder / "model.onnx"),
            input_names=inputs,
            output_names=[output],
            dynamic_axes={name: {0: "batch_size", 1: "sequence_length"} for name in (*inputs, output)},
            opset_version=opset,
            dynamo=False,
        )
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_backbone_dir):
    folder = tmp_path_factory.mktemp("onnx")
    return {opset: export_as_optimum_does(tiny_backbone_dir, folder / str(opset), opset) for opset in (14, 18)}


@pytest.mark.parametrize("opset", [14, 18])
def test_fp32_answers_as_the_checkpoint(tmp_path, tiny_checkpoint_dir, exported, tiny_other_texts, opset):
    config = BuildConfig("fp32", backbone_onnx=exported[opset])
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", config)
    trained = load_checkpoint(tiny_checkpoint_dir)
    expected = predict_proba(trained, trained.load_backbone(device="cpu"), list(tiny_other_texts))
    classifier = Classifier.load(tmp_path / "x.bundle")
    for batch_size in (1, 3, 32):
        found = classifier.predict_proba(list(tiny_other_texts), batch_size=batch_size)
        assert np.abs(found - expected).max() <= tolerances.FP32_GRAPH_TO_TORCH
    assert result.shipped.passes["fuse_encoder"] == 2
    assert classifier.manifest.graph.inputs == ("input_ids", "attention_mask")
    assert classifier.manifest.graph.opset == 18
    assert classifier.manifest.producer["exporter"].startswith("pytorch ")


def test_int8_is_as_small_and_as_fused_as_ours(tmp_path, tiny_checkpoint_dir, tiny_bundle_dir, exported, tiny_examples):
    config = BuildConfig("int8", backbone_onnx=exported[18], max_flips_percent=100)
    path = build(tiny_checkpoint_dir, tmp_path / "x.bundle", config).path
    models = [onnx.load(folder / "model.onnx") for folder in (path, tiny_bundle_dir)]
    graphs = [model.graph for model in models]
    nodes = [[node for function in model.functions for node in function.node] or model.graph.node for model in models]
    theirs, ours = (Counter(node.op_type for node in some) for some in nodes)
    for name in ("QAttention", "MatMulIntegerToFloat", "LayerNormalization", "Gelu"):
        assert theirs[name] == ours[name] > 0
    theirs, ours = (sum(numpy_helper.to_array(tensor).nbytes for tensor in graph.initializer) for graph in graphs)
    assert abs(theirs - ours) < 0.05 * ours
    texts = [example.text for example in tiny_examples]
    theirs, ours = (
        Classifier.load(folder, kernels="portable").predict_proba(texts) for folder in (path, tiny_bundle_dir)
    )
    assert np.abs(theirs - ours).max() <= tolerances.OTHER_ONNXRUNTIME


def test_pairs_keep_their_token_types(tmp_path, tiny_pair_checkpoint_dir, exported, tiny_other_texts):
    build(tiny_pair_checkpoint_dir, tmp_path / "x.bundle", BuildConfig("fp32", backbone_onnx=exported[18]))
    classifier = Classifier.load(tmp_path / "x.bundle")
    assert classifier.manifest.graph.inputs == ("input_ids", "attention_mask", "token_type_ids")
    trained = load_checkpoint(tiny_pair_checkpoint_dir)
    texts = list(zip(tiny_other_texts, tiny_other_texts[::-1], strict=True))
    expected = predict_proba(trained, trained.load_backbone(device="cpu"), texts)
    assert np.abs(classifier.predict_proba(texts) - expected).max() <= tolerances.FP32_GRAPH_TO_TORCH


def test_another_backbones_graph(tmp_path, tiny_checkpoint_dir):
    other = export_as_optimum_does(make_tiny_backbone(tmp_path / "other", seed=14), tmp_path / "onnx")
    with pytest.raises(GateError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig("fp32", backbone_onnx=other))
    pattern = (
        rf"{re.escape(str(other))}: no value in the graph is layer 0 of \S+ \(the nearest is off by \de[+-]\d\d of its "
        r"size\), expected one within 1e-04\. Export the checkpoint's own backbone\."
    )
    assert re.fullmatch(pattern, str(caught.value))
    assert not (tmp_path / "x.bundle").exists()


def changed(source, folder, change):
    shutil.copytree(source, folder)
    model = onnx.load(folder / "model.onnx")
    change(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def other_input(model):
    model.graph.input[0].name = "tokens"


def later_opset(model):
    model.opset_import[0].version = 22


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_input,
            f"inputs attention_mask, token_type_ids, tokens, expected input_ids, attention_mask, token_type_ids. {EXPORT}",
        ),
        (later_opset, "opset 22, expected at most 18. Add --opset 18 to the export."),
        (external, f"its weights are in other files, expected one file below 2 GB. {EXPORT}"),
    ],
)
def test_refused_graphs(tmp_path, tiny_checkpoint_dir, exported, change, message):
    changed(exported[18], tmp_path / "onnx", change)
    with pytest.raises(BackboneError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig("fp32", backbone_onnx=tmp_path / "onnx"))
    assert str(caught.value) == f"{tmp_path / 'onnx' / 'model.onnx'}: {message}"
    assert not (tmp_path / "x.bundle").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, f"cannot be read (No such file or directory), expected a graph. {EXPORT}"),
        (b"not a graph", f"not an ONNX file. {EXPORT}"),
    ],
)
def test_folders_without_a_graph(tmp_path, tiny_checkpoint_dir, content, message):
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(BackboneError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig("fp32", backbone_onnx=tmp_path))
    assert str(caught.value) == f"{tmp_path / 'model.onnx'}: {message}"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"exporter": "tf"}, "exporter: found 'tf', expected torch or optimum."),
        (
            {"exporter": "optimum", "backbone_onnx": "x"},
            "exporter: optimum and backbone_onnx are both given, expected one of them.",
        ),
    ],
)
def test_settings_that_do_not_fit(tmp_path, tiny_checkpoint_dir, config, message):
    with pytest.raises(ConfigError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig(**config))
    assert str(caught.value) == message


def test_optimum_is_an_extra(tiny_backbone):
    with pytest.raises(MissingExtraError) as caught:
        export_by_optimum(tiny_backbone)
    assert str(caught.value) == (
        "optimum: not installed, expected for --exporter optimum. In a separate environment run: "
        "pip install 'crosstune-export[optimum,cpu]'"
    )


def test_constants_in_lists_become_raw_bytes(tmp_path, tiny_checkpoint_dir, exported):
    """Exporters may store numbers in typed lists, which no bundle has; optimum does so with some."""

    def in_lists(model):
        attributes = [part for node in model.graph.node for part in node.attribute if part.HasField("t")]
        tensors = [*model.graph.initializer, *(part.t for part in attributes)]
        assert len(tensors) > 20
        for tensor in tensors:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(
                onnx.helper.make_tensor(tensor.name, tensor.data_type, values.shape, values.flatten().tolist())
            )
            assert not tensor.HasField("raw_data")

    changed(exported[18], tmp_path / "lists", in_lists)
    found = []
    for name, source in (("raw", exported[18]), ("lists", tmp_path / "lists")):
        build(tiny_checkpoint_dir, tmp_path / f"{name}.bundle", BuildConfig("fp32", backbone_onnx=source))
        found.append((tmp_path / f"{name}.bundle" / "model.onnx").read_bytes())
    assert found[0] == found[1]
