"""Writes docs/development/licences.md: the licence of everything in the wheel and of the Python packages in the Docker image.

``python tests/contracts/pages/make_licences_page.py`` writes it; ``--check`` writes nothing and exits 1 where it is out of date.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from pathlib import Path

from written_page import write_or_check

ROOT = Path(__file__).resolve().parents[3]
TITLE = """# Licences

`make docs` writes this page from `runtime_web/package-lock.json` and from the metadata of the packages in `image.lock`. It fails if a
licence is missing, or is none of those that allow to pass the software on without conditions beyond a notice (MPL-2.0: for changed files).
"""
#: Identifiers of SPDX that are accepted.
ACCEPTED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "PSF-2.0", "Zlib"),
}
#: What packages without a licence expression write in its place.
_WRITTEN = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
#: They build the image and are removed from it.
_REMOVED = {"setuptools"}

Row = tuple[str, str, str]


def page() -> str:
    """The whole page.

    Raises:
        ValueError: A licence is missing or not accepted.
    """
    return "\n".join(
        [
            TITLE,
            "## The wheel",
            "",
            "Everything in `crosstune-export` and `crosstune-kernels` is ours, under Apache-2.0, except for these npm packages, which",
            "`make web` puts into the page of `crosstune-export web`. The kernels are compiled with onnxruntime's C header (MIT).",
            "",
            *_table(npm_packages()),
            "",
            "## The Docker image",
            "",
            "The base image has licences of its own. The Python packages in it:",
            "",
            *_table(image_packages()),
            "",
        ]
    )


def npm_packages() -> list[Row]:
    """Name, version and licence of what the web runtime needs when it runs."""
    lock = json.loads((ROOT / "runtime_web" / "package-lock.json").read_text("utf-8"))
    rows = [
        (path.removeprefix("node_modules/"), entry["version"], accepted(path, entry.get("license", "")))
        for path, entry in lock["packages"].items()
        if path and not entry.get("dev")
    ]
    return [row for row in rows if not row[0].startswith("@types/") and row[0] != "undici-types"]  # types do not run


def image_packages() -> list[Row]:
    """Name, version and licence of what ``image.lock`` installs."""
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "image.lock").read_text("utf-8"), re.MULTILINE)
    return [(name, version, licence_of(name)) for name, version in pins if name not in _REMOVED]


def licence_of(name: str) -> str:
    """Return the licence that an installed package states."""
    metadata = importlib.metadata.metadata(name)
    classifiers = [
        text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")
    ]
    stated = metadata.get("License-Expression") or metadata.get("License") or (classifiers or [""])[0]
    return accepted(name, _WRITTEN.get(stated, stated))


def accepted(name: str, expression: str) -> str:
    """Return an expression of accepted licences.

    Raises:
        ValueError: It is empty or names another licence.
    """
    names = set(re.split(r" (?:AND|OR) ", expression.replace("(", "").replace(")", "")))
    if not names <= ACCEPTED:
        raise ValueError(f"{name}: the licence is {expression!r}, expected accepted ones. See make_licences_page.py.")
    return expression


def _table(rows: list[Row]) -> list[str]:
    lines = [f"| {name} | {version} | {licence} |" for name, version, licence in sorted(rows)]
    return ["| package | version | licence |", "|---|---|---|", *lines]


if __name__ == "__main__":
    sys.exit(write_or_check("docs/development/licences.md", page, "the locks and the packages"))
