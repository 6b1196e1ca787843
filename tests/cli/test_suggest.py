"""``crosstune suggest``, and ``train`` on the file that a person fills in."""

from __future__ import annotations

import csv
import io
import json

import pytest

from tests.cli.conftest import json_lines
from tests.conftest import TINY_TEXTS

LABEL_OF = {text: label for label, texts in TINY_TEXTS.items() for text in texts}


@pytest.fixture
def suggest(run_app, task, tiny_backbone_dir):
    pool = task.folder / "log.txt"
    pool.write_text("\n".join(LABEL_OF) + "\n\nWHERE is my parcel\n", "utf-8")

    def call(number, output, *options, start=("--labels", task.labels)):
        return run_app(
            "crosstune", "suggest", *start, "--pool", pool, "--number", number, "--output", task.out / output,
            "--backbone", tiny_backbone_dir, *options,
        )  # fmt: skip

    return call


def read(path):
    if path.suffix == ".jsonl":
        return json_lines(path.read_text("utf-8"))
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def fill_in(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as sink:
            writer = csv.DictWriter(sink, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_two_rounds_and_a_training(ending, suggest, run_app, task, tiny_backbone_dir):
    first, second = task.out / f"1{ending}", task.out / f"2{ending}"
    ran = suggest(6, first.name)
    assert ran.code == 0
    assert ran.out == f"{first}: 6 of 19 texts to label as round 1, 0 labelled so far. Fill in the column label.\n"
    rows = read(first)
    assert [list(row) for row in rows] == [["text", "label", "guess", "probability", "round"]] * 6
    assert all(row["label"] == "" and row["guess"] in TINY_TEXTS and float(row["probability"]) <= 1 for row in rows)
    fill_in(first, [{**row, "label": LABEL_OF.get(row["text"], "shipping")} for row in rows])

    ran = suggest(5, second.name, "--labelled", first)
    assert ran.code == 0
    said, summary = ran.out.splitlines()
    assert said.startswith("round 1: accuracy on held-out labelled texts ") and "% with it (standard error " in said
    assert summary == f"{second}: 5 of 19 texts to label as round 2, 6 labelled so far. Fill in the column label."
    rows = read(second)
    assert [str(row["round"]) for row in rows] == ["1"] * 6 + ["2"] * 5
    assert len({row["text"].lower() for row in rows}) == 11, "no text comes twice"

    filled = [row | {"label": row["label"] or LABEL_OF.get(row["text"], "shipping")} for row in rows[:-1]]
    fill_in(second, [*filled, rows[-1]])
    ran = run_app(
        "crosstune", "train", "--train", second, "--labels", task.labels, "--backbone", tiny_backbone_dir,
        "--output", task.out / "c",
    )  # fmt: skip
    assert ran.code == 0 and "10 examples" in ran.out
    assert f"{second}: 1 rows without a label, skipped." in ran.err


def test_from_a_checkpoint(suggest, run_app, task, tiny_backbone_dir):
    options = ("--train", task.train, "--labels", task.labels, "--backbone", tiny_backbone_dir)
    assert run_app("crosstune", "train", *options, "--output", task.out / "c").code == 0
    ran = suggest(3, "next.jsonl", start=(task.out / "c",))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{task.out / 'next.jsonl'}: 0 of 19 texts to label as round 1, 18 labelled so far.")
    assert len(read(task.out / "next.jsonl")) == 18


@pytest.mark.parametrize(
    ("output", "start", "message"),
    [
        ("a.txt", ("--labels", "{labels}"), "ending '.txt', expected .csv or .jsonl. Rename the output."),
        ("a.csv", (), "suggest: nothing to start from, expected --labels, --labelled or a checkpoint. Give --labels."),
        (
            "a.csv",
            ("{folder}/c", "--labels", "{labels}"),
            "suggest: a checkpoint and --labels or --labelled, expected one of both.",
        ),
    ],
)
def test_bad_usage(output, start, message, suggest, task):
    places = {"labels": task.labels, "folder": task.folder}
    ran = suggest(3, output, start=[part.format(**places) for part in start])
    assert ran.code == 2 and message in ran.err
    assert not any(task.out.iterdir())


def test_an_empty_pool(suggest, task):
    (task.folder / "log.txt").write_text("\n \n", "utf-8")
    ran = suggest(3, "a.csv")
    assert ran.code == 3 and "log.txt: 0 texts, expected at least one." in ran.err
