"""``crosstune-export inspect``: the contents of the manifest, as text and JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from crosstune_export import Classifier
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.write import write_bundle
from tests.conftest import TINY_LABELS


def test_json(run_app, tiny_bundle_dir, tiny_checkpoint_dir):
    result = run_app("crosstune-export", "inspect", tiny_bundle_dir, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("\n") == 1
    found = json.loads(result.out)
    manifest = Classifier.load(tiny_bundle_dir).manifest
    assert found["labels"] == list(TINY_LABELS)
    assert found["descriptions"] == {name: [text] for name, text in TINY_LABELS.items()}
    assert found["precision"] == "int8"
    assert found["max_length_tokens"] == 64
    assert found["backbone"] == {
        "name": "tiny-bert",
        "digest": json.loads((tiny_checkpoint_dir / "checkpoint.json").read_text("utf-8"))["backbone"]["digest"],
        "hidden_size": 32,
        "layers": 2,
        "layers_used": 2,
    }
    assert found["digest"] == manifest.digest
    assert found["size_bytes"] == sum(path.stat().st_size for path in tiny_bundle_dir.iterdir())
    assert set(found["files"]) == {"README.md", "model.onnx", "selftest.json", "tokenizer.json"}
    assert "fuse_encoder" in found["fusions"] and "quantize_products" in found["fusions"]
    assert found["runtimes"] == ["python", "cpp", "web", "mobile"]
    assert found["attention"] == "attention fused in 2 of 2 layers"
    assert found["training"]["examples"] == 18
    assert (found["text_pair"], found["release"]) == (False, 0)


def test_lines_for_people(run_app, tiny_bundle_dir):
    facts = json.loads(run_app("crosstune-export", "inspect", tiny_bundle_dir, "--json").out)
    result = run_app("crosstune-export", "inspect", tiny_bundle_dir)
    assert (result.code, result.err) == (0, "")
    shown = dict(line.split(None, 1) for line in result.out.splitlines())
    assert list(shown) == list(facts)
    assert shown["precision"] == "int8"
    assert shown["max_length_tokens"] == "64"
    assert json.loads(shown["labels"]) == facts["labels"]


def test_runtimes_of_a_bundle_of_an_older_build(run_app, tiny_bundle_dir, tmp_path):
    files = read_bundle(tiny_bundle_dir)
    old = replace(files.manifest, runtimes=())
    write_bundle(tmp_path / "old.bundle", old, files.model, files.tokenizer, files.selftest)
    assert "Runtimes" not in (tmp_path / "old.bundle" / "README.md").read_text("utf-8")
    assert "Runtimes that read this bundle: python, cpp, web, mobile." in (tiny_bundle_dir / "README.md").read_text(
        "utf-8"
    )
    found = json.loads(run_app("crosstune-export", "inspect", tmp_path / "old.bundle", "--json").out)
    assert found["runtimes"] == ["python", "cpp", "web", "mobile"]
