"""``crosstune-export pack`` and ``unpack``."""

from __future__ import annotations

import json
import shutil

from crosstune_export.release.signing import signature_path
from tests.cli.conftest import files_in


def test_pack_run_and_unpack(run_app, task, tiny_bundle_dir):
    digest = json.loads((tiny_bundle_dir / "manifest.json").read_bytes())["digest"]
    packed, again = task.out / "tiny.zip", task.out / "again.bundle"
    done = run_app("crosstune-export", "pack", tiny_bundle_dir, "--output", packed)
    assert (done.code, done.out, done.err) == (0, f"{packed}: digest {digest}\n", "")
    for command in ("verify", "inspect"):
        assert run_app("crosstune-export", command, packed).code == 0
    texts = task.folder / "texts.txt"
    texts.write_text("where is my parcel\n", "utf-8")
    answers = {run_app("crosstune-export", "classify", bundle, texts) for bundle in (packed, tiny_bundle_dir)}
    assert len(answers) == 1
    done = run_app("crosstune-export", "unpack", packed, "--output", again)
    assert (done.code, done.out, done.err) == (0, f"{again}: digest {digest}\n", "")
    assert files_in(again) == files_in(tiny_bundle_dir)


def test_outputs_that_are_there(run_app, task, tiny_bundle_dir):
    packed = task.out / "tiny.zip"
    packed.write_bytes(b"mine")
    done = run_app("crosstune-export", "pack", tiny_bundle_dir, "--output", packed)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"error: {packed}: is already there. Choose another packed bundle, or pass --force to replace it.\n"
    )
    assert packed.read_bytes() == b"mine"
    assert run_app("crosstune-export", "pack", tiny_bundle_dir, "--output", packed, "--force").code == 0


def test_what_is_refused_writes_nothing(run_app, task, tiny_bundle_dir):
    packed = task.out / "tiny.zip"
    run_app("crosstune-export", "pack", tiny_bundle_dir, "--output", packed)
    packed.write_bytes(packed.read_bytes()[:-1])
    done = run_app("crosstune-export", "unpack", packed, "--output", task.out / "again.bundle")
    assert (done.code, done.out) == (5, "")
    assert done.err == (
        f"error: {packed}: unexpected bytes after its members, expected only their directory. Copy or pack the bundle again.\n"
    )
    assert files_in(task.out) == ["tiny.zip"]


def test_an_output_inside_the_bundle(run_app, task, tiny_bundle_dir, monkeypatch):
    """A file more, and no reader would take the bundle."""
    shutil.copytree(tiny_bundle_dir, task.out / "a.bundle")
    monkeypatch.chdir(task.out / "a.bundle")
    for line, what in (
        (("pack", ".", "--output", "a.zip"), "packed bundle"),
        (("sign", ".", "--key", "key.pem", "--output", "./a.zip"), "signature"),
        (("classify", ".", task.train, "--output", "a.zip", "--format", "jsonl"), "output file"),
        (("bench", ".", "--json", "a.zip"), "output file"),
    ):
        done = run_app("crosstune-export", *line)
        assert (done.code, done.out) == (2, "")
        assert done.err == (f"error: a.zip: is inside the bundle ., expected a place outside. Choose another {what}.\n")
    assert files_in(task.out / "a.bundle") == files_in(tiny_bundle_dir)


def test_a_bundle_seen_from_inside(run_app, task, tiny_bundle_dir, monkeypatch):
    shutil.copytree(tiny_bundle_dir, task.out / "a.bundle")
    monkeypatch.chdir(task.out / "a.bundle")
    assert run_app("crosstune-export", "labels", "list", ".").code == 0
    done = run_app("crosstune-export", "labels", "rename", ".", "praise", "thanks")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: .: cannot be replaced while it is the working directory. Run the command from another directory.\n"
    )
    assert signature_path(".") == task.out / "a.bundle.sig"
