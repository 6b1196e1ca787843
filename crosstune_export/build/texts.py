"""The texts that a build looks at: to calibrate, to compare answers, and for the self-test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstune.checkpoint import Checkpoint
from crosstune.examples import Text, read_examples
from crosstune_export.build.probes import PROBES


def real_texts(trained: Checkpoint, calibration: Path | None) -> tuple[list[Text], list[str] | None]:
    """What a graph is judged on: the calibration file, else the training texts, else (no shots) the descriptions.

    Returns:
        The texts, and their labels where they have some.
    """
    examples = trained.examples if calibration is None else read_examples(calibration)
    if not examples:
        return selftest_texts(trained)[: len(trained.labels)], None
    return [example.content for example in examples], [example.label for example in examples]


def halves(texts: Sequence[Text]) -> list[Text]:
    """Halves of texts, which nothing was trained on: on the training texts themselves a head is too sure to ever flip."""
    parts: list[Text] = []
    for text in texts:
        words = (text if isinstance(text, str) else text[0]).split()
        for part in (words[: len(words) // 2], words[len(words) // 2 :]):
            if len(part) >= 3:
                parts.append(" ".join(part) if isinstance(text, str) else (" ".join(part), text[1]))
    return parts


def selftest_texts(trained: Checkpoint) -> list[Text]:
    """Texts that may be published: descriptions and probes, never training texts."""
    texts = [*(sentence for label in trained.labels for sentence in label.descriptions), *PROBES]
    if trained.text_pair:
        return list(zip(texts, texts[1:] + texts[:1], strict=True))
    return list(texts)
