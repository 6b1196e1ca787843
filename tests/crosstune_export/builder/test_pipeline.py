from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from crosstune import BackboneError, LabelSet, OutputExistsError, TrainConfig, load_checkpoint, train
from crosstune.checkpoint import predict_proba
from crosstune_export import Classifier, ConfigError, GateError
from crosstune_export.builder import parity, pipeline, trials
from crosstune_export.builder.exporters.torch_export import trace
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.builder.targets.triton import check_repository
from tests import tolerances
from tests.conftest import make_tiny_backbone

pytestmark = pytest.mark.usefixtures("quick_builds")

FP32 = BuildConfig(precision="fp32")
ANY_FLIPS = BuildConfig(precision="int8", max_flips_percent=100)


def agrees(checkpoint_dir, bundle_dir, texts):
    trained = load_checkpoint(checkpoint_dir)
    expected = predict_proba(trained, trained.load_backbone(device="cpu"), texts)
    classifier = Classifier.load(bundle_dir)
    for batch_size in (1, 3, 32):
        found = classifier.predict_proba(texts, batch_size=batch_size)
        assert np.abs(found - expected).max() <= tolerances.FP32_GRAPH_TO_TORCH
    return classifier


def test_default_head(tiny_checkpoint_dir, tiny_fp32_bundle_dir, tiny_other_texts):
    classifier = agrees(tiny_checkpoint_dir, tiny_fp32_bundle_dir, list(tiny_other_texts))
    assert classifier.manifest.quality["fp32_to_torch"]["max_prob_difference"] <= 1e-4
    assert classifier.manifest.head["kind"] == "default"


@pytest.mark.slow
def test_paper_head(tmp_path, tiny_paper_checkpoint_dir, tiny_other_texts):
    build(tiny_paper_checkpoint_dir, tmp_path / "paper.bundle", FP32)
    classifier = agrees(tiny_paper_checkpoint_dir, tmp_path / "paper.bundle", list(tiny_other_texts))
    assert (classifier.manifest.head["kind"], classifier.manifest.head["heads"]) == ("paper", 4)


@pytest.mark.slow
def test_paper_head_with_a_template(
    tmp_path, tiny_backbone_dir, tiny_backbone, tiny_examples, tiny_labels, tiny_other_texts
):
    config = TrainConfig(
        backbone=str(tiny_backbone_dir), head="paper", feature="mask", template="{text} it is {mask} .", epochs=5
    )
    train(tiny_examples, tiny_labels, config, backbone=tiny_backbone).save(tmp_path / "mask.ckpt")
    build(tmp_path / "mask.ckpt", tmp_path / "mask.bundle", FP32)
    classifier = agrees(tmp_path / "mask.ckpt", tmp_path / "mask.bundle", list(tiny_other_texts))
    assert len(classifier.manifest.tokens.suffix_ids) == 5


def test_pairs(tiny_pair_checkpoint_dir, tiny_pair_bundle_dir, tiny_other_texts):
    texts = list(zip(tiny_other_texts, tiny_other_texts[::-1], strict=True))
    classifier = agrees(tiny_pair_checkpoint_dir, tiny_pair_bundle_dir, texts)
    assert classifier.manifest.text_pair
    assert classifier.manifest.graph.inputs == ("input_ids", "attention_mask", "token_type_ids")


def test_int8(tiny_bundle_dir, tiny_fp32_bundle_dir, tiny_examples):
    small, large = Classifier.load(tiny_bundle_dir), Classifier.load(tiny_fp32_bundle_dir)
    assert small.manifest.graph.precision == "int8"
    assert (tiny_bundle_dir / "model.onnx").stat().st_size < (tiny_fp32_bundle_dir / "model.onnx").stat().st_size
    (function,) = onnx.load(tiny_bundle_dir / "model.onnx").functions
    nodes = function.node
    kinds = [node.op_type for node in nodes]
    assert (kinds.count("MatMulIntegerToFloat"), kinds.count("QAttention")) == (6, 2)  # three products a layer
    head = {"scope_keys_float", *(f"label_queries_{layer}_float" for layer in range(3))}
    float_products = [node.input[1] for node in nodes if node.op_type == "MatMul"]
    assert head < set(float_products)
    assert len(float_products) == len(head) + 1  # the mean over tokens
    texts = [example.text for example in tiny_examples]
    agree = (small.predict_proba(texts).argmax(1) == large.predict_proba(texts).argmax(1)).mean()
    assert agree >= 0.8  # a random backbone of 32 features is far more fragile than a trained one


