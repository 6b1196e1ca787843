"""Human-readable output of ``crosstune-export classify --pretty``."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer
from crosstune_cli.console import table_console, visible

if TYPE_CHECKING:
    from crosstune.core.token_layout import Text
    from crosstune_export import Classifier

_TITLES = "   prob  similarity      ms"


def show_answers(classifier: Classifier, texts: Iterable[Text], rule: dict[str, float | None]) -> None:
    """Print a line for each text as soon as it is classified: label, probability, similarity and latency in milliseconds.

    Args:
        classifier: Classifies the texts one at a time, so that each has its own latency.
        texts: Texts or pairs.
        rule: ``threshold`` and ``min_similarity`` as for ``Classifier.classify``.
    """
    from rich.cells import cell_len, set_cell_size

    terminal = table_console(110)
    label_width = min(max(map(len, (*map(visible, classifier.labels), "(none)"))), terminal.width // 3)
    text_width = max(10, terminal.width - label_width - 2 - len(_TITLES))
    for position, text in enumerate(texts):
        if position == 0:
            typer.echo(set_cell_size("text", text_width) + set_cell_size("  label", label_width + 2) + _TITLES)
        started = time.perf_counter()
        prediction = classifier.classify([text], **rule)[0]
        elapsed = time.perf_counter() - started
        shown = " ".join((text if isinstance(text, str) else " | ".join(text)).split())
        if cell_len(shown) > text_width:
            shown = set_cell_size(shown, text_width - 1) + "…"
        label = visible(prediction.label) if prediction.label is not None else "(none)"
        similarity = "   -" if prediction.similarity is None else f"{prediction.similarity:4.2f}"
        figures = f"  {prediction.prob:5.2f}  {similarity:>10}  {1e3 * elapsed:6.1f}"
        typer.echo(set_cell_size(shown, text_width) + "  " + set_cell_size(label, label_width) + figures)


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
        label = visible(classifier.labels[column]) + (
            "" if explanation.prediction.label is not None else " (not given)"
        )
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
