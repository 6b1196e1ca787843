"""What ``crosstune-export classify --pretty`` says of texts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from crosstune_cli.console import table_console

if TYPE_CHECKING:
    from crosstune.core.token_layout import Text
    from crosstune_export import Classifier


def show_answers(classifier: Classifier, texts: Iterable[Text], threshold: float | None) -> None:
    """A table of answers, each with its milliseconds."""
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
    table_console(110).print(table)


def show_reasons(classifier: Classifier, texts: Iterable[Text], threshold: float | None) -> None:
    """Each text with the words for its label marked, and the strongest of them with their evidence."""
    from rich.text import Text as RichText

    console = table_console(110)
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