@pytest.mark.parametrize(("fixture", "kind"), [("tiny_bundle_dir", np.float16), ("tiny_fp32_bundle_dir", np.float32)])
def test_what_the_graph_holds(fixture, kind, request, tiny_checkpoint_dir, repo_root):
    folder = request.getfixturevalue(fixture)
    data = (folder / "model.onnx").read_bytes()
    model = onnx.load_from_string(data)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    keys, bias = load_checkpoint(tiny_checkpoint_dir).head.folded()
    assert np.array_equal(tensors["label_keys"], keys[0].numpy().astype(kind))
    assert np.array_equal(tensors["label_bias"], bias[0].numpy())
    nodes = [node for function in model.functions for node in function.node] or model.graph.node
    assert {node.domain for node in nodes} <= {"", "ai.onnx", "com.microsoft"}
    assert len(model.functions) == (kind is np.float16)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    head = load_checkpoint(tiny_checkpoint_dir).head
    for index, queries in enumerate(head.label_queries.numpy()):
        assert np.array_equal(tensors[f"label_queries_{index}"], queries.T.astype(kind))
    assert np.array_equal(tensors["scope_keys"], head.scope_keys.numpy().T.astype(kind))
    assert tensors["label_keys"].dtype == kind
    assert [value.name for value in model.graph.output] == ["probs", "text_vector", "scope"]
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask"]
    for left in (b"site-packages", str(repo_root).encode(), str(Path.home()).encode() + b"/", b".py", b"Traceback"):
        assert left not in data


def test_fusions_fired(tmp_path, tiny_checkpoint_dir):
    result = build(tiny_checkpoint_dir, tmp_path / "x.bundle", FP32)
    passes = {"fuse_encoder": 2, "padding_mask": 2, "split_skip_layer_norm": 4, "mean_by_product": 1}
    assert {name: result.shipped.passes[name] for name in passes} == passes
    assert result.size_bytes == sum(path.stat().st_size for path in result.path.iterdir())
    assert result.manifest.digest == Classifier.load(result.path).manifest.digest


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_equal_inputs_give_equal_bytes(tmp_path, tiny_checkpoint_dir, tiny_bundle_dir, monkeypatch):
    monkeypatch.setattr(trials, "trace", trace)  # not one that was traced before
    build(tiny_checkpoint_dir, tmp_path / tiny_bundle_dir.name, ANY_FLIPS)
    assert files_of(tmp_path / tiny_bundle_dir.name) == files_of(tiny_bundle_dir)


@pytest.mark.fault("C10")
@pytest.mark.slow
def test_hash_seeds_locales_and_folders_change_no_byte(tmp_path, tiny_checkpoint_dir, tiny_bundle_dir):
    folder = tmp_path / "a longer" / "path"
    folder.mkdir(parents=True)
    code = (
        "import sys\nfrom crosstune_export.builder.pipeline import BuildConfig, build\n"
        "build(sys.argv[1], sys.argv[2], BuildConfig('int8', max_flips_percent=100))"
    )
    here = os.environ.get("LC_ALL") or os.environ.get("LANG") or "C"
    other = {"PYTHONHASHSEED": "1", "LC_ALL": "C" if "UTF-8" in here else "C.UTF-8", "OMP_NUM_THREADS": "1", "TZ": "a"}
    subprocess.run(
        [sys.executable, "-c", code, tiny_checkpoint_dir, tiny_bundle_dir.name],
        cwd=folder, env=os.environ | other, check=True, timeout=300,
    )  # fmt: skip
    assert files_of(folder / tiny_bundle_dir.name) == files_of(tiny_bundle_dir)


def test_training_texts_are_not_shipped(tiny_bundle_dir, tiny_examples):
    everything = b"".join(path.read_bytes() for path in tiny_bundle_dir.iterdir() if path.name != "tokenizer.json")
    assert all(example.text.encode() not in everything for example in tiny_examples)


def test_output_exists(tmp_path, tiny_checkpoint_dir):
    target = tmp_path / "x.bundle"
    target.mkdir()
    with pytest.raises(OutputExistsError) as caught:
        build(tiny_checkpoint_dir, target, FP32)
    assert str(caught.value) == f"{target}: is already there. Choose another bundle, or pass --force to replace it."
    (target / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError) as caught:
        build(tiny_checkpoint_dir, target, FP32, force=True)
    assert str(caught.value) == (
        f"{target}: is not a bundle (no manifest.json), --force will not replace it. Remove it yourself."
    )
    assert [path.name for path in target.iterdir()] == ["notes.txt"]


