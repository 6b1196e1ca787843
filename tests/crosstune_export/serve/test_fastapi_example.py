"""The application of examples/fastapi_app.py, started and asked by the commands that it names."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPO_ROOT
from tests.crosstune_export.serve.conftest import fetch

APP = REPO_ROOT / "examples" / "fastapi_app.py"


@pytest.fixture
def url(tiny_fp32_bundle_dir):
    [command] = re.findall(
        r"^    BUNDLE=support\.bundle uvicorn (.+) --port 8000$", APP.read_text("utf-8"), re.MULTILINE
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", *shlex.split(command), "--port", "0"],
        cwd=REPO_ROOT, env=os.environ | {"BUNDLE": str(tiny_fp32_bundle_dir)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"running on (http://\S+)", line):
                yield found[1]
                break
        else:
            pytest.fail(said)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def test_the_example_sorts_tickets(url, tiny_fp32_bundle_dir):
    [path, body] = re.search(
        r"curl -s localhost:8000(\S+) .* -d '(.+)'$", APP.read_text("utf-8"), re.MULTILINE
    ).groups()
    status, _, answer = fetch(url, "POST", path, json.loads(body))
    assert (status, answer["queue"]) == (200, "shipping")
    assert 0 < answer["probability"] <= 1
    assert [fetch(url, "POST", path, bad)[0] for bad in ({}, {"message": "a\0"}, {"message": "a" * 4001})] == [422] * 3
