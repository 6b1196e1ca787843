"""The accuracy benchmark runs from data to tables and pictures; no figure of a test text is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT, TINY_LABELS, TINY_TEXTS

#: An interpreter that has SetFit in place of ours: says more than its report, and is sure of the first label.
SETFIT = """#!{python}
import pathlib, sys
import numpy as np
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
count = len(pathlib.Path(given["--test"]).read_text().splitlines())
np.save(given["--output"], np.eye(3, dtype=np.float32)[np.zeros(count, int)])
print("{{'train_runtime': '1.0'}}")
print('{{"train_seconds": 1.5, "versions": {{}}}}')
"""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for name in ("mail", "scoped"):
        (root / name).mkdir()
        labels = {**TINY_LABELS, **({"oos": "anything else"} if name == "scoped" else {})}
        (root / name / "labels.json").write_text(json.dumps(labels), "utf-8")
        rows = [{"text": text, "label": label} for label, texts in TINY_TEXTS.items() for text in texts]
        other = [{"text": "the weather is fine", "label": "oos"}, {"text": "sing a song", "label": "oos"}]
        (root / name / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        rows += other if name == "scoped" else []
        (root / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return root


def benchmark(*arguments: object, cache: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.accuracy.accuracy", *map(str, arguments)]
    environment = {**os.environ, "CROSSTUNE_CACHE": str(cache)}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=REPO_ROOT, timeout=600, check=False
    )


@pytest.mark.slow
def test_from_data_to_tables(data_root, tiny_backbone_dir, tmp_path):
    setfit = tmp_path / "python"
    setfit.write_text(SETFIT.format(python=sys.executable), "utf-8")
    setfit.chmod(0o755)
    methods = (
        "default,paper,zero-shot,names only,shuffled descriptions,logistic regression,nearest prototype,kNN,setfit,"
    )
    methods += "no prior,no label queries,one layer less"
    arguments = ["--data-root", data_root, "--sets", "mail,scoped", "--shots", 4, "--seeds", "13,21"]
    arguments += ["--methods", methods, "--backbone", tiny_backbone_dir, "--output", tmp_path / "rows.json"]
    arguments += ["--markdown", tmp_path / "tables.md", "--plot", tmp_path / "sets.svg", "--setfit-python", setfit]
    first = benchmark(*arguments, cache=tmp_path / "cache")
    assert first.returncode == 0, first.stderr
    written = (tmp_path / "rows.json").read_bytes()
    state = json.loads(written)
    assert set(state) == {"rows", "machine", "versions"}
    assert len(state["rows"]) == 2 * 2 * 12
    for row in state["rows"]:
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["ece"] <= 1 and row["n"] == 18
        assert ("scope_auroc" in row) == (row["set"] == "scoped")
    assert {row["accuracy"] for row in state["rows"] if row["method"] == "setfit"} == {6 / 18}
    assert "paired" not in first.stdout and "default, s" in first.stdout  # the table of shared draws
    assert (tmp_path / "tables.md").read_text("utf-8").startswith("| 4 shots per label | default | paper |")
    assert (tmp_path / "sets.svg").read_text("utf-8").count("<svg") == 1

    again = benchmark(*arguments, cache=tmp_path / "cache")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "rows.json").read_bytes() == written, "a run that is there is not repeated"
    assert again.stdout == first.stdout