def test_outputs_inside_the_bundle(tmp_path, tiny_checkpoint_dir):
    target = tmp_path / "x.bundle"
    inside = f"is inside the bundle {target}, expected a place outside. Choose another"
    with pytest.raises(ConfigError, match=re.escape(f"{target / 'r.html'}: {inside} report.")):
        build(tiny_checkpoint_dir, target, replace(FP32, report=target / "r.html"))
    with pytest.raises(ConfigError, match=re.escape(f"{target / 'models'}: {inside} Triton repository.")):
        check_repository(target / "models", target, force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("C7")
def test_a_failed_build_keeps_the_old_bundle_and_leaves_nothing(
    tmp_path, tiny_checkpoint_dir, tiny_bundle_dir, monkeypatch
):
    target = shutil.copytree(tiny_bundle_dir, tmp_path / "x.bundle")
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    monkeypatch.setattr(parity, "FP32_TOLERANCE", 0.0)
    with pytest.raises(GateError) as caught:
        build(tiny_checkpoint_dir, target, FP32, force=True)
    assert caught.value.exit_code == 6
    pattern = (
        r"parity: the fp32 graph differs from torch by \S+ on 38 texts, expected at most 0e\+00\. "
        r"Nothing was written; report this with the backbone's name\."
    )
    assert re.fullmatch(pattern, str(caught.value))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.bundle"]


def test_force_replaces(tmp_path, tiny_checkpoint_dir, tiny_bundle_dir):
    target = shutil.copytree(tiny_bundle_dir, tmp_path / "x.bundle")
    build(tiny_checkpoint_dir, target, FP32, force=True)
    assert Classifier.load(target).manifest.graph.precision == "fp32"
    assert [path.name for path in tmp_path.iterdir()] == ["x.bundle"]


def test_too_many_flips(tmp_path, tiny_checkpoint_dir, monkeypatch):
    report = parity.PredictionDifference(18, (1,), 0.0, 3)
    monkeypatch.setattr(pipeline.parity, "compare", lambda *rest: report)
    with pytest.raises(GateError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig(precision="int8", max_flips_percent=5))
    pattern = (
        r"budget: no graph of 1 tried keeps within it; nearest is 'int8' with \d\.\d MB and 6 of 36 labels that differ from fp32 "
        r"\(6 of 36 labels differ from fp32, at most 5% allowed\)\. "
        r"Raise --max-flips, or build with --precision fp32\."
    )
    assert re.fullmatch(pattern, str(caught.value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("E9")
def test_another_backbone(tmp_path, tiny_checkpoint_dir, tiny_backbone_dir):
    moved = shutil.copytree(tiny_backbone_dir, tmp_path / "moved")
    build(tiny_checkpoint_dir, tmp_path / "x.bundle", BuildConfig(precision="fp32", backbone=str(moved)))
    other = make_tiny_backbone(tmp_path / "other", seed=14)
    with pytest.raises(BackboneError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "y.bundle", BuildConfig(precision="fp32", backbone=str(other)))
    assert re.fullmatch(
        rf"{re.escape(str(other))}: digest \S+…, expected \S+… as at training\. Give the same backbone, or train again\.",
        str(caught.value),
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BuildConfig(precision="int4"), "precision: found 'int4', expected auto, fp32, fp16 or int8 for cpu."),
        (BuildConfig(max_flips_percent=-1), "max_flips: found -1, expected 0 to 100 (percent)."),
    ],
)
def test_settings_out_of_range(tmp_path, tiny_checkpoint_dir, config, message):
    with pytest.raises(ConfigError) as caught:
        build(tiny_checkpoint_dir, tmp_path / "x.bundle", config)
    assert str(caught.value) == message


@pytest.mark.slow
def test_without_shots_a_graph_is_judged_on_every_description(tmp_path, tiny_backbone):
    labels = LabelSet.from_mapping({"ship": ["a parcel", "the box", "where is it"], "praise": "thanks and kind words"})
    with pytest.warns(UserWarning, match="known by description only"):
        train([], labels, backbone=tiny_backbone).save(tmp_path / "x.ckpt")
    result = build(tmp_path / "x.ckpt", tmp_path / "x.bundle", ANY_FLIPS)
    assert result.shipped.on_texts.texts == 4


@pytest.mark.slow
def test_a_thousand_labels(tmp_path, tiny_backbone):
    letters = "abcdefghij"
    labels = LabelSet.from_mapping(
        {f"{a} {b} {c}": f"{a} {b} {c} parcel" for a in letters for b in letters for c in letters}
    )
    with pytest.warns(UserWarning, match="known by description only"):
        train([], labels, backbone=tiny_backbone).save(tmp_path / "x.ckpt")
    build(tmp_path / "x.ckpt", tmp_path / "x.bundle", replace(FP32, max_flips_percent=100))
    classifier = Classifier.load(tmp_path / "x.bundle")
    assert len(classifier.labels) == 1000
    assert classifier.selftest().passed
