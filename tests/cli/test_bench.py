"""``crosstune-export bench``: human-readable tables, and rows as JSON."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest

from crosstune_export.runtime.kernels import fast_kernels
from tests.cli.conftest import Outcome, files_in
from tests.fixtures.report_pages import read_page

FIELDS = [
    "bundle",
    "length_tokens",
    "batch_size",
    "threads",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "mean_ms",
    "texts_per_s",
    "peak_rss_bytes",
    "p95_ms",
    "p99_9_ms",
    "cpu_ms_per_text",
    "calls",
    "cold_start_ms",
    "cold_rss_bytes",
    "size_bytes",
    "precision",
    "kernels",
    "cv_accuracy",
]


@pytest.mark.slow
def test_rows_of_every_combination(run_app, task, tiny_bundle_dir, tiny_fp32_bundle_dir):
    (task.out / "b.json").write_text("old", "utf-8")
    int8 = shutil.copytree(tiny_bundle_dir, task.folder / "a[v2].bundle")  # brackets are no markup
    result = run_app(
        "crosstune-export", "bench", int8, tiny_fp32_bundle_dir, "--lengths", "8,16", "--batch-sizes", "1,3",
        "--threads", "1,2", "--rounds", 3, "--json", task.out / "b.json", "--report", task.out / "b.html",
        "--force",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    rows = json.loads((task.out / "b.json").read_text("utf-8"))
    assert [list(row) for row in rows] == [FIELDS] * 16
    found = {(row["bundle"], row["threads"], row["length_tokens"], row["batch_size"]) for row in rows}
    assert found == set(itertools.product((int8.name, tiny_fp32_bundle_dir.name), (1, 2), (8, 16), (1, 3)))
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p95_ms"] <= row["p99_ms"] <= row["p99_9_ms"]
        assert row["texts_per_s"] == pytest.approx(1e3 * row["batch_size"] / row["mean_ms"])
        assert row["peak_rss_bytes"] > 1 << 20
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0][:6] == ["bundle", "tokens", "batch", "threads", "p50", "ms"]
    assert [line[:4] for line in lines[1:17]] == [
        [row["bundle"], str(row["length_tokens"]), str(row["batch_size"]), str(row["threads"])] for row in rows
    ]
    assert lines[17][:4] == ["bundle", "kernels", "threads", "cold"]
    assert [line[:3] for line in lines[18:]] == [
        [row["bundle"], row["kernels"], str(row["threads"])] for row in rows[::4]
    ]
    assert files_in(task.out) == ["b.html", "b.json"]
    page = read_page((task.out / "b.html").read_text("utf-8"))
    assert page.tags.count("svg") == 5  # latency at two batch sizes, distribution, memory, accuracy


def test_own_texts(run_app, task, tiny_exits_bundle_dir):
    (log := task.out / "log.csv").write_text("message\nwhere is my parcel\nthank you\n", "utf-8")
    result = run_app(
        "crosstune-export", "bench", tiny_exits_bundle_dir, "--lengths", "8", "--rounds", 1, "--texts", log,
        "--text-column", "message", "--json", "-",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    *_, own = json.loads(result.out)
    assert (own["texts"], own["exit_layers"], len(own["exit_shares"])) == (2, [0, 1], 3)
    assert own["kernels"] == (fast_kernels().name or "portable")


def test_an_output_that_cannot_be_is_known_before(run_app, task, tiny_fp32_bundle_dir):
    (task.out / "file").write_text("", "utf-8")
    result = run_app("crosstune-export", "bench", tiny_fp32_bundle_dir, "--report", task.out / "file" / "b.html")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: {task.out / 'file' / 'b.html'}: {task.out / 'file'} cannot be written (Not a directory). Choose another place.\n"
    )


@pytest.mark.fault("C7")
@pytest.mark.parametrize(("option", "what"), [("--json", "output file"), ("--report", "report")])
def test_a_file_that_is_there_is_kept(run_app, task, tiny_fp32_bundle_dir, option, what):
    path = task.out / "old"
    path.write_text("old", "utf-8")
    message = f"error: {path}: is already there. Choose another {what}, or pass --force to replace it.\n"
    assert run_app("crosstune-export", "bench", tiny_fp32_bundle_dir, option, path) == Outcome(2, "", message)
    assert path.read_text("utf-8") == "old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--lengths", "4000"), "lengths: found 4000, expected 3 to 64 tokens for this bundle."),
        (("--lengths", "0"), "lengths: found 0, expected numbers of at least 1."),
        (("--batch-sizes", "1,0"), "batch_sizes: found 1, 0, expected numbers of at least 1."),
        (("--threads", "-1"), "threads: found -1, expected numbers of at least 1."),
        (("--threads", "1,100000"), "threads: found 100000, expected 1 to 256."),
    ],
)
def test_numbers_out_of_range(run_app, tiny_fp32_bundle_dir, arguments, message):
    result = run_app("crosstune-export", "bench", tiny_fp32_bundle_dir, *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")
