"""``crosstune-export sbom``: a software bill of materials of a bundle."""

from __future__ import annotations

import json

import typer
from crosstune_cli.options import AnyBundle


def sbom(bundle: AnyBundle) -> None:
    """Print the contents of a bundle and their origins, as CycloneDX JSON."""
    from crosstune_export.bundle.files import read_bundle
    from crosstune_export.release.sbom import sbom as make_sbom

    typer.echo(json.dumps(make_sbom(read_bundle(bundle).manifest), indent=2, ensure_ascii=False))
