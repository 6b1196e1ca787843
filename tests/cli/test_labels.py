"""``crosstune-export labels``: edits a finished bundle in place."""

from __future__ import annotations

import json
import shutil

import pytest

from crosstune_export import Classifier
from tests.conftest import TINY_LABELS, TINY_TEXTS
from tests.fixtures.edited_bundle import edited


@pytest.fixture
def bundle(tmp_path, tiny_bundle_dir):
    return shutil.copytree(tiny_bundle_dir, tmp_path / "x.bundle")


def test_list(run_app, bundle):
    result = run_app("crosstune-export", "labels", "list", bundle)
    assert (result.code, result.err) == (0, "")
    assert [line.split(None, 1) for line in result.out.splitlines()] == [list(pair) for pair in TINY_LABELS.items()]
    listed = json.loads(run_app("crosstune-export", "labels", "list", bundle, "--json").out)
    assert listed == {name: [text] for name, text in TINY_LABELS.items()}


def test_every_edit(run_app, bundle):
    def edit(*arguments):
        result = run_app("crosstune-export", "labels", arguments[0], bundle, *arguments[1:])
        assert (result.code, result.err) == (0, "")
        return result.out

    assert edit("add", "weather", "rain and sun") == f"{bundle}: 4 labels: shipping, billing, praise, weather\n"
    assert edit("rename", "weather", "climate") == f"{bundle}: 4 labels: shipping, billing, praise, climate\n"
    assert edit("describe", "climate", "snow", "ice") == f"{bundle}: 4 labels: shipping, billing, praise, climate\n"
    assert edit("remove", "billing") == f"{bundle}: 3 labels: shipping, praise, climate\n"
    classifier = Classifier.load(bundle)
    assert classifier.manifest.labels[2].descriptions == ("snow", "ice")
    assert classifier.selftest().passed
    assert run_app("crosstune-export", "verify", bundle).code == 0


def test_an_unknown_label(run_app, bundle):
    result = run_app("crosstune-export", "labels", "remove", bundle, "nothing")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        "error: label: 'nothing' is not in the bundle, which has shipping, billing, praise. Check the name.\n"
    )


def test_no_bundle(run_app, tmp_path):
    result = run_app("crosstune-export", "labels", "list", tmp_path / "none")
    assert (result.code, result.out) == (5, "")
    assert result.err == (
        f"error: {tmp_path / 'none'}: found nothing, expected a bundle folder. Build one with crosstune-export build.\n"
    )


@pytest.mark.fault("L22")
def test_terminal_escapes_in_labels_are_made_visible(run_app, tmp_path, tiny_bundle_dir, task):
    bundle = edited(
        tiny_bundle_dir,
        tmp_path / "escapes.bundle",
        lambda body: body["labels"][0].update(name="a\x1b]0;b\x07\x9bc", descriptions=["d\x1b[2Je"]),
    )
    shown, described = "a\\x1b]0;b\\x07\\x9bc", "d\\x1b[2Je"
    listed = run_app("crosstune-export", "labels", "list", bundle).out
    assert listed.startswith(f"{shown}  {described}\n")
    commands = (
        ("labels", "list", bundle),
        ("inspect", bundle),
        ("diff", tiny_bundle_dir, bundle),
        ("classify", bundle, "--pretty", *(part for text in TINY_TEXTS["shipping"] for part in ("--text", text))),
        ("evaluate", bundle, "--data", task.train),
    )
    for command in commands:
        result = run_app("crosstune-export", *command)
        assert "\x1b" not in result.out + result.err, command
        assert "\x9b" not in result.out + result.err, command
        assert any(spelling in result.out + result.err for spelling in (shown, "a\\u001b]0;b")), command
