from __future__ import annotations

import pytest

from crosstune_export import UsageError
from crosstune_export.bench.latency import measure


def test_bench_rows(tiny_bundle_dir, tiny_fp32_bundle_dir):
    heard = []
    rows = measure(
        [str(tiny_bundle_dir), str(tiny_fp32_bundle_dir)],
        lengths=(8, 16),
        batch_sizes=(1, 2),
        rounds=3,
        warmup=1,
        report=lambda done, total: heard.append((done, total)),
    )
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert len(rows) == 8 and {row.bundle for row in rows} == {"tiny-int8.bundle", "tiny-fp32.bundle"}
    for row in rows:
        assert set(row.to_json()) == {
            "bundle", "length_tokens", "batch_size", "threads", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "texts_per_s",
            "peak_rss_bytes",
        }  # fmt: skip
        assert 0 < row.p50_ms <= row.p90_ms <= row.p99_ms and row.peak_rss_bytes > 1 << 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "rounds: found 0, expected numbers of at least 1."),
        ({"threads": ()}, "threads: found none, expected numbers of at least 1."),
        ({"lengths": (65,)}, "lengths: found 65, expected 3 to 64 tokens for this bundle."),
    ],
)
def test_bench_settings(tiny_bundle_dir, settings, message):
    with pytest.raises(UsageError) as caught:
        measure([str(tiny_bundle_dir)], **settings)
    assert str(caught.value) == message
