"""The Spark recipe of docs/offline.md, run as it stands there, on one machine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pyarrow.parquet
import pytest

from crosstune_export import Classifier
from tests.conftest import REPO_ROOT, TINY_OTHER_TEXTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("pyspark") is None, reason="pyspark is not installed"),
    pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java"),
]


def test_the_recipe(tmp_path, tiny_fp32_bundle_dir):
    page = (REPO_ROOT / "docs" / "offline.md").read_text("utf-8")
    (recipe,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "mapInPandas" in block]
    shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "support.bundle")
    (tmp_path / "mails").mkdir()
    texts = [f"{TINY_OTHER_TEXTS[i % 6]} {i}" for i in range(600)]
    for part in range(3):
        rows = [json.dumps({"id": i, "text": texts[i]}) + "\n" for i in range(part, 600, 3)]
        (tmp_path / "mails" / f"{part}.json").write_text("".join(rows), "utf-8")
    environment = os.environ | {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    subprocess.run(
        [sys.executable, "-c", recipe], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=600
    )
    found = pyarrow.parquet.read_table(tmp_path / "labelled").sort_by("id").to_pylist()
    assert [(row["id"], row["text"]) for row in found] == list(enumerate(texts))
    expected = Classifier.load(tiny_fp32_bundle_dir).classify(texts)
    assert [row["label"] for row in found] == [answer.label for answer in expected]
    assert [row["prob"] for row in found] == pytest.approx([answer.prob for answer in expected], abs=1e-5)
