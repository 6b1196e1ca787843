"""Summarize a bundle for ``crosstune-export inspect``."""

from __future__ import annotations

import json
import os

from crosstune.core.portable_tokenizers import runtimes
from crosstune.core.strict_text import Json
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.manifest import TOKENIZER_NAME, manifest_bytes
from crosstune_export.bundle.strict_json import strict_json

#: Parts of the manifest that are returned unchanged.
_PARTS = (
    "name",
    "format_version",
    "text_pair",
    "head",
    "training",
    "quality",
    "graph",
    "decision",
    "files",
    "producer",
)


def inspect_bundle(bundle: str | os.PathLike[str]) -> dict[str, Json]:
    """Return labels, sizes, precision and provenance of a bundle.

    Args:
        bundle: Bundle folder or packed bundle.

    Returns:
        JSON values by name; ``size_bytes`` is the total of all five files, ``kernels`` is ``fast`` if the fast kernels can
        run the graph, ``kernels_reason`` why not (None if they can), ``exits`` what early exits do (None without), and
        ``runtimes`` lists the runtimes that read the bundle.

    Examples:
        >>> from crosstune_export import inspect_bundle
        >>> inspect_bundle("support.bundle")["labels"]
        ['shipping', 'billing', 'praise']

    Raises:
        BundleError: The bundle is invalid or of a newer format.
    """
    files = read_bundle(bundle)
    manifest = files.manifest
    body: dict[str, Json] = json.loads(manifest_bytes(manifest))
    tokenizer = strict_json(files.tokenizer, TOKENIZER_NAME)
    return {
        "labels": list(manifest.label_names),
        "descriptions": {label.name: list(label.descriptions) for label in manifest.labels},
        "precision": manifest.graph.precision,
        "size_bytes": files.size_bytes,
        "fusions": manifest.quality.get("rewrites", ""),
        "attention": manifest.attention_fusion,
        "kernels": "portable" if manifest.no_fast_kernels else "fast",
        "kernels_reason": manifest.no_fast_kernels or None,
        "exits": None if manifest.exits is None else manifest.exits.to_json(),
        "runtimes": list(manifest.runtimes or runtimes(tokenizer)),
        "max_length_tokens": manifest.tokens.max_length_tokens,
        "backbone": body["backbone"],
        "digest": manifest.digest,
        "release": manifest.release,
        **{name: body[name] for name in _PARTS},
    }
