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
    assert "Contracts: 5 kept, 0 broken." in summary, summary
