"""What ``crosstune-export classify`` says of texts: JSON lines for programs, tables for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosstune_export import Classifier, Explanation, Prediction
    from crosstune_export.runtime.tokenization import Text


def answer_lines(
    classifier: Classifier,
    texts: Iterator[Text],
    *,
    batch_size: int,
    threshold: float | None,
    top_k: int | None,
    explain: bool = False,
) -> Iterator[str]:
    """JSON lines, a window of texts at a time, so that memory does not grow with the input."""
    while window := list(islice(texts, 32 * batch_size)):
        if explain:
            reasons = (classifier.explain(text, batch_size=batch_size, threshold=threshold) for text in window)
            rows = (
                _answer(classifier.labels, text, found.prediction, top_k) | _words(classifier, found, top_k)
                for text, found in zip(window, reasons, strict=True)
            )
        else:
            answers = classifier.classify(window, batch_size=batch_size, threshold=threshold)
            rows = (
                _answer(classifier.labels, text, answer, top_k) for text, answer in zip(window, answers, strict=True)
            )
        for row in rows:
            yield json.dumps(row, ensure_ascii=False)


def _answer(labels: Sequence[str], text: Text, answer: Prediction, top_k: int | None) -> dict[str, object]:
    first, second = text if isinstance(text, tuple) else (text, None)
    row: dict[str, object] = {"text": first.encode("utf-8", "replace").decode("utf-8")}
    if second is not None:
        row["text_pair"] = second
    return row | {
        "label": answer.label,
        "prob": answer.prob,
        "probs": {labels[i]: float(answer.probs[i]) for i in _shown(answer, top_k)},
        "truncated": answer.truncated,
    }


def _shown(answer: Prediction, top_k: int | None) -> Sequence[int]:
    """Columns of the labels to show: all, or the most probable ones first."""
    return range(len(answer.probs)) if top_k is None else (-answer.probs).argsort(kind="stable")[:top_k].tolist()


def _words(classifier: Classifier, found: Explanation, top_k: int | None) -> dict[str, object]:
    rows = []
    for word in found.words:
        row: dict[str, object] = {"word": word.word, "start": word.start, "end": word.end}
        if classifier.manifest.text_pair:
            row["of"] = ("text", "text_pair")[word.part]
        shown = _shown(found.prediction, top_k)
        rows.append(row | {"evidence": {classifier.labels[i]: round(float(word.evidence[i]), 4) for i in shown}})
    return {"words": rows}


def show_answers(classifier: Classifier, texts: Sequence[Text], threshold: float | None) -> None:
    """A table of answers, each with its milliseconds."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as RichText

    table = Table(box=None, expand=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("label", no_wrap=True)
    for name in ("prob", "ms"):
        table.add_column(name, justify="right", min_width=5)
    for text in texts:
        started = time.perf_counter()
        answer = classifier.classify([text], threshold=threshold)[0]
        elapsed = time.perf_counter() - started
        shown = text if isinstance(text, str) else " | ".join(text)
        label = answer.label if answer.label is not None else "(none)"
        table.add_row(RichText(shown), RichText(label), f"{answer.prob:.2f}", f"{1e3 * elapsed:.1f}")
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def show_reasons(classifier: Classifier, texts: Sequence[Text], threshold: float | None) -> None:
    """Each text with the words for its label marked, and the strongest of them with their evidence."""
    from rich.console import Console
    from rich.text import Text as RichText

    console = Console(width=None if sys.stdout.isatty() else 110)
    for text in texts:
        found = classifier.explain(text, threshold=threshold)
        column = int(found.prediction.probs.argmax())
        most = max((abs(float(word.evidence[column])) for word in found.words), default=0.0)
        label = classifier.labels[column] + ("" if found.prediction.label is not None else " (not given)")
        console.print(RichText(f"{label} {found.prediction.prob:.2f}", style="bold"))
        for part, whole in enumerate((text,) if isinstance(text, str) else text):
            shown = RichText("  " + whole)
            for word in found.words:
                strength = float(word.evidence[column])
                if word.part == part and abs(strength) > most / 4:
                    shown.stylize(("green" if strength > 0 else "red") + " bold", word.start + 2, word.end + 2)
            console.print(shown)
        strongest = sorted(found.words, key=lambda word: -abs(float(word.evidence[column])))[:5]
        figures = ", ".join(f"{word.word} {float(word.evidence[column]):+.2f}" for word in strongest)
        console.print(RichText(f"  {figures}"), style="dim")
