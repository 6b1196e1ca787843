"""Differences between two bundles: labels, settings, constants of the graph, and predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from crosstune.core.errors import DataError
from crosstune.core.strict_text import Json
from crosstune.core.token_layout import Text
from crosstune_export.bundle.files import BundleFiles
from crosstune_export.bundle.graph_check import constants
from crosstune_export.bundle.manifest import TOKENIZER_NAME, BundleManifest
from crosstune_export.runtime.classifier import Classifier

#: Up to this many constants are listed one by one; more, as between two precisions, are only counted. Chosen by hand.
MOST_NAMED = 10


def differences(old: BundleFiles, new: BundleFiles) -> list[str]:
    """Return a human-readable line for each difference between two bundles; empty if they are the same.

    Examples:
        >>> from crosstune_export.bundle.files import read_bundle
        >>> differences(read_bundle("a.bundle"), read_bundle("b.bundle"))[0]
        "label 'weather': added"
    """
    before, after = old.manifest, new.manifest
    return [
        *_of_labels(before, after),
        *_of_tables("", _facts(before), _facts(after)),
        *_of_constants(old.model, new.model),
        *([f"{TOKENIZER_NAME}: other bytes"] if old.tokenizer != new.tokenizer else []),
    ]


def changed_labels(old: Classifier, new: Classifier, texts: Sequence[Text]) -> tuple[list[str], float]:
    """Compare the predictions of two bundles.

    Args:
        old: Older bundle.
        new: Newer bundle.
        texts: Texts or pairs to classify.

    Returns:
        A line for each text whose label differs, and the largest probability difference over the labels of both bundles.

    Raises:
        DataError: The bundles share no label, or one takes pairs and the other does not.
    """
    if old.manifest.text_pair != new.manifest.text_pair:
        raise DataError(
            "diff: found one bundle for pairs and one for single texts, expected two of the same kind. Give other bundles."
        )
    shared = [name for name in old.labels if name in new.labels]
    if not shared:
        raise DataError("diff: found no shared label, expected at least one. Give bundles of the same task.")
    columns = [[classifier.labels.index(name) for name in shared] for classifier in (old, new)]
    old_probs, new_probs = old.predict_proba(texts), new.predict_proba(texts)
    largest = float(np.abs(old_probs[:, columns[0]] - new_probs[:, columns[1]]).max()) if len(texts) else 0.0
    lines = [
        f"{json.dumps(text, ensure_ascii=False)}: {a.label} ({a.prob:.2f}) -> {b.label} ({b.prob:.2f})"
        for text, a, b in zip(texts, old.classify(texts), new.classify(texts), strict=True)
        if a.label != b.label
    ]
    return lines, largest


def _of_labels(before: BundleManifest, after: BundleManifest) -> list[str]:
    old, new = ({entry.name: entry.descriptions for entry in manifest.labels} for manifest in (before, after))
    lines = [f"label {name!r}: removed" for name in old if name not in new]
    lines += [f"label {name!r}: added" for name in new if name not in old]
    lines += [f"label {name!r}: other descriptions" for name in old if name in new and old[name] != new[name]]
    if not lines and list(old) != list(new):
        lines.append("labels: another order")
    return lines


def _facts(manifest: BundleManifest) -> dict[str, Json]:
    return {
        "threshold": manifest.threshold,
        "min_similarity": manifest.min_similarity,
        "release": manifest.release,
        "text_pair": manifest.text_pair,
        "tokens": json.loads(json.dumps(asdict(manifest.tokens))),
        "graph": json.loads(json.dumps(asdict(manifest.graph))),
        "backbone": dict(manifest.backbone),
        "head": dict(manifest.head),
        "training": dict(manifest.training),
        "producer": dict(manifest.producer),
    }


def _of_tables(path: str, before: dict[str, Json], after: dict[str, Json]) -> list[str]:
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _of_tables(f"{path}{key}.", old, new)
        elif old != new:
            lines.append(f"{path}{key}: {json.dumps(old):.60} -> {json.dumps(new):.60}")
    return lines


def _of_constants(old_model: bytes, new_model: bytes) -> list[str]:
    old, new = constants(old_model), constants(new_model)
    shared = sorted(old.keys() & new.keys())
    reshaped = {name: (list(old[name][0]), list(new[name][0])) for name in shared if old[name][0] != new[name][0]}
    changed = [name for name in shared if name not in reshaped and old[name][1] != new[name][1]]
    return [
        *_named([name for name in old if name not in new], "removed"),
        *_named([name for name in new if name not in old], "added"),
        *(f"constant {name!r}: {before} -> {after}" for name, (before, after) in reshaped.items()),
        *_named(changed, "other numbers"),
    ]


def _named(names: Sequence[str], what: str) -> list[str]:
    if len(names) > MOST_NAMED:
        return [f"constants: {len(names)} {what}, the first is {names[0]!r}"]
    return [f"constant {name!r}: {what}" for name in names]
