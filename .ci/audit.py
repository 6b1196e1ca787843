"""Asks for known vulnerabilities of the locked packages, with pip-audit in an environment of its own.

    make audit

The advisories are those of the Python Packaging Advisory Database, which pip-audit asks PyPI for. No package carries them: the newest
that did, safety-db, is of July 2021. Where PyPI cannot be asked, for example behind a mirror that serves files only, nothing is known,
and the audit fails and says so.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: A package that every copy of PyPI knows, asked for first.
PROBE = "numpy"


def main() -> int:
    """Entry point: ``audit.py PIP_AUDIT``; returns the exit code."""
    text = "".join((ROOT / name).read_text("utf-8") for name in ("requirements.lock", "image.lock"))
    pins = sorted(set(re.findall(r"^[a-z0-9-]+==[\w.]+", text, re.MULTILINE)))  # "+cpu" is no version that PyPI knows
    if not answered(ask(sys.argv[1], [pin for pin in pins if pin.startswith(f"{PROBE}==")])):
        print(
            "audit: PyPI does not answer with advisories here, expected the index itself and not a copy of its files. "
            "Run make audit on a machine that reaches it.",
            file=sys.stderr,
        )
        return 3
    lines, code = judge(ask(sys.argv[1], pins))
    print("\n".join(lines))
    return code


def ask(pip_audit: str, pins: list[str]) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package; nothing where it fails."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pins))
        file.flush()
        command = [pip_audit, "--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        done = subprocess.run([*command, "-r", file.name], capture_output=True, text=True, check=False)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except ValueError:
        return []


def answered(packages: list[dict[str, Any]]) -> bool:
    """Return whether any package was known."""
    return any("vulns" in package for package in packages)


def judge(packages: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Return lines for a person, and the exit code: 0 if every package is known and has no vulnerability, otherwise 1."""
    lines = []
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            lines.append(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
        if "skip_reason" in package:
            lines.append(f"{package['name']}: not audited, {package['skip_reason']}")
    return lines or [f"{len(packages)} packages: no known vulnerability"], 1 if lines or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
