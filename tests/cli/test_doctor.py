"""``crosstune-export doctor``: two lines per finding, JSON, exit codes."""

from __future__ import annotations

import json


def test_for_people(run_app, tiny_fp32_bundle_dir):
    result = run_app("crosstune-export", "doctor", tiny_fp32_bundle_dir)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    names = [line[5:].partition(":")[0] for line in lines[::2]]
    assert names == [
        "versions", "wheels", "machine", "providers", "processor", "kernels", "threads", "bundle", "memory",
        "bundle's kernels", "placement", "self-test",
    ]  # fmt: skip
    assert {line[:5] for line in lines[::2]} <= {"ok   ", "note "}
    assert all(line.startswith("     ") and line.endswith(".") for line in lines[1::2])


def test_for_machines(run_app):
    result = run_app("crosstune-export", "doctor", "--json", "--provider", "cuda")
    assert (result.code, result.err) == (2, "")
    findings = {finding["name"]: finding for finding in json.loads(result.out)["findings"]}
    assert list(findings) == ["versions", "wheels", "machine", "providers", "processor", "kernels", "threads"]
    assert findings["providers"]["status"] == "problem"
    assert list(findings["providers"]) == ["name", "status", "found", "advice", "details"]


def test_a_refused_bundle(run_app, tmp_path):
    result = run_app("crosstune-export", "doctor", tmp_path)
    assert (result.code, result.err) == (5, "")
    assert result.out.splitlines()[-2:] == [
        f"FAIL bundle: {tmp_path}: no manifest.json, expected a bundle folder",
        "     Build one with crosstune-export build.",
    ]
