"""Measures a bundle on labelled texts, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.core.token_layout import replace_surrogates
from crosstune.data.examples import Example
from crosstune.data.labels import check_labels
from crosstune.evaluation.answers import Answers
from crosstune_export.runtime.classifier import Classifier
from crosstune_export.runtime.prediction import Prediction

#: Texts between two calls of ``progress``.
_CHUNK = 256


def evaluate_bundle(
    classifier: Classifier,
    examples: Sequence[Example],
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
    where: str = "examples",
) -> Answers:
    """Classify labelled texts; the result has the metrics and writes the report page.

    A bundle does not hold its training texts, so texts that were trained on are measured too.

    Examples:
        >>> from crosstune import Example
        >>> from crosstune_export import Classifier, evaluate_bundle
        >>> classifier = Classifier.load("support.bundle")
        >>> answers = evaluate_bundle(classifier, [Example("where is my parcel?", "shipping")])
        >>> answers.evaluation.accuracy
        1.0

    Args:
        classifier: The bundle.
        examples: N labelled texts, at least one.
        batch_size: Texts per run of the graph, at least 1.
        progress: Called with the stage, the texts done and their number.
        where: Name of the examples in messages, usually a path.

    Raises:
        DataError: A label is unknown, or texts are given where the bundle classifies pairs, or pairs where it classifies texts.
        BundleContentError: The graph fails.
    """
    manifest = classifier.manifest
    check_labels(examples, LabelSet(manifest.labels), where)
    odd = next((example for example in examples if (example.text_pair is not None) != manifest.text_pair), None)
    if odd is not None:
        kind, expected = ("a single text", "pairs") if manifest.text_pair else ("a pair", "single texts")
        raise DataError(f"{where}:{odd.line}: {kind}, expected {expected} as in training. Give the same kind.")
    predictions: list[Prediction] = []
    for start in range(0, len(examples), _CHUNK):
        chunk = [example.content for example in examples[start : start + _CHUNK]]
        predictions += classifier.classify(chunk, batch_size=batch_size)
        progress("classify", len(predictions), len(examples))
    similarities = [prediction.similarity for prediction in predictions if prediction.similarity is not None]
    return Answers(
        examples,
        classifier.labels,
        np.stack([prediction.probs for prediction in predictions]),
        manifest.threshold,
        np.array(similarities, np.float32) if similarities else None,
        manifest.min_similarity,
        data=where,
        model=replace_surrogates(manifest.name),
    )
