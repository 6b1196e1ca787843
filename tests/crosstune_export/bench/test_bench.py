"""Measurements of the benchmark, their order, and the report."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from crosstune.core.errors import ConfigError, ResourceError
from crosstune_export.bench.latency import LatencyRow, measure
from crosstune_export.bench.own_texts import measure_own_texts
from crosstune_export.bench.processes import COLD_STARTS, bundle_process
from crosstune_export.bench.report import report_page
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer
from tests.conftest import TINY_OTHER_TEXTS, tiny_log
from tests.fixtures.report_pages import read_page


@pytest.mark.slow
def test_rows_of_bundles_side_by_side(tmp_path, tiny_bundle_dir, tiny_fp32_bundle_dir):
    """Twice one name: the whole path tells them apart."""
    twin = shutil.copytree(tiny_fp32_bundle_dir, tmp_path / tiny_bundle_dir.name)
    heard = []
    rows = measure(
        [str(tiny_bundle_dir), str(twin)],
        lengths=(8, 16),
        batch_sizes=(1, 2),
        rounds=7,
        progress=lambda *said: heard.append(said),
    )
    starts = 2 * COLD_STARTS
    assert heard == [
        *(("cold start", done, starts) for done in range(starts + 1)),
        *(("measure", done, 7) for done in (0, 5, 7)),
    ]
    assert [(row.bundle, row.length_tokens, row.batch_size, row.threads, row.precision) for row in rows] == [
        (str(path), length, size, 1, precision)
        for path, precision in ((tiny_bundle_dir, "int8"), (twin, "fp32"))
        for length in (8, 16)
        for size in (1, 2)
    ]
    manifest = json.loads((twin / "manifest.json").read_text("utf-8"))
    for row in rows:
        found = np.percentile(row.samples_ms, (50, 90, 95, 99, 99.9))
        assert (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms, row.p99_9_ms) == pytest.approx(tuple(found))
        assert (
            sorted(row.samples_ms)[-2] <= row.p95_ms <= row.p99_9_ms <= max(row.samples_ms)
        )  # 7 calls do not determine it
        assert row.calls == len(row.samples_ms) == 7 and min(row.samples_ms) > 0
        assert row.mean_ms == pytest.approx(np.mean(row.samples_ms))
        assert row.texts_per_s == pytest.approx(1e3 * row.batch_size / row.mean_ms)
        assert 1 << 20 < row.cold_rss_bytes <= 2 * row.peak_rss_bytes
        assert row.cold_start_ms > max(row.samples_ms) > 0 and row.cpu_ms_per_text > 0
        assert row.cv_accuracy == manifest["training"]["cv_accuracy"]
    assert rows[-1].size_bytes == sum(path.stat().st_size for path in twin.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_is_that_of_the_bundles_own_process(tiny_bundle_dir):
    """A large parent must not be counted: with getrusage it would be."""
    code = (
        "import json, sys\n"
        "from crosstune_export.bench.processes import bundle_process\n"
        "ballast = b'x' * (700 << 20)\n"
        "with bundle_process(sys.argv[1]) as ask:\n"
        "    print(ask({'load': sys.argv[1], 'threads': 1, 'text': 'where is it'})['peak_rss_bytes'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bundle_dir)], capture_output=True, check=True, timeout=300
    )
    assert 1 << 24 < int(done.stdout) < 500 << 20


def test_a_process_that_ends_is_an_error(tiny_bundle_dir):
    with (
        pytest.raises(
            ResourceError,
            match=r"^x: its process ended before it answered\. Free some memory, or measure fewer bundles\.$",
        ),
        bundle_process("x") as ask,
    ):
        answer = ask({"load": str(tiny_bundle_dir), "threads": 1, "text": "where is it"})
        os.kill(answer["pid"], signal.SIGKILL)
        ask({"threads": 1, "texts": ["where is it"], "calls": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "rounds: found 0, expected numbers of at least 1."),
        ({"threads": ()}, "threads: found none, expected numbers of at least 1."),
        ({"lengths": (65,)}, "lengths: found 65, expected 3 to 64 tokens for this bundle."),
    ],
)
def test_settings_out_of_range(tiny_bundle_dir, settings, message):
    with pytest.raises(ConfigError) as caught:
        measure([str(tiny_bundle_dir)], **settings)
    assert str(caught.value) == message


def test_times_of_texts_and_where_they_leave(tiny_exits_bundle_dir, tiny_bundle_dir):
    texts = [*tiny_log(240), *TINY_OTHER_TEXTS]
    rows = measure_own_texts([str(tiny_exits_bundle_dir), str(tiny_bundle_dir)], texts)
    for row in rows:
        assert row.texts == len(texts) and 0 < row.p50_ms <= row.p99_ms <= row.worst_ms and row.mean_ms <= row.worst_ms
    exits, plain = rows
    assert (plain.exit_layers, plain.exit_shares, plain.exits) == ((), (1.0,), "100% all layers")
    files = read_bundle(tiny_exits_bundle_dir)
    assert exits.exit_layers == files.manifest.exits.layers == (0, 1)
    assert (exits.kernels, exits.kernels_reason) == (plain.kernels, plain.kernels_reason)
    assert sum(exits.exit_shares) == pytest.approx(1) and min(exits.exit_shares) > 0
    # by hand: a text that leaves has no text vector, and with all exits closed none leaves
    session = open_session(files.model, files.manifest.graph, "here", longest=64)
    tokenizer = TextTokenizer(files.tokenizer, files.manifest.tokens, False, "here")
    stay = [session.run(tokenizer.batch(tokenizer.rows([text])).feeds())[1].any() for text in texts]
    assert exits.exit_shares[-1] == pytest.approx(np.mean(stay))
    assert exits.exits.startswith(f"{100 * exits.exit_shares[0]:.0f}% after the word vectors, ")
    assert "Latency on your texts, one text per call" in read_page(report_page([row_of("a", 16, 1, None)], rows)).pieces
    with pytest.raises(ConfigError, match=r"^texts: found none, expected at least one\. Give a file with texts\.$"):
        measure_own_texts([str(tiny_bundle_dir)], [])


def row_of(bundle: str, length: int, threads: int, accuracy: float | None) -> LatencyRow:
    samples = tuple(length / 8 + 0.1 * index for index in range(10))
    return LatencyRow(
        bundle=bundle,
        length_tokens=length,
        batch_size=1,
        threads=threads,
        kernels="portable",
        **dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms", "mean_ms", "cpu_ms_per_text"), 1.0),
        texts_per_s=1000.0,
        peak_rss_bytes=90_000_000,
        calls=10,
        cold_start_ms=700.0,
        cold_rss_bytes=80_000_000,
        size_bytes=24_000_000,
        precision="int8",
        cv_accuracy=accuracy,
        samples_ms=samples,
    )


@pytest.mark.parametrize(
    ("lengths", "threads", "accuracy", "plots"), [((16, 32), (1, 2), 0.8, 4), ((32,), (1,), None, 3)]
)
def test_the_page(lengths, threads, accuracy, plots):
    rows = [row_of(f"{name}<b>", length, count, accuracy) for name in "ab" for count in threads for length in lengths]
    page = read_page(report_page(rows))
    assert page.tags.count("figure") == page.tags.count("svg") == plots  # a figure scrolls on a phone
    assert "Latency of a<b>, b<b>" in page.pieces
    assert page.tags.count("tr") == len(rows) + 1
    assert any(piece.startswith("32 tokens, batch size 1, 10 calls each") for piece in page.pieces)
    assert ("None of these bundles states an accuracy." in page.pieces) == (accuracy is None)
    assert "80 MB, peak 90 MB; 700 ms" in page.pieces
    for name in "ab":
        for count in threads:
            assert f"{name}<b>, {count} {'thread' if count == 1 else 'threads'}" in page.pieces
