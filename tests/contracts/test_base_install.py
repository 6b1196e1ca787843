"""The base install: a wheel of this tree with [cpu] alone, in a virtual environment of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crosstune_export import Classifier

pytestmark = pytest.mark.slow

TEXTS = ["where is my parcel", "the money back, please", "so kind", ""]


def run(*command: object, cwd: Path, code: int = 0) -> str:
    """Standard output of a command that must end with ``code``."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, check=False, timeout=600)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode() if code == 0 else done.stderr.decode()


@pytest.fixture(scope="module")
def base(tmp_path_factory, repo_root) -> Path:
    """The folder of the scripts of a fresh environment."""
    folder = tmp_path_factory.mktemp("base")
    source = folder / "source"  # a copy: building leaves folders behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repo_root / name, source)
    for name in ("crosstune", "crosstune_export", "cli"):
        shutil.copytree(repo_root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    scripts = folder / "venv" / "bin"
    pip = (scripts / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    pins = re.findall(r"^[a-z0-9-]+==\S+", (repo_root / "image.lock").read_text("utf-8"), re.MULTILINE)
    (folder / "constraints.txt").write_text("\n".join(pins))  # without hashes: the wheel has none
    run(*pip, "install", "-c", folder / "constraints.txt", f"{wheel}[cpu]", cwd=folder)
    return scripts


@pytest.fixture
def elsewhere(tmp_path, tiny_bundle_dir) -> Path:
    """A working folder with a bundle, far from the source."""
    shutil.copytree(tiny_bundle_dir, tmp_path / "desk.bundle")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), "utf-8")
    return tmp_path


def test_nothing_heavy_is_installed(base, elsewhere):
    listed = json.loads(run(base / "python", "-m", "pip", "list", "--format", "json", cwd=elsewhere))
    names = {package["name"].lower() for package in listed}
    assert {"crosstune-export", "numpy", "onnxruntime", "tokenizers", "typer", "rich"} <= names
    heavy = {"torch", "transformers", "onnx", "onnxscript", "onnx-ir", "scikit-learn", "scipy", "pydantic", "pyarrow"}
    assert names.isdisjoint(heavy)


def test_the_wheel_carries_types_and_licence(base, elsewhere):
    code = (
        "import importlib.metadata as m\n"
        "print('\\n'.join(sorted(str(f) for f in m.files('crosstune-export') if '__pycache__' not in str(f))))"
    )
    files = run(base / "python", "-c", code, cwd=elsewhere).splitlines()
    assert {"crosstune/py.typed", "crosstune_export/py.typed", "crosstune_cli/py.typed"} <= set(files)
    assert "crosstune_export/web/page/index.html" in files, "the page is not built, run: make web"
    assert any(name.endswith("licenses/LICENSE") for name in files)
    assert not [name for name in files if name.startswith(("tests", "docs", "examples", "benchmarks"))]


def test_classify_gives_the_labels_of_this_environment(base, elsewhere):
    printed = run(base / "crosstune-export", "classify", "desk.bundle", "t.jsonl", cwd=elsewhere)
    rows = [json.loads(line) for line in printed.splitlines()]
    here = Classifier.load(elsewhere / "desk.bundle", kernels="portable").classify(TEXTS, batch_size=8)
    assert [row["text"] for row in rows] == TEXTS
    assert [row["label"] for row in rows] == [answer.label for answer in here]
    assert [row["prob"] for row in rows] == pytest.approx([answer.prob for answer in here], abs=1e-6)


