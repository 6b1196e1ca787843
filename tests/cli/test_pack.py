"""``crosstune-export pack`` and ``unpack``."""

from __future__ import annotations

import json

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
        f"error: {packed}: other bytes behind its members, expected their directory alone. Copy or pack the bundle again.\n"
    )
    assert files_in(task.out) == ["tiny.zip"]
