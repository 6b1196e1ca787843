"""Writes a bundle: manifest, self-test, model card and graph, in a folder that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstune.core.outputs import new_folder
from crosstune.core.strict_text import Json
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
from crosstune_export.bundle.selftest import SelfTestSample

#: Largest difference of a probability in a bundle's self-test. int8: a rounding that falls the other way in another
#: kernel moves an activation by one step of 1/255 of its range; between onnxruntime 1.20 and 1.32 we saw 0.03.
SELFTEST_TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 0.1}


def write_bundle(
    path: Path, manifest: BundleManifest, model: bytes, tokenizer: bytes, selftest: bytes
) -> BundleManifest:
    """Write the five files.

    Args:
        path: The bundle folder; replaced as a whole if it is there.
        manifest: All but ``files``.
        model: The graph.
        tokenizer: ``tokenizer.json``.
        selftest: ``selftest.json``.

    Returns:
        The manifest as written.

    Raises:
        ResourceError: The disk refuses a write.
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
    """``selftest.json`` from texts, their ids and their probabilities, float32 (N, L)."""
    samples = [
        SelfTestSample(text, row.ids, row.truncated, tuple(float(f"{value:.7g}") for value in values)).to_json()
        for text, row, values in zip(texts, rows, probs, strict=True)
    ]
    body = {"tolerance": SELFTEST_TOLERANCE[precision], "samples": samples}
    return (json.dumps(body, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def model_card(manifest: BundleManifest, sizes: Mapping[str, int]) -> str:
    """The bundle's README.md: what it is, what was measured, how to use it."""
    quality, training, backbone = manifest.quality, manifest.training, manifest.backbone
    accuracy = training.get("cv_accuracy")
    lines = [
        f"# {manifest.name}",
        "",
        f"A text classifier with {len(manifest.labels)} labels, built by CrossTune: the frozen backbone "
        f"`{Path(str(backbone['name'])).name}` and a label attention head (`{manifest.head['kind']}`) as one "
        f"{manifest.graph.precision} ONNX graph.",
        "",
        "| label | description |",
        "|---|---|",
        *(f"| {_cell(entry.name)} | {_cell(' / '.join(entry.descriptions))} |" for entry in manifest.labels),
        "",
        "## Measured by the build",
        "",
        f"- Trained on {training['examples']} examples; accuracy on held-out folds of them: "
        + (f"{100 * accuracy:.1f} %" if isinstance(accuracy, float) else "not measured")
        + ". Measure yours on texts of your own.",
        *_traded(training, backbone),
        f"- fp32 graph against torch: {_figures(quality['fp32_to_torch'])}.",
    ]
    precision = manifest.graph.precision
    if f"{precision}_to_fp32" in quality:
        lines.append(f"- {precision} graph against fp32: {_figures(quality[f'{precision}_to_fp32'])}.")
    if f"{precision}_to_fp32_on_halves" in quality:
        halves = _figures(quality[f"{precision}_to_fp32_on_halves"])
        lines.append(f"- The same on halves of the texts, never trained on: {halves}.")
    lines.append(
        f"- Texts in padded batches and on two threads against alone: {_figures(quality['together_to_alone'])}."
    )
    lines += [
        f"- Graph {sizes[MODEL_NAME] / 1e6:.1f} MB, tokenizer {sizes[TOKENIZER_NAME] / 1e6:.1f} MB; texts beyond "
        f"{manifest.tokens.max_length_tokens} tokens are cut and marked `truncated`.",
        "",
        "## Use",
        "",
        "```python",
        "from crosstune_export import Classifier",
        "",
        'classifier = Classifier.load("PATH")',
        'print(classifier.classify(["a text"])[0])',
        "```",
        "",
        "Probabilities are the model's own estimate; they say nothing of texts that belong to no label unless a threshold is set.",
        "The backbone's licence applies to its weights inside `model.onnx`.",
        "",
    ]
    return "\n".join(lines)


def _traded(training: Mapping[str, Json], backbone: Mapping[str, Json]) -> list[str]:
    before, now = training.get("all_layers"), training.get("cv_accuracy")
    if not isinstance(before, dict) or not isinstance(now, float):
        return []
    accuracy = float(str(before["cv_accuracy"]))
    return [
        f"- A budget made it use {backbone['layers_used']} of {before['layers']} layers; with all of them accuracy on held-out "
        f"folds was {100 * accuracy:.1f} %."
    ]


def _figures(value: Json) -> str:
    if not isinstance(value, dict):
        return "not measured"
    return f"{value['flips']} of {value['texts']} labels differ, largest probability difference {value['max_prob_difference']:.1e}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
