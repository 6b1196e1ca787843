"""What ``make audit`` makes of the answers of pip-audit."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import REPO_ROOT

KNOWN = {"name": "numpy", "version": "2.4.6", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
WEAK = {"name": "idna", "version": "3.6", "vulns": [{"id": "PYSEC-2024-60", "fix_versions": ["3.7"]}]}


@pytest.fixture
def audit(monkeypatch):
    monkeypatch.syspath_prepend(str(REPO_ROOT / ".ci"))
    monkeypatch.delitem(sys.modules, "audit", raising=False)
    import audit

    return audit


@pytest.mark.parametrize(
    ("packages", "lines", "code"),
    [
        ([KNOWN], ["1 packages: no known vulnerability"], 0),
        ([KNOWN, WEAK], ["idna 3.6: PYSEC-2024-60, fixed in 3.7"], 1),
        ([KNOWN, SKIPPED], ["torch: not audited, Dependency not found on PyPI"], 1),
        ([], ["0 packages: no known vulnerability"], 1),
    ],
)
def test_what_is_known_decides(audit, packages, lines, code):
    assert audit.judge(packages) == (lines, code)


def test_a_copy_of_the_files_knows_no_advisories(audit, monkeypatch, capsys):
    monkeypatch.setattr(
        audit, "ask", lambda program, pins: [SKIPPED | {"name": pin.partition("==")[0]} for pin in pins]
    )
    monkeypatch.setattr(sys, "argv", ["audit.py", "pip-audit"])
    assert audit.main() == 3
    assert capsys.readouterr().err.startswith("audit: PyPI does not answer with advisories here, ")
