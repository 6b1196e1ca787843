"""Checkpoints that were edited on purpose, sums and all, are refused for what is wrong in them."""

import errno
import json
import os
import shutil
import struct
from pathlib import Path

import pytest
import torch

from crosstune import load_checkpoint
from tests.fixtures.checkpoint_edits import edit_state, edit_tensors, refused, rehash

FILES = ("SHA256SUMS", "checkpoint.json", "examples.jsonl", "head.safetensors")


@pytest.fixture
def folder(tmp_path, tiny_checkpoint_dir):
    return Path(shutil.copytree(tiny_checkpoint_dir, tmp_path / "copy.ckpt"))


@pytest.fixture
def paper_folder(tmp_path, tiny_paper_checkpoint_dir):
    return Path(shutil.copytree(tiny_paper_checkpoint_dir, tmp_path / "paper.ckpt"))


@pytest.mark.fault("F2")
@pytest.mark.parametrize(
    "data", [b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.", b"PK\x03\x04" + bytes(60), b""]
)
def test_a_pickle_is_refused_unread(folder, data):
    (folder / "head.safetensors").write_bytes(data)
    rehash(folder)
    message = refused(folder)
    assert message.startswith(f"{folder / 'head.safetensors'}: not safetensors (")
    assert message.endswith("). Train again.")


def tensor(count, start, stop):
    return {"dtype": "F32", "shape": [count], "data_offsets": [start, stop]}


@pytest.mark.fault("F3")
@pytest.mark.parametrize(
    "header",
    [
        {"label_bias": tensor(3, 0, 12), "other": tensor(3, 4, 16)},
        {"label_bias": tensor(1 << 40, 0, 1 << 42)},
        {"label_bias": tensor(3, 0, 8)},
    ],
    ids=["overlap", "huge", "offsets"],
)
def test_a_lying_safetensors_header_is_refused(folder, header):
    text = json.dumps(header).encode()
    (folder / "head.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    rehash(folder)
    assert refused(folder).startswith(f"{folder / 'head.safetensors'}: not safetensors (")


@pytest.mark.fault("F3")
def test_a_header_length_of_many_gigabytes_is_refused(folder):
    (folder / "head.safetensors").write_bytes(struct.pack("<Q", 99 << 30) + bytes(64))
    rehash(folder)
    assert refused(folder).startswith(f"{folder / 'head.safetensors'}: not safetensors (")


@pytest.mark.fault("F6")
@pytest.mark.parametrize(
    ("key", "value"), [("format_version", 3), ("format_version", 1), ("format_version", "2"), ("format", "other")]
)
def test_another_format_is_refused(folder, key, value):
    edit_state(folder, lambda state: state.update({key: value}))
    found = {"format": "crosstune-checkpoint", "format_version": 2} | {key: value}
    assert refused(folder) == (
        f"{folder / 'checkpoint.json'}: format {found['format']} {found['format_version']}, "
        f"this reader knows crosstune-checkpoint 2. {'Train again' if value == 1 else 'Upgrade crosstune-export'}."
    )


@pytest.mark.fault("F5")
def test_a_tensor_that_is_not_finite_is_refused(folder):
    edit_tensors(folder, lambda tensors: tensors["label_keys"][1].__setitem__(5, float("nan")))
    assert refused(folder) == (
        f"{folder / 'head.safetensors'}: tensor label_keys has 1 values that are not finite. Train again."
    )


@pytest.mark.fault("F4")
def test_a_tensor_of_another_shape_is_refused(folder):
    size = load_checkpoint(folder).head.label_keys.shape[1]
    edit_tensors(folder, lambda tensors: tensors.update(label_keys=torch.zeros(4, size)))
    assert refused(folder) == (
        f"{folder / 'head.safetensors'}: tensor label_keys is torch.float32 (4, {size}), "
        f"expected torch.float32 (3, {size}). Train again."
    )


@pytest.mark.fault("F4")
def test_a_tensor_of_another_type_is_refused(folder):
    edit_tensors(folder, lambda tensors: tensors.update(label_bias=tensors["label_bias"].double()))
    assert refused(folder) == (
        f"{folder / 'head.safetensors'}: tensor label_bias is torch.float64 (3,), expected torch.float32 (3,). Train again."
    )


@pytest.mark.fault("F4")
def test_tensors_of_the_other_head_are_refused(folder, paper_folder):
    shutil.copy(paper_folder / "head.safetensors", folder)
    rehash(folder)
    assert refused(folder) == (
        f"{folder / 'head.safetensors'}: tensors key, label_vectors, query, expected label_bias, label_keys, "
        "label_queries, prior_centre, prior_scale, prior_shift, scope_keys, scope_offsets. Train again."
    )
    edit_state(folder, lambda state: state.update(head="paper"))
    assert refused(folder).startswith(f"{folder / 'head.safetensors'}: tensor key is torch.float32 ")


def test_labels_of_another_number_are_refused(folder):
    edit_state(folder, lambda state: state["labels"].pop("praise"))
    assert refused(folder).startswith(f"{folder / 'head.safetensors'}: tensor label_bias is torch.float32 (3,)")


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda state: state["spec"]["atoms"][0].__setitem__(0, "sum"), "sum:0 (concat)"),
        (lambda state: state["spec"]["atoms"][0].__setitem__(1, 3), "mean:3 (concat)"),
        (lambda state: state["spec"]["atoms"][0].__setitem__(1, -1), "mean:-1 (concat)"),
        (lambda state: state["spec"].update(merge="sum"), "mean:0 (sum)"),
    ],
    ids=["pool", "layer", "negative layer", "merge"],
)
def test_features_that_no_backbone_has_are_refused(folder, change, feature):
    edit_state(folder, change)
    assert refused(folder) == (
        f"{folder / 'checkpoint.json'}: feature {feature}, expected one of mean, max, first, mask, cls, last "
        "of layers 0 to 2, merged by concat or max. Train again."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.clear(),
        lambda state: state.pop("tokens"),
        lambda state: state.pop("summary"),
        lambda state: state["config"].update(head="other"),
        lambda state: state["config"].update(unknown=1),
        lambda state: state["backbone"].pop("digest"),
        lambda state: state["backbone"].update(extra=1),
        lambda state: state.update(labels=["a", "b"]),
        lambda state: state.update(labels={"a": [""], "b": ["x"], "c": ["y"]}),
        lambda state: state.update(spec=3),
        lambda state: state["positions"].update(unknown=1),
    ],
)
def test_a_state_that_lacks_or_adds_something_is_refused(folder, change):
    edit_state(folder, change)
    message = refused(folder)
    assert message.startswith(f"{folder / 'checkpoint.json'}: not a usable checkpoint (")
    assert message.endswith("). Train again.")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"a": 1, "a": 2}', "[" * 100_000, "\xff"])
def test_a_state_that_is_no_object_is_refused(folder, text):
    (folder / "checkpoint.json").write_bytes(text.encode("latin-1"))
    rehash(folder)
    assert refused(folder).startswith(f"{folder / 'checkpoint.json'}: not a usable checkpoint (")


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "x"}', '{"text": NaN, "label": "x"}'])
def test_examples_that_are_no_examples_are_refused(folder, line):
    with (folder / "examples.jsonl").open("a") as stream:
        stream.write(line + "\n")
    rehash(folder)
    assert refused(folder).startswith(f"{folder / 'checkpoint.json'}: not a usable checkpoint (")


@pytest.mark.fault("L22")
@pytest.mark.parametrize("kind", ["pipe", "link to a device", "link to a file"])
@pytest.mark.parametrize("name", ["head.safetensors", "SHA256SUMS"])
def test_a_special_file_is_refused_and_not_read(folder, kind, name):
    path = folder / name
    kept = path.rename(folder.parent / "kept")
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "link to a device" else kept)
    what = (
        "not a regular file"
        if kind == "pipe"
        else f"cannot be opened ({os.strerror(errno.ELOOP)}), expected a regular file"
    )
    assert refused(folder) == f"{path}: {what}. Copy the checkpoint again, or train again."
