"""The commands of docs/data.md as they are typed there: from a spreadsheet with 12 labels to a bundle that is served."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import socket
import subprocess
import time

import pytest

from tests.conftest import REPO_ROOT
from tests.end_to_end.conftest import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("page") / "spreadsheet"
    shutil.copytree(REPO_ROOT / "examples" / "spreadsheet", target)
    return target


@pytest.fixture(scope="module")
def commands():
    """The command lines of the page, with a free port in place of the one that it names."""
    page = (REPO_ROOT / "docs" / "data.md").read_text("utf-8")
    lines = [block.strip() for block in re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [line.replace("8080", str(port)) for line in lines]


@pytest.mark.fault("L4", "L6")
def test_the_commands_of_the_page(folder, commands, environment):
    train, evaluate, build, classify, serve, ask = commands
    assert "12 labels, 96 examples" in run(train, folder, environment)
    measured = run(evaluate, folder, environment)
    accuracy = float(re.match(r"accuracy ([\d.]+)%", measured)[1])
    assert accuracy >= 85 and "n 24" in measured
    assert "12 labels" in run(build, folder, environment)
    done = subprocess.run(["bash", "-c", classify], cwd=folder, env=environment, capture_output=True, check=True)
    assert done.stderr.startswith(b"12 rows, ")

    with (folder / "sorted.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "topics.csv").open(encoding="utf-8-sig", newline="") as file:
        topics = [row["label"] for row in csv.DictReader(file, delimiter=";")]
    assert list(rows[0]) == [
        "Ticket",
        "Message",
        "label",
        "prob",
        *(f"prob_{topic}" for topic in topics),
        "truncated",
        "similarity",
    ]
    assert (
        sum(row["label"] == topic for row, topic in zip(rows, topics, strict=True)) >= 10
    )  # one letter of each, in order

    with subprocess.Popen(shlex.split(serve), cwd=folder, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + 120
            while (asked := subprocess.run(["bash", "-c", ask], capture_output=True, check=False)).returncode:
                assert server.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
            assert json.loads(asked.stdout)["answers"][0]["label"] == "street_light"
        finally:
            server.terminate()
