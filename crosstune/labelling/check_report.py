"""The findings of a label check as a table of the terminal and as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from crosstune.core.reports.page import html_page, plain, short, table
from crosstune.data.examples import Example
from crosstune.labelling.check import FEW_EXAMPLES, LabelCheck

#: Characters of a text that the page shows.
CHARACTERS = 500


def findings(check: LabelCheck, characters: int) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Title, column names and rows of each kind of finding, those without a row left out; texts cut to so many characters."""
    suspects = [
        [
            str(found.example.line),
            found.example.label,
            found.suggested,
            f"{found.suggested_prob:.2f}",
            _text(found.example, characters),
        ]
        for found in check.suspects
    ]
    conflicts = [
        [
            f"{found.one.line}, {found.other.line}",
            f"{found.one.label}, {found.other.label}",
            "same text" if found.is_exact else "near duplicate",
            _text(found.one, characters),
            _text(found.other, characters),
        ]
        for found in check.conflicts
    ]
    confusable = [[found.one, found.other, f"{found.auc:.2f}"] for found in check.confusable]
    few = [[label, str(count)] for label, count in check.few]
    for title, head, rows in (
        ("Labels that look wrong", ["line", "label", "head's label", "probability", "text"], suspects),
        ("Almost the same text under two labels", ["lines", "labels", "kind", "text", "other text"], conflicts),
        (
            "Labels that their descriptions do not tell apart",
            ["label", "other label", "AUC (chance: 0.50)"],
            confusable,
        ),
        (f"Labels with fewer than {FEW_EXAMPLES} examples", ["label", "examples"], few),
    ):
        if rows:
            yield title, head, rows


def report_page(check: LabelCheck, name: str) -> str:
    """The page.

    Args:
        check: The findings.
        name: Name of the file that was checked.
    """
    accuracy = check.held_out_accuracy
    measured = "" if accuracy is None else f" Accuracy on held-out folds: {100 * accuracy:.1f}%."
    parts = [
        f"<h1>{len(check.suspects)} of {check.examples} labels look wrong</h1>",
        f'<p class="faint">{plain(name)}</p>',
        "<p>A label looks wrong where a head that did not learn from the example gives another one, and is sure of it. "
        f"Look through them: many are right and only unusual.{measured}</p>",
    ]
    for title, head, rows in findings(check, CHARACTERS):
        numbers = [
            at for at, column in enumerate(head) if column.startswith(("line", "probability", "AUC", "examples"))
        ]
        parts += [f"<h2>{plain(title)} ({len(rows)})</h2>", table(head, rows, numbers=numbers)]
    return html_page(f"{name}: label check", parts)


def _text(example: Example, characters: int) -> str:
    return short(" | ".join(" ".join(part.split()) for part in example.parts), characters)
