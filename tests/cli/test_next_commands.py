"""The last line of a command on a terminal, ``next: …``, followed literally. ``push`` and ``pull`` are in test_hub.py."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from crosstune_cli import console

from tests.cli.conftest import jsonl
from tests.conftest import REPO_ROOT, TINY_LABELS, TINY_TEXTS

#: Columns of the examples, which are not those that every command expects.
READING = "--text-column Message --label-column Topic --delimiter '~'"
TRAINING = f"--train letters.csv --labels labels.json {READING} --backbone encoder"
#: A command line and the one that it advises.
LINES = {
    "check": (f"crosstune check {TRAINING}", f"crosstune train {TRAINING} -o letters.ckpt"),
    "filter": (
        f"crosstune filter --generated more.jsonl {TRAINING} --shots 5 --seed 3 --on-conflict drop -o kept.jsonl",
        f"crosstune train {TRAINING} --shots 5 --seed 3 --on-conflict drop --generated more.jsonl -o kept.ckpt",
    ),
    "train": (f"crosstune train {TRAINING} -o letters.ckpt", "crosstune-export build letters.ckpt -o letters.bundle"),
    "suggest": (
        "crosstune suggest --pool log.txt --labels labels.json --number 6 --backbone encoder -o next.csv",
        "crosstune train --train next.csv --labels labels.json --backbone encoder --unlabeled log.txt --log-shares estimate -o next.ckpt",
    ),
    "suggest from a checkpoint": (
        "crosstune suggest a.ckpt --pool log.txt --number 6 -o next.csv",
        "crosstune train --train next.csv --labels a.ckpt --config a.ckpt --unlabeled log.txt --log-shares estimate -o next.ckpt",
    ),
    "evaluate": (
        f"crosstune evaluate a.ckpt --data held_out.csv {READING}",
        "crosstune-export build a.ckpt -o a.bundle",
    ),
    "build": (
        "crosstune-export build a.ckpt -o a.bundle",
        f"crosstune-export classify a.bundle --text {shlex.quote(TINY_LABELS['shipping'])}",
    ),
    "classify": ("crosstune-export classify old.bundle log.txt -o a.csv", "crosstune-export serve old.bundle"),
    "evaluate_bundle": (
        f"crosstune-export evaluate old.bundle --data letters.csv {READING}",
        "crosstune-export serve old.bundle",
    ),
    "inspect": ("crosstune-export inspect old.bundle", "crosstune-export bench old.bundle"),
    "doctor": ("crosstune-export doctor old.bundle", "crosstune-export bench old.bundle"),
    "bench": ("crosstune-export bench old.bundle --rounds 1", "crosstune-export serve old.bundle"),
    "verify": ("crosstune-export verify old.bundle", "crosstune-export bench old.bundle"),
    "labels": (
        "crosstune-export labels rename old.bundle praise thanks",
        "crosstune-export verify old.bundle",
    ),
    "diff": (
        "crosstune-export diff old.bundle old.bundle",
        "crosstune-export diff old.bundle old.bundle --data TEXTS.jsonl",
    ),
    "pack": ("crosstune-export pack old.bundle -o old.zip", "crosstune-export verify old.zip"),
    "unpack": ("crosstune-export unpack packed.zip -o new.bundle", "crosstune-export verify new.bundle"),
    "sign": (
        "crosstune-export sign old.bundle --key secret.pem",
        "crosstune-export verify old.bundle --require-signature PUBLIC_KEY.pem",
    ),
}


@pytest.fixture
def advised(run_app, monkeypatch):
    """The command that a command line of program and words advises at its end."""
    monkeypatch.setattr(
        console, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True), stdout=None, stdin=None)
    )

    def call(*line):
        done = run_app(*line)
        assert done.code == 0, done.err
        last = done.err.splitlines()[-1]
        assert last.startswith("next: "), done.err
        return shlex.split(last.removeprefix("next: "))

    return call


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_backbone_dir, tiny_checkpoint_dir, tiny_bundle_dir):
    """The working folder: a table with columns of its own, labels, a log, generated texts, an encoder."""
    rows = [(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    for name, end in (("letters.csv", ""), ("held_out.csv", " again")):
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as sink:
            table = ((text + end, label) for text, label in rows)
            csv.writer(sink, delimiter="~").writerows([("Message", "Topic"), *table])
    (tmp_path / "labels.json").write_text(json.dumps(TINY_LABELS), "utf-8")
    (tmp_path / "log.txt").write_text("".join(f"{text} again\n" for text, _ in rows), "utf-8")
    (tmp_path / "more.jsonl").write_bytes(jsonl((f"{text} again", label) for text, label in rows))
    (tmp_path / "TEXTS.jsonl").write_bytes(jsonl(rows))
    (tmp_path / "encoder").symlink_to(tiny_backbone_dir)
    shutil.copytree(tiny_checkpoint_dir, tmp_path / "a.ckpt")
    shutil.copytree(tiny_bundle_dir, tmp_path / "old.bundle")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", LINES)
def test_the_advice_works(name, advised, run_app, folder, tiny_bundle_dir):
    line, wanted = LINES[name]
    if name == "unpack":
        assert run_app("crosstune-export", "pack", tiny_bundle_dir, "-o", "packed.zip").code == 0
    if name == "sign":
        key_pair(folder)
    advice = advised(*shlex.split(line))
    assert advice == shlex.split(wanted)
    if name.startswith("suggest"):  # a person fills in the labels
        with Path("next.csv").open(encoding="utf-8", newline="") as source:
            rows = list(csv.DictReader(source))
        rows = [row | {"label": list(TINY_LABELS)[i % 3]} for i, row in enumerate(rows)]
        with Path("next.csv").open("w", encoding="utf-8", newline="") as sink:
            writer = csv.DictWriter(sink, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if advice[1] == "serve":  # it would run until somebody stops it
        assert Path(advice[2]).is_dir()
        return
    done = run_app(*advice, *(["--rounds", "1"] if advice[1] == "bench" else []))
    assert done.code == 0, done.err


def key_pair(folder):
    ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
    from cryptography.hazmat.primitives import serialization as form

    secret = ec.generate_private_key(ec.SECP256R1())
    private = secret.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    (folder / "secret.pem").write_bytes(private)
    (folder / "secret.pem").chmod(0o600)
    public = secret.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    (folder / "PUBLIC_KEY.pem").write_bytes(public)


def test_every_advice_is_followed():
    """``augment`` needs a server for its texts, and advises by the same function as ``filter``; the hub has its own tests."""
    advising = {
        path.stem
        for path in (REPO_ROOT / "cli").glob("*.py")
        if re.search(r"^ +next_command\(", path.read_text("utf-8"), re.M)
    }
    assert advising == {*(name.split()[0] for name in LINES), "augment", "push", "pull"}
