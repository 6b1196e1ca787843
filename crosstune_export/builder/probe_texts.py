"""The texts that a build looks at: to calibrate, to compare answers, and for the self-test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstune.checkpoint import Checkpoint
from crosstune.core.token_layout import Text
from crosstune.data.readers import read_examples
from crosstune_export.builder.probe_inputs import PROBES

#: Probabilities in a self-test, all samples together: some 5 MB of JSON.
MOST_SELFTEST_NUMBERS = 400_000


def real_texts(trained: Checkpoint, calibration: Path | None) -> tuple[list[Text], list[str] | None]:
    """What a graph is judged on: the calibration file, else the training texts, else (no shots) the descriptions.

    Returns:
        The texts, and their labels where they have some.
    """
    examples = trained.examples if calibration is None else read_examples(calibration)
    if not examples:
        return _inputs(trained, _descriptions(trained)), None
    return [example.content for example in examples], [example.label for example in examples]


def truncated_texts(texts: Sequence[Text]) -> list[Text]:
    """Both halves of each text, of at least three words.

    A head is so sure of the texts it was trained on that quantization hardly changes their labels; truncated texts are new to it.
    """
    parts: list[Text] = []
    for text in texts:
        words = (text if isinstance(text, str) else text[0]).split()
        for part in (words[: len(words) // 2], words[len(words) // 2 :]):
            if len(part) >= 3:
                parts.append(" ".join(part) if isinstance(text, str) else (" ".join(part), text[1]))
    return parts


def selftest_texts(trained: Checkpoint) -> list[Text]:
    """Texts that may be published, never training texts: probes and descriptions, not all of them where there are many labels."""
    sentences = _descriptions(trained)
    room = max(1, MOST_SELFTEST_NUMBERS // len(trained.labels) - len(PROBES))
    return _inputs(trained, [*sentences[:: -(-len(sentences) // room)], *PROBES])


def _descriptions(trained: Checkpoint) -> list[str]:
    return [sentence for label in trained.labels for sentence in label.descriptions]


def _inputs(trained: Checkpoint, texts: list[str]) -> list[Text]:
    """The texts, or pairs of each with the next where an input is a pair."""
    return list(zip(texts, texts[1:] + texts[:1], strict=True)) if trained.text_pair else list(texts)
