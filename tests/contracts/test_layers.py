"""The import-linter contracts of pyproject.toml hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_import_linter_contracts(repo_root):
    lint_imports = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=repo_root, capture_output=True, check=False, timeout=300,
        env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()
    summary = done.stdout.decode()
    contracts = (repo_root / "pyproject.toml").read_text("utf-8").count("[[tool.importlinter.contracts]]")
    assert contracts >= 7
    assert f"Contracts: {contracts} kept, 0 broken." in summary, summary
