"""Checkpoints come back whole, and every change of any byte is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstune import Checkpoint, CheckpointError, TrainConfig, load_checkpoint, train
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import predict_proba
from crosstune.core.errors import BackboneError, OutputExistsError, ResourceError
from crosstune.core.training_facts import Quality
from tests.conftest import make_tiny_backbone
from tests.fixtures.checkpoint_edits import edit_state, refused
from tests.tolerances import PROBS_TO_ORACLE

FILES = ("SHA256SUMS", "checkpoint.json", "examples.jsonl", "head.safetensors")


@pytest.fixture(params=["default", "paper", "pair"])
def written(request, tiny_checkpoint_dir, tiny_paper_checkpoint_dir, tiny_pair_checkpoint_dir):
    return {"default": tiny_checkpoint_dir, "paper": tiny_paper_checkpoint_dir, "pair": tiny_pair_checkpoint_dir}[
        request.param
    ]


@pytest.fixture
def folder(tmp_path, tiny_checkpoint_dir):
    return Path(shutil.copytree(tiny_checkpoint_dir, tmp_path / "copy.ckpt"))


def test_it_comes_back_as_it_was_written(tmp_path, written):
    checkpoint = load_checkpoint(written)
    checkpoint.save(tmp_path / "again.ckpt")
    for name in FILES:
        assert (tmp_path / "again.ckpt" / name).read_bytes() == (written / name).read_bytes()
    again = load_checkpoint(str(tmp_path / "again.ckpt"))
    for field in ("labels", "backbone", "tokens", "config", "examples", "facts", "text_pair"):
        assert getattr(again, field) == getattr(checkpoint, field)
    assert (again.head.kind, again.head.spec, again.head.positions) == (
        checkpoint.head.kind,
        checkpoint.head.spec,
        checkpoint.head.positions,
    )
    for name, tensor in checkpoint.head.tensors().items():
        assert torch.equal(again.head.tensors()[name], tensor)


def test_a_checkpoint_of_an_earlier_version_is_read_and_written_as_it_was(tmp_path, repo_root, tiny_backbone):
    """Written at commit a2a58b7, with generated texts, two depths tried, and a threshold."""
    old = repo_root / "tests" / "fixtures" / "checkpoints" / "format_2"
    checkpoint = Checkpoint.load(old)
    assert checkpoint.quality == Quality(12 / 18, 0.8545416593551636)
    facts = checkpoint.facts
    assert (facts.shots, len(checkpoint.examples)) == (18, 20)
    assert (facts.head.layers, [tried.layers for tried in facts.head.layers_tried]) == (1, [2, 1])
    assert [view.name for view in facts.head.views][-1] == "label queries"
    assert (checkpoint.threshold, checkpoint.min_similarity) == (None, 0.9564975500106812)
    assert (facts.generated.offered, facts.generated.kept, facts.generated.dropped["gate"]) == (11, 2, 5)
    probs = checkpoint.predict_proba(["where is my parcel", "so kind"], backbone=tiny_backbone)
    expected = [[0.8252353, 0.0949788, 0.0797858], [0.1265108, 0.1719156, 0.7015737]]
    np.testing.assert_allclose(probs, expected, rtol=0, atol=10 * PROBS_TO_ORACLE)
    checkpoint.save(tmp_path / "again")
    for name in ("head.safetensors", "examples.jsonl"):
        assert (tmp_path / "again" / name).read_bytes() == (old / name).read_bytes()
    before, after = (json.loads((folder / "checkpoint.json").read_bytes()) for folder in (old, tmp_path / "again"))
    later = {
        "expected_shares": "uniform",
        "log_shares": "shots",
        "prefix": None,
    }  # settings that came later, with their defaults
    assert after.pop("config") == before.pop("config") | later
    assert after == before


@pytest.mark.parametrize(
    "change",
    [
        lambda summary: summary.pop("layers_tried") and summary.update(layers="two"),
        lambda summary: summary.update(shots=-1),
        lambda summary: summary.update(shots=19),
        lambda summary: summary.update(cv_accuracy="high"),
        lambda summary: summary["views"][0].pop("weight"),
        lambda summary: summary["views"][0].update(name=3),
        lambda summary: summary.update(views={}),
        lambda summary: summary.update(generated=3),
        lambda summary: summary.update(threshold=True),
    ],
)
def test_a_summary_with_values_of_another_kind_is_refused(folder, change):
    edit_state(folder, lambda state: change(state["summary"]))
    assert refused(folder).startswith(f"{folder / 'checkpoint.json'}: not a usable checkpoint (ValueError(")


def test_a_checkpoint_that_does_not_count_its_shots_has_shots_only(folder):
    edit_state(folder, lambda state: state["summary"].pop("shots"))
    assert load_checkpoint(folder).facts.shots == 18


def test_it_predicts_as_it_did_before_it_was_saved(
    tmp_path, tiny_backbone, tiny_examples, tiny_labels, tiny_other_texts
):
    for head in ("default", "paper"):
        trained = train(tiny_examples, tiny_labels, TrainConfig(head=head, epochs=5), backbone=tiny_backbone)
        trained.save(tmp_path / head)
        again = load_checkpoint(tmp_path / head)
        one, two = (predict_proba(checkpoint, tiny_backbone, tiny_other_texts) for checkpoint in (trained, again))
        np.testing.assert_array_equal(one, two)


def test_the_sums_are_those_of_sha256sum(written):
    for line in (written / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((written / name).read_bytes()).hexdigest() == digest
    assert sorted(item.name for item in written.iterdir()) == sorted(FILES)


def test_nothing_in_it_is_a_pickle(written):
    for path in written.iterdir():
        assert path.read_bytes()[:1] != b"\x80"
        assert path.read_bytes()[:2] != b"PK"


# Damage


@pytest.mark.fault("F1")
@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused(folder, name):
    path = folder / name
    data = path.read_bytes()
    lengths = {0, 1, 7, 8, 9, len(data) // 3, len(data) // 2, len(data) - 8, len(data) - 1}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        message = refused(folder)
        if name == "SHA256SUMS":
            assert message.startswith(f"{folder}/")
            assert "changed since it was written" in message
        else:
            assert message == f"{path}: changed since it was written (sha256). Copy it again, or train again."
    path.write_bytes(data)
    load_checkpoint(folder)


@pytest.mark.fault("F1")
@pytest.mark.parametrize("name", FILES)
def test_bytes_at_the_end_are_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes() + b"\n")
    target = folder / "SHA256SUMS" if name == "SHA256SUMS" else path
    detail = "" if name == "SHA256SUMS" else " (sha256)"
    assert refused(folder) == f"{target}: changed since it was written{detail}. Copy it again, or train again."


@pytest.mark.fault("F1")
@settings(max_examples=150)
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_every_flipped_bit_is_refused(tmp_path_factory, tiny_checkpoint_dir, name, place, bit):
    folder = tmp_path_factory.getbasetemp() / "flipped.ckpt"
    if not folder.exists():
        shutil.copytree(tiny_checkpoint_dir, folder)
    path = folder / name
    data = path.read_bytes()
    changed = bytearray(data)
    changed[int(place * len(data))] ^= 1 << bit
    path.write_bytes(bytes(changed))
    try:
        with pytest.raises(CheckpointError, match="changed since it was written"):
            load_checkpoint(folder)
    finally:
        path.write_bytes(data)
    load_checkpoint(folder)


@pytest.mark.fault("F7")
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    assert refused(folder) == f"{folder / name}: missing, expected in every checkpoint. Copy it again, or train again."


@pytest.mark.parametrize("name", ["optimizer.pt", ".DS_Store", "Checkpoint.json"])
def test_a_foreign_file_is_refused(folder, name):
    (folder / name).write_bytes(b"x")
    assert refused(folder) == (
        f"{folder / name}: a foreign file, expected only SHA256SUMS, checkpoint.json, examples.jsonl, head.safetensors. "
        "Remove it, or train again."
    )


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "examples.jsonl").unlink()
    (folder / "examples.jsonl").mkdir()
    assert refused(folder) == (
        f"{folder / 'examples.jsonl'}: not a regular file. Copy the checkpoint again, or train again."
    )


def test_a_place_without_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / "none"
    message = "expected a checkpoint folder. Make one with crosstune train."
    assert refused(path) == f"{path}: found nothing, {message}"
    path.write_text("x")
    assert refused(path) == f"{path}: found a file, {message}"
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty") == (
        f"{tmp_path / 'empty' / 'SHA256SUMS'}: missing, expected in every checkpoint. Copy it again, or train again."
    )


@pytest.mark.fault("F8")
def test_files_of_two_checkpoints_do_not_go_together(folder, tiny_paper_checkpoint_dir):
    shutil.copy(tiny_paper_checkpoint_dir / "head.safetensors", folder)
    assert refused(folder) == (
        f"{folder / 'head.safetensors'}: changed since it was written (sha256). Copy it again, or train again."
    )


# Writing


def test_an_existing_checkpoint_needs_force(folder):
    checkpoint = load_checkpoint(folder)
    before = (folder / "checkpoint.json").read_bytes()
    with pytest.raises(OutputExistsError) as caught:
        checkpoint.save(folder)
    assert str(caught.value) == (
        f"{folder}: is already there. Choose another checkpoint, or pass --force to replace it."
    )
    checkpoint.save(folder, force=True)
    assert (folder / "checkpoint.json").read_bytes() == before


def test_force_never_replaces_another_folder(tmp_path, tiny_checkpoint_dir):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    with pytest.raises(OutputExistsError) as caught:
        load_checkpoint(tiny_checkpoint_dir).save(tmp_path / "home", force=True)
    assert str(caught.value) == (
        f"{tmp_path / 'home'}: is not a checkpoint (no checkpoint.json), --force will not replace it. Remove it yourself."
    )
    assert [item.name for item in (tmp_path / "home").iterdir()] == ["thesis.tex"]


@pytest.mark.fault("F7")
@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_it_is_never_half_written(folder, tiny_paper_checkpoint_dir, monkeypatch, nth):
    """The disk fills up at the n-th file: the old checkpoint still loads and nothing lies beside it."""
    before = {name: (folder / name).read_bytes() for name in FILES}
    other = load_checkpoint(tiny_paper_checkpoint_dir)
    writes = []

    def full(kind):
        original = getattr(Path, kind)

        def write(self, *args, **kwargs):
            writes.append(self.name)
            if len(writes) == nth:
                raise OSError(28, "No space left on device")
            return original(self, *args, **kwargs)

        return write

    for kind in ("write_bytes", "write_text"):
        monkeypatch.setattr(Path, kind, full(kind))
    with pytest.raises(ResourceError) as caught:
        other.save(folder, force=True)
    assert str(caught.value) == (
        f"{folder}: cannot be written (No space left on device). Free some space or choose another place."
    )
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    assert [item.name for item in folder.parent.iterdir()] == [folder.name]
    assert load_checkpoint(folder).head.kind == "default"


def test_a_folder_that_is_closed_is_refused(written, monkeypatch):
    """Root may read anywhere, so the system's answer is not asked for."""

    def closed(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(written)
    assert str(caught.value) == f"{written}: cannot be read (Permission denied). Check its rights."


# Its backbone


def test_the_backbone_is_loaded_from_where_it_was(written, tiny_backbone):
    backbone = load_checkpoint(written).load_backbone(device="cpu")
    assert backbone.digest == tiny_backbone.digest
    assert backbone.tokens == tiny_backbone.tokens


def test_the_backbone_may_have_moved(tmp_path, tiny_checkpoint_dir, tiny_backbone_dir, tiny_backbone):
    moved = shutil.copytree(tiny_backbone_dir, tmp_path / "moved")
    backbone = load_checkpoint(tiny_checkpoint_dir).load_backbone(device="cpu", name=str(moved))
    assert backbone.digest == tiny_backbone.digest


@pytest.mark.fault("E9")
def test_another_backbone_is_refused(tmp_path, tiny_checkpoint_dir, tiny_backbone):
    other = make_tiny_backbone(tmp_path / "other", seed=14)
    digest = Backbone.load(str(other), device="cpu").digest
    with pytest.raises(BackboneError) as caught:
        load_checkpoint(tiny_checkpoint_dir).load_backbone(device="cpu", name=str(other))
    assert str(caught.value) == (
        f"{other}: digest {digest[:12]}…, expected {tiny_backbone.digest[:12]}… as at training. "
        "Give the same backbone, or train again."
    )


def test_the_length_of_training_is_kept(tmp_path, tiny_backbone_dir, tiny_examples, tiny_labels):
    config = TrainConfig(backbone=str(tiny_backbone_dir), head="paper", epochs=1, max_length_tokens=12)
    train(tiny_examples, tiny_labels, config, device="cpu").save(tmp_path / "c")
    checkpoint = load_checkpoint(tmp_path / "c")
    assert checkpoint.tokens.max_length_tokens == 12
    assert checkpoint.load_backbone(device="cpu").tokens.max_length_tokens == 12
