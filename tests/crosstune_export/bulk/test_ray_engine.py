"""``classify --engine ray``: the same bytes as the local engine. Skipped where ray is missing; ``make test-ray`` brings it."""

from __future__ import annotations

import gzip
import importlib.util
import json
import subprocess
import sys

import pytest

from tests.cli.conftest import scripts, task  # noqa: F401 -- fixtures
from tests.conftest import TINY_OTHER_TEXTS

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: make test-ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def source(task):  # noqa: F811
    """A folder of two files, some windows each, with bad rows."""
    folder = task.folder / "in"
    folder.mkdir()
    rows = [json.dumps({"id": i, "text": f"{TINY_OTHER_TEXTS[i % 6]} {i}", "label": "x"}) for i in range(7000)]
    for i in range(50, 7000, 1000):
        rows[i] = "nope"
    (folder / "1.jsonl").write_text("\n".join(rows[:3000]), "utf-8")
    (folder / "2.jsonl.gz").write_bytes(gzip.compress("\n".join(rows[3000:]).encode()))
    return folder


@needs_ray
def test_the_same_bytes_as_the_local_engine(scripts, task, source, tiny_fp32_bundle_dir):  # noqa: F811
    base = ("crosstune-export", "classify", tiny_fp32_bundle_dir, source, "--id-column", "id", "--top-k", 2)
    for name in ("a.jsonl", "a.parquet"):
        for engine in ("local", "ray"):
            output = task.out / f"{engine}-{name}"
            options = ("--on-error", "record", "--engine", engine, "--workers", 2, "--output", output)
            done = scripts.run(*base, *options, timeout=900)
            assert (done.code, done.out) == (0, ""), done.err
        for ending in ("", ".bad.jsonl"):
            local = (task.out / f"local-{name}{ending}").read_bytes()
            assert (task.out / f"ray-{name}{ending}").read_bytes() == local
    assert len((task.out / "local-a.jsonl").read_bytes().splitlines()) == 6993

    failed = scripts.run(*base, "--engine", "ray", "--output", task.out / "b.jsonl", timeout=900)
    assert failed.code == 3
    assert (
        failed.err.splitlines()[-1]
        == f"error: {source / '1.jsonl'}:51: not valid JSON (Expecting value). Correct the line."
    )
    assert not list(task.out.glob("b.jsonl*"))


@needs_ray
def test_one_engine_goes_on_where_the_other_stopped(scripts, task, source, tiny_fp32_bundle_dir):  # noqa: F811
    """The local engine stops at a bad row in the second file; Ray goes past it and to the end."""
    lines = (source / "1.jsonl").read_text("utf-8").replace("nope", '{"id": 0, "text": "fine"}')
    (source / "1.jsonl").write_text(lines, "utf-8")
    base = ("crosstune-export", "classify", tiny_fp32_bundle_dir, source)
    cut, whole = task.out / "cut.jsonl", task.out / "whole.jsonl"
    assert scripts.run(*base, "--output", cut, timeout=900).code == 3
    kept = json.loads((task.out / "cut.jsonl.partial.json").read_text("utf-8"))
    assert kept["windows"] == 3
    done = scripts.run(*base, "--output", cut, "--on-error", "skip", "--engine", "ray", "--resume", timeout=900)
    assert done.code == 0, done.err
    assert scripts.run(*base, "--output", whole, "--on-error", "skip", timeout=900).code == 0
    assert cut.read_bytes() == whole.read_bytes()


def test_ray_missing(scripts, task, tiny_fp32_bundle_dir):  # noqa: F811
    code = (
        "import sys; sys.modules['ray'] = None; from crosstune_cli.export_app import main\n"
        f"sys.argv = ['x', 'classify', {str(tiny_fp32_bundle_dir)!r}, {str(task.train)!r}, '--engine', 'ray']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=scripts.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        2, "", "error: ray: not installed, expected for --engine ray. Run: pip install 'crosstune-export[ray]'\n",
    )  # fmt: skip
