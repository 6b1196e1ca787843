"""A software bill of materials of a bundle, as CycloneDX JSON."""

from __future__ import annotations

import uuid

from crosstune.core.strict_text import Json
from crosstune_export.bundle.manifest import BundleManifest

_SPEC = "1.6"


def sbom(manifest: BundleManifest) -> dict[str, Json]:
    """Return a CycloneDX 1.6 document with the bundle, its files, its backbone, the tools of the build, and its quality.

    The same bundle always gives the same document: the serial number is derived from the digest, and there is no date.
    """
    backbone, training = manifest.backbone, manifest.training
    files: list[Json] = [
        {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": entry.sha256}]}
        for name, entry in sorted(manifest.files.items())
    ]
    parts: list[Json] = [
        {
            "type": "machine-learning-model",
            "bom-ref": "backbone",
            "name": manifest.backbone_facts.name,
            "properties": _properties("backbone", backbone),
        },
        *files,
    ]
    tools: list[Json] = [
        {"type": "application", "name": name, "version": version} for name, version in sorted(manifest.producer.items())
    ]
    measured: list[Json] = [
        {"type": f"{name}.{key}", "value": str(value)}
        for name, figures in sorted(manifest.quality.items())
        if isinstance(figures, dict)
        for key, value in sorted(figures.items())
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, manifest.digest)}",
        "version": 1,
        "metadata": {
            "tools": {"components": tools},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": "bundle",
                "name": manifest.name,
                "version": str(manifest.release),
                "hashes": [{"alg": "SHA-256", "content": manifest.digest}],
                "modelCard": {
                    "modelParameters": {
                        "task": "text classification",
                        "architectureFamily": manifest.head_facts.kind,
                    },
                    "quantitativeAnalysis": {"performanceMetrics": measured},
                },
                "properties": [*_properties("training", training), *_properties("head", manifest.head)],
            },
        },
        "components": parts,
        "dependencies": [{"ref": "bundle", "dependsOn": ["backbone"]}],
    }


def _properties(prefix: str, table: object) -> list[Json]:
    items = sorted(table.items()) if hasattr(table, "items") else []
    return [{"name": f"crosstune:{prefix}.{key}", "value": str(value)} for key, value in items]
