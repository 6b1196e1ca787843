"""The texts that a build uses: for calibration, for comparison, and for the self-test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crosstune.checkpoint import Checkpoint
from crosstune.core.token_layout import Text
from crosstune.data.readers import read_rows
from crosstune.labelling.sheet import read_pool
from crosstune.rows.options import DEFAULT_READING, ReadOptions
from crosstune_export.builder.probe_inputs import PROBES
from crosstune_export.bundle.selftest import MOST_SAMPLES

#: Maximum number of probabilities in a self-test, about 1.2 MB of JSON; chosen by hand.
MOST_SELFTEST_NUMBERS = 100_000


def real_texts(
    trained: Checkpoint, calibration: Path | None, reading: ReadOptions | None = None, *, labelled: bool = True
) -> tuple[list[Text], list[str] | None]:
    """Return the texts to compare graphs on: the calibration file, or the training texts, or (without any) the descriptions.

    Args:
        trained: The checkpoint.
        calibration: File of examples; None for the training examples.
        reading: How to read it; recognised when None.
        labelled: Whether the file has labels.

    Returns:
        The texts and their labels; None instead of labels for descriptions and for a file without labels.
    """
    if calibration is not None and not labelled:
        return read_pool(calibration, reading or DEFAULT_READING), None
    examples = trained.examples if calibration is None else read_rows(calibration, reading)
    if not examples:
        return _inputs(trained, _descriptions(trained)), None
    return [example.content for example in examples], [example.label for example in examples]


def truncated_texts(texts: Sequence[Text]) -> list[Text]:
    """Return the first and the second half of each text, if they have at least three words.

    Training texts hide quantization errors, because the head is very sure of their labels; truncated texts are new to it.
    """
    parts: list[Text] = []
    for text in texts:
        words = (text if isinstance(text, str) else text[0]).split()
        for part in (words[: len(words) // 2], words[len(words) // 2 :]):
            if len(part) >= 3:
                parts.append(" ".join(part) if isinstance(text, str) else (" ".join(part), text[1]))
    return parts


def selftest_texts(trained: Checkpoint) -> list[Text]:
    """Return publishable texts for the self-test: probes and descriptions (a subset for many labels), never training texts."""
    sentences = _descriptions(trained)
    room = max(1, min(MOST_SAMPLES, MOST_SELFTEST_NUMBERS // len(trained.labels)) - len(PROBES))
    return _inputs(trained, [*sentences[:: -(-len(sentences) // room)], *PROBES])


def _descriptions(trained: Checkpoint) -> list[str]:
    return [sentence for label in trained.labels for sentence in label.descriptions]


def _inputs(trained: Checkpoint, texts: list[str]) -> list[Text]:
    """Return the texts, or pairs of each text with the next one if the task has pairs."""
    return list(zip(texts, texts[1:] + texts[:1], strict=True)) if trained.text_pair else list(texts)
