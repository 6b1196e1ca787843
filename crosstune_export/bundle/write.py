"""Writes a bundle folder atomically: manifest, self-test, model card, tokenizer and graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstune.core.outputs import new_folder
from crosstune.core.token_layout import Text, TokenRow
from crosstune_export.bundle.manifest import (
    CARD_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    SELFTEST_NAME,
    TOKENIZER_NAME,
    BundleManifest,
    file_entry,
    manifest_bytes,
    parse_manifest,
)
from crosstune_export.bundle.model_card import model_card
from crosstune_export.bundle.selftest import SELFTEST_TOLERANCE, SelfTestSample


def write_bundle(
    path: Path, manifest: BundleManifest, model: bytes, tokenizer: bytes, selftest: bytes
) -> BundleManifest:
    """Write the five files.

    Args:
        path: Bundle folder; an existing one is replaced as a whole.
        manifest: The manifest; ``files`` is filled in.
        model: Contents of ``model.onnx``.
        tokenizer: Contents of ``tokenizer.json``.
        selftest: Contents of ``selftest.json``.

    Returns:
        The manifest as written.

    Raises:
        ResourceError: Writing to the disk failed.
    """
    files = {MODEL_NAME: model, TOKENIZER_NAME: tokenizer, SELFTEST_NAME: selftest}
    files[CARD_NAME] = model_card(manifest, {name: len(data) for name, data in files.items()}).encode("utf-8")
    manifest = replace(manifest, files={name: file_entry(data) for name, data in sorted(files.items())})
    files[MANIFEST_NAME] = manifest_bytes(manifest)
    manifest = parse_manifest(files[MANIFEST_NAME], MANIFEST_NAME)
    with new_folder(path) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return manifest


def selftest_bytes(
    precision: str, texts: Sequence[Text], rows: Sequence[TokenRow], probs: npt.NDArray[np.float32]
) -> bytes:
    """Return ``selftest.json`` for N texts, their token ids and their probabilities, float32 (N, L)."""
    samples = [
        SelfTestSample(text, row.ids, row.truncated, tuple(float(f"{value:.7g}") for value in values)).to_json()
        for text, row, values in zip(texts, rows, probs, strict=True)
    ]
    body = {"tolerance": SELFTEST_TOLERANCE[precision], "samples": samples}
    return (json.dumps(body, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
