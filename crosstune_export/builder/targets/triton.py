"""Writes the graph of a bundle as a model repository of NVIDIA Triton.

The tests check the configuration against Triton's schema, and run the graph with the same session options, but do not run
Triton. Source of the settings: the README of Triton's onnxruntime backend.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from crosstune.core.outputs import check_output, new_folder
from crosstune_export.bundle.files import read_bundle, require_outside
from crosstune_export.bundle.manifest import BundleManifest

#: File that marks a folder as a repository written by this program, which --force may replace.
NOTES_NAME = "crosstune.md"
#: Chosen by hand: the largest batch size that a build checks.
_MAX_BATCH_SIZE = 32


def check_repository(path: Path, bundle: Path, *, force: bool) -> None:
    """Refuse a folder that must not be replaced or is inside the bundle, before any work is done.

    Raises:
        OutputExistsError: The folder exists and ``force`` is off, or was not written by this program.
        ConfigError: The folder cannot be written, or is inside the bundle.
    """
    check_output(path, force=force, what="Triton repository", owned_marker=NOTES_NAME)
    require_outside(path, bundle, "Triton repository")


def write_repository(bundle: str | os.PathLike[str], path: Path) -> str:
    """Write ``NAME/config.pbtxt``, ``NAME/labels.txt``, ``NAME/1/model.onnx`` and human-readable notes.

    Args:
        bundle: Bundle folder.
        path: Folder of the repository; an existing one is replaced as a whole.

    Returns:
        Name of the model in Triton.

    Raises:
        BundleError: The bundle is invalid.
        ResourceError: Writing to the disk failed.
    """
    files = read_bundle(bundle)
    manifest = files.manifest
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", manifest.name) or "bundle"
    with new_folder(path) as folder:
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.onnx").write_bytes(files.model)
        (folder / name / "config.pbtxt").write_text(model_config(manifest, name), "utf-8")
        labels = (" ".join(label.splitlines()) for label in manifest.label_names)
        (folder / name / "labels.txt").write_text("".join(f"{label}\n" for label in labels), "utf-8")
        (folder / NOTES_NAME).write_text(_notes(manifest, name), "utf-8")
    return name


def model_config(manifest: BundleManifest, name: str) -> str:
    """Return the contents of ``config.pbtxt``."""
    dims = {"probs": len(manifest.labels), "text_vector": manifest.graph.text_vector_size}
    inputs = ",\n".join(
        f'  {{ name: "{value}" data_type: TYPE_INT64 dims: [ -1 ] }}' for value in manifest.graph.inputs
    )
    outputs = ",\n".join(
        f'  {{ name: "{value}" data_type: TYPE_FP32 dims: [ {dims[value]} ]'
        + (' label_filename: "labels.txt" }' if value == "probs" else " }")
        if value in dims
        else f'  {{ name: "{value}" data_type: TYPE_FP32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}'
        for value in manifest.graph.outputs
    )
    kind = "KIND_GPU" if manifest.graph.precision == "fp16" else "KIND_CPU"
    return f"""# Bundle {manifest.digest}
name: {json.dumps(name)}
backend: "onnxruntime"
max_batch_size: {_MAX_BATCH_SIZE}
input [
{inputs}
]
output [
{outputs}
]
# Only requests of equal length are batched, so there is no padding and results do not depend on the batch.
dynamic_batching {{ }}
instance_group [ {{ kind: {kind} count: 1 }} ]
# The extended optimizations would fuse operators again that the build has split. -1 is "basic".
optimization {{ graph {{ level: -1 }} }}
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
parameters {{ key: "enable_mem_arena" value: {{ string_value: "0" }} }}
"""


def _notes(manifest: BundleManifest, name: str) -> str:
    graph, tokens = manifest.graph, manifest.tokens
    decision = f"threshold {manifest.threshold}, minimum similarity {manifest.min_similarity}"
    return f"""# {name} for Triton

Made from the bundle {manifest.digest}. Needs a Triton whose onnxruntime is at least {graph.min_onnxruntime} (opset {graph.opset}).

    tritonserver --model-repository .

The model takes ids, not text: {", ".join(graph.inputs)}, int64, (batch, tokens), at most {tokens.max_length_tokens} tokens.
`crosstune_export.Classifier.load(BUNDLE).token_ids(texts)` returns them; the mask is all ones. To accept text, put a model of
the python backend that does this first in an ensemble; its environment needs crosstune-export[cpu]. Send requests without
padding: Triton batches those of equal length.

probs are in the order of labels.txt. The bundle gives no label below {decision}; Triton does not apply this.

The configuration was tested against Triton's schema, and the graph in onnxruntime with these session options, but not in a
running Triton.
"""
