"""The HTML report of a benchmark: latency by length, its distribution, memory, and size versus accuracy."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from crosstune.core.reports.page import COLOURS, figure, html_page, legend, plain, table
from crosstune.core.reports.plot import Axis, Bar, Plot, bars
from crosstune_export.bench.latency import BURST, LatencyRow
from crosstune_export.bench.own_texts import OwnTextsRow
from crosstune_export.bench.processes import COLD_STARTS
from crosstune_export.runtime.session import installed_runtimes

#: Length in tokens that the distribution shows; chosen by hand, a typical length of a short message.
_USUAL_LENGTH = 32


def report_page(rows: Sequence[LatencyRow], own: Sequence[OwnTextsRow] = ()) -> str:
    """Return the report as an HTML page.

    Args:
        rows: At least one measurement.
        own: Measurements on texts of the user.
    """
    names = list(dict.fromkeys(row.bundle for row in rows))
    parts = [
        f"<h1>Latency of {plain(', '.join(names))}</h1>",
        f'<p class="faint">{plain(_machine())}</p>',
        "<p>Time from text to label. Every bundle runs in its own process. All combinations are timed in turn, in random order, in "
        f"bursts of {BURST} calls after one untimed call. Latency depends on the load of the machine: compare only numbers of "
        "the same report.</p>",
    ]
    parts += _own_texts(own)
    for size in sorted({row.batch_size for row in rows}):
        chosen = [row for row in rows if row.batch_size == size]
        parts += [
            f"<h2>Latency by length, {size} {'text' if size == 1 else 'texts'} per call</h2>",
            *_by_length(chosen),
        ]
    parts += [
        "<h2>Latency distribution</h2>",
        *_distribution(rows),
        "<h2>Memory and cold start</h2>",
        *_memory(rows),
        "<h2>Size versus accuracy</h2>",
        _accuracy(rows),
        "<h2>All measurements</h2>",
        _figures(rows),
    ]
    return html_page("Latency: " + ", ".join(names), parts)


def _own_texts(rows: Sequence[OwnTextsRow]) -> list[str]:
    if not rows:
        return []
    head = ["bundle", "texts", "mean ms", "p50", "p99", "worst", "where texts leave"]
    body = [
        [
            row.bundle,
            str(row.texts),
            *(f"{value:.2f}" for value in (row.mean_ms, row.p50_ms, row.p99_ms, row.worst_ms)),
            row.exits,
        ]
        for row in rows
    ]
    return ["<h2>Latency on your texts, one text per call</h2>", table(head, body, numbers=range(1, 6))]


def _machine() -> str:
    runtime = ", ".join(f"{name} {version}" for name, version in installed_runtimes().items())
    load = f", load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors{load}; Python {platform.python_version()}, {runtime}"


def _colours(rows: Sequence[LatencyRow]) -> dict[tuple[str, int], int]:
    """Return a colour for each bundle and number of threads."""
    keys = dict.fromkeys((row.bundle, row.threads) for row in rows)
    return {key: index % COLOURS for index, key in enumerate(keys)}


def _name(key: tuple[str, int]) -> str:
    return f"{key[0]}, {key[1]} {'thread' if key[1] == 1 else 'threads'}"


def _by_length(rows: Sequence[LatencyRow]) -> list[str]:
    colours = _colours(rows)
    lengths = sorted({row.length_tokens for row in rows})
    if len(lengths) < 2:
        shown = [Bar(_name((row.bundle, row.threads)), [(row.p50_ms, 0)], f"{row.p50_ms:.2f} ms") for row in rows]
        return [
            figure(bars("median latency", shown), f"Median latency of a call in milliseconds, {lengths[0]} tokens.")
        ]
    plot = Plot(
        "latency by length",
        Axis("tokens", lengths[0], lengths[-1], ticks=tuple(map(float, lengths))),
        Axis("milliseconds per call", 0, 1.05 * max(row.p90_ms for row in rows)),
    )
    for key, colour in colours.items():
        line = sorted((row for row in rows if (row.bundle, row.threads) == key), key=lambda row: row.length_tokens)
        plot.line([(row.length_tokens, row.p90_ms) for row in line], colour, dashed=True)
        plot.line([(row.length_tokens, row.p50_ms) for row in line], colour)
        for row in line:
            plot.dot(row.length_tokens, row.p50_ms, colour, title=f"{_name(key)}: {row.p50_ms:.2f} ms")
    return [
        legend([(_name(key), colour) for key, colour in colours.items()]),
        figure(plot.svg(), "Median; the dashed line is the 90th percentile."),
    ]


def _distribution(rows: Sequence[LatencyRow]) -> list[str]:
    """Return a chart of the share of calls within a latency, for one length and batch size."""
    length = min((row.length_tokens for row in rows), key=lambda value: abs(value - _USUAL_LENGTH))
    size = min(row.batch_size for row in rows)
    chosen = [row for row in rows if row.length_tokens == length and row.batch_size == size]
    colours = _colours(chosen)
    fastest, slowest = min(min(row.samples_ms) for row in chosen), max(max(row.samples_ms) for row in chosen)
    plot = Plot(
        "distribution of latencies",
        Axis("milliseconds per call (log scale)", 0.9 * fastest, 1.1 * slowest, log=True),
        Axis("share of calls within this time", 0, 1, percent=True),
    )
    for row in chosen:
        ordered = sorted(row.samples_ms)
        steps = [(ordered[0], 0.0)]
        for index, value in enumerate(ordered):
            steps += [(value, index / len(ordered)), (value, (index + 1) / len(ordered))]
        plot.line(steps, colours[row.bundle, row.threads])
    caption = f"{length} tokens, batch size {size}, {chosen[0].calls} calls each."
    return [legend([(_name(key), colour) for key, colour in colours.items()]), figure(plot.svg(), caption)]


def _starts(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    return list({(row.bundle, row.threads): row for row in rows}.values())


def _memory(rows: Sequence[LatencyRow]) -> list[str]:
    shown = []
    for row in _starts(rows):
        cold, peak, size = (value / 1e6 for value in (row.cold_rss_bytes, row.peak_rss_bytes, row.size_bytes))
        note = f"{cold:.0f} MB, peak {peak:.0f} MB; {row.cold_start_ms:.0f} ms"
        shown.append(Bar(_name((row.bundle, row.threads)), [(cold, 0), (max(0.0, peak - cold), 1)], note, [(size, 4)]))
    return [
        legend([("after the first prediction", 0), ("at the peak of the run", 1), ("the bundle's files", 4)]),
        figure(
            bars("memory of a process", shown),
            f"Resident memory of a process with Python and onnxruntime, and milliseconds from the start of a process to its first "
            f"prediction (median of {COLD_STARTS}).",
        ),
    ]


def _accuracy(rows: Sequence[LatencyRow]) -> str:
    known = {row.bundle: row for row in rows if row.cv_accuracy is not None}
    if not known:
        return '<p class="faint">None of these bundles states an accuracy.</p>'
    sizes = [row.size_bytes / 1e6 for row in known.values()]
    plot = Plot(
        "size versus accuracy",
        Axis("megabytes of all files", 0, 1.15 * max(sizes)),
        Axis("accuracy on held-out folds", 0, 1, percent=True),
        height=280,
    )
    for index, row in enumerate(known.values()):
        accuracy = row.cv_accuracy or 0.0
        plot.dot(row.size_bytes / 1e6, accuracy, index % COLOURS, radius=6, title=row.bundle, above=row.bundle)
    return figure(
        plot.svg(),
        "Accuracy in the manifest: of the head in torch, on held-out folds of its training examples. All precisions of a checkpoint "
        "share it; the model card of each states how many labels change.",
    )


def _figures(rows: Sequence[LatencyRow]) -> str:
    head = [
        "bundle",
        "tokens",
        "batch",
        "threads",
        "p50 ms",
        "p90",
        "p95",
        "p99",
        "p99.9",
        "mean",
        "CPU ms/text",
        "texts/s",
    ]
    body = []
    for row in rows:
        times = (row.p50_ms, row.p90_ms, row.p95_ms, row.p99_ms, row.p99_9_ms, row.mean_ms, row.cpu_ms_per_text)
        counts = (row.length_tokens, row.batch_size, row.threads)
        body.append([row.bundle, *map(str, counts), *(f"{value:.2f}" for value in times), f"{row.texts_per_s:.0f}"])
    return table(head, body, numbers=range(1, len(head)))
