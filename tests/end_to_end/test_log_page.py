"""The commands of docs/log.md as they are typed there: from descriptions and a log to the second round of labelling."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from crosstune import read_examples, read_labels, train
from tests.conftest import REPO_ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("page") / "support_desk"
    shutil.copytree(REPO_ROOT / "examples" / "support_desk", target)
    return target


@pytest.fixture(scope="module")
def colleague(folder):
    """Labels texts in place of a person: a head that has learned from all examples."""
    return train(read_examples(folder / "train.jsonl"), read_labels(folder / "labels.json"))


def typed(line: str, folder: Path, environment: dict[str, str]) -> str:
    """Standard output of a command, which may warn: of labels that are rare in the log, for example."""
    done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def accuracy(measured: str) -> float:
    return float(re.match(r"accuracy ([\d.]+)%", measured)[1])


def test_the_commands_of_the_page(folder, colleague, environment):
    page = (REPO_ROOT / "docs" / "log.md").read_text("utf-8")
    commands = [block.strip() for block in re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)]
    from_log, measure_it, first, learn, measure, second, check, careful, fast = commands

    assert typed(from_log, folder, environment).startswith("zero.ckpt: default head, 8 labels, 0 examples")
    of_descriptions = accuracy(typed(measure_it, folder, environment))

    assert "round1.csv: 24 of 401 texts to label as round 1" in typed(first, folder, environment)
    with (folder / "round1.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    answers = colleague.predict_proba([row["text"] for row in rows]).argmax(1)
    for row, answer in zip(rows, answers, strict=True):
        row["label"] = colleague.labels.names[answer]
    with (folder / "round1.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    assert "8 labels, 24 examples" in typed(learn, folder, environment)
    of_a_round = accuracy(typed(measure, folder, environment))
    assert 50 < of_descriptions < of_a_round

    said = typed(second, folder, environment)
    assert "24 of 401 texts to label as round 2, 24 labelled so far" in said
    assert "label" in typed(check, folder, environment)
    assert re.search(
        r"no label below similarity 0\.\d\d \(chosen on \d{3} texts of log\.txt\)", typed(careful, folder, environment)
    )
    assert re.search(
        r"^log\.txt: the head on 3 layers learned the answers of the one on 6; on held-out texts \d+ of 3\d\d labels differ ",
        typed(fast, folder, environment),
        re.MULTILINE,
    )
