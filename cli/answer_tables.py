"""Human-readable output of ``crosstune-export classify --pretty``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from crosstune_cli.console import table_console

if TYPE_CHECKING:
    from crosstune.core.token_layout import Text
    from crosstune_export import Classifier


def show_answers(classifier: Classifier, texts: Iterable[Text], rule: dict[str, float | None]) -> None:
    """Print a table with the label, the probability and the latency in milliseconds of each text.

    Args:
        classifier: Classifies the texts one at a time, so that each has its own latency.
        texts: Texts or pairs.
        rule: ``threshold`` and ``min_similarity`` as for ``Classifier.classify``.
    """
    from rich.table import Table
    from rich.text import Text as RichText

    table = Table(box=None, expand=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("label", no_wrap=True)
    for name in ("prob", "ms"):
        table.add_column(name, justify="right", min_width=5)
    for text in texts:
        started = time.perf_counter()
        prediction = classifier.classify([text], **rule)[0]
        elapsed = time.perf_counter() - started
        shown = text if isinstance(text, str) else " | ".join(text)
        label = prediction.label if prediction.label is not None else "(none)"
        table.add_row(RichText(shown), RichText(label), f"{prediction.prob:.2f}", f"{1e3 * elapsed:.1f}")
    table_console(110).print(table)


def show_reasons(classifier: Classifier, texts: Iterable[Text], rule: dict[str, float | None]) -> None:
    """Print each text with the words that most affect its label marked: green for the label, red against it.

    Below each text are its five strongest words with their evidence, in log-odds.

    Args:
        classifier: Explains the texts one at a time.
        texts: Texts or pairs.
        rule: ``threshold`` and ``min_similarity`` as for ``Classifier.classify``.
    """
    from rich.text import Text as RichText

    console = table_console(110)
    for text in texts:
        explanation = classifier.explain(text, **rule)
        column = int(explanation.prediction.probs.argmax())
        largest = max((abs(float(word.evidence[column])) for word in explanation.words), default=0.0)
        label = classifier.labels[column] + ("" if explanation.prediction.label is not None else " (not given)")
        console.print(RichText(f"{label} {explanation.prediction.prob:.2f}", style="bold"))
        for part, part_text in enumerate((text,) if isinstance(text, str) else text):
            shown = RichText("  " + part_text)
            for word in explanation.words:
                strength = float(word.evidence[column])
                if word.part == part and abs(strength) > largest / 4:  # weaker words are left plain
                    shown.stylize(("green" if strength > 0 else "red") + " bold", word.start + 2, word.end + 2)
            console.print(shown)
        strongest = sorted(explanation.words, key=lambda word: -abs(float(word.evidence[column])))[:5]
        figures = ", ".join(f"{word.word} {float(word.evidence[column]):+.2f}" for word in strongest)
        console.print(RichText(f"  {figures}"), style="dim")