@pytest.mark.fault("L13")
def test_evaluate(base, elsewhere):
    rows = [{"text": TEXTS[0], "label": "shipping"}, {"text": TEXTS[1], "label": "praise"}]
    (elsewhere / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = ("evaluate", "desk.bundle", "--data", "test.jsonl", "--json", "--report", "r.html")
    found = json.loads(run(base / "crosstune-export", *command, cwd=elsewhere))
    labels = [answer.label for answer in Classifier.load(elsewhere / "desk.bundle").classify(TEXTS[:2])]
    assert found["n"] == 2
    assert found["accuracy"] == sum(label == row["label"] for label, row in zip(labels, rows, strict=True)) / 2
    assert "Accuracy" in (elsewhere / "r.html").read_text("utf-8")


def test_inspect_and_verify(base, elsewhere):
    facts = json.loads(run(base / "crosstune-export", "inspect", "desk.bundle", "--json", cwd=elsewhere))
    assert facts["digest"] == Classifier.load(elsewhere / "desk.bundle").manifest.digest
    assert run(base / "crosstune-export", "verify", "desk.bundle", cwd=elsewhere).startswith("desk.bundle: digest ")


def test_the_python_interface(base, elsewhere):
    code = (
        "import sys, time\n"
        "started = time.perf_counter()\n"
        "from crosstune_export import Classifier\n"
        "elapsed = time.perf_counter() - started\n"
        "print(Classifier.load('desk.bundle').classify(['where is my parcel'])[0].label)\n"
        "print(f'import crosstune_export: {1e3 * elapsed:.0f} ms')"
    )
    label, elapsed = run(base / "python", "-c", code, cwd=elsewhere).splitlines()
    assert label == Classifier.load(elsewhere / "desk.bundle").classify(["where is my parcel"])[0].label
    print(elapsed)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["crosstune", "train", "--train", "e.jsonl", "--labels", "l.json", "--output", "a.ckpt"],
            "error: pydantic: not installed, expected for training. Run: pip install 'crosstune-export[train]'\n",
        ),
        (
            [
                "crosstune",
                "augment",
                "--train",
                "e.jsonl",
                "--labels",
                "l.json",
                "--output",
                "g.jsonl",
                "--model",
                "m",
                "--base-url",
                "http://127.0.0.1:9/v1",
            ],
            "error: openai: not installed, expected for augmenting. Run: pip install 'crosstune-export[augment]'\n",
        ),
        (
            [
                "crosstune",
                "filter",
                "--generated",
                "e.jsonl",
                "--train",
                "e.jsonl",
                "--labels",
                "l.json",
                "--output",
                "g.jsonl",
            ],
            "error: pydantic: not installed, expected for training. Run: pip install 'crosstune-export[train]'\n",
        ),
        (
            ["crosstune", "evaluate", "a.ckpt", "--data", "e.jsonl"],
            "error: safetensors: not installed, expected for training. Run: pip install 'crosstune-export[train]'\n",
        ),
        (
            ["crosstune-export", "build", "a.ckpt", "--output", "b.bundle"],
            "error: safetensors: not installed, expected for building. Run: pip install 'crosstune-export[export,cpu]'\n",
        ),
        (
            ["crosstune-export", "classify", "desk.bundle", "t.jsonl", "--output", "o.parquet"],
            "error: pyarrow: not installed, expected for Parquet. Run: pip install 'crosstune-export[parquet]'\n",
        ),
        (
            ["crosstune-export", "serve", "desk.bundle"],
            "error: uvicorn: not installed, expected for serving. Run: pip install 'crosstune-export[cpu,serve]'\n",
        ),
        (
            ["crosstune-export", "verify", "desk.bundle", "--data", "e.jsonl", "--checkpoint", "a.ckpt"],
            "error: safetensors: not installed, expected for training. Run: pip install 'crosstune-export[train]'\n",
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_needs_more_says_which_extra(base, elsewhere, command, message):
    rows = '{"text": "where is it", "label": "a"}\n{"text": "thank you", "label": "b"}\n'
    (elsewhere / "e.jsonl").write_text(rows, "utf-8")
    (elsewhere / "l.json").write_text('{"a": "one thing", "b": "another"}', "utf-8")
    before = sorted(path.name for path in elsewhere.iterdir())
    assert run(base / command[0], *command[1:], cwd=elsewhere, code=2) == message
    assert sorted(path.name for path in elsewhere.iterdir()) == before
