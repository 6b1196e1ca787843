"""Bundles of several families of encoders, each with a tokenizer of its kind: every runtime gives Python's ids and answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from crosstune import TrainConfig, train
from crosstune_export.builder.pipeline import BuildConfig, build
from tests import tolerances
from tests.fixtures.encoder_families import FAMILIES, write_random_encoder, write_tokenizer
from tests.runtimes.every_runtime import CppRuntime, PythonRuntime, WebRuntime

#: Families with tokenizers of different kinds; benchmarks/robustness/encoder_matrix.py tries all.
DISTINCT = ("DebertaV2", "ModernBert", "Qwen3", "Roberta", "T5", "XLMRoberta")
TEXTS = [
    "where is my parcel?",
    "  Der Akku l\u00e4dt nicht mehr,\tbitte um R\u00fcckruf.  ",
    "\u9001\u8d27\u592a\u6162\u4e86,\u6211\u8981\u9000\u6b3e\u3002 \ufb01ne \u2460 \u338f",
    "we're they've I'LL 12345 9.99 \u20ac \U0001f600\u200d",
    "",
    "the parcel is late again " * 20,
]


def assert_runtimes_agree(bundle, library, node):
    expected = PythonRuntime().load(bundle)
    runtimes = ((CppRuntime(library), tolerances.CPP_TO_PYTHON), (WebRuntime(node), tolerances.OTHER_ONNXRUNTIME))
    for runtime, tolerance in runtimes:
        loaded = runtime.load(bundle)
        assert loaded.selftest_passes()
        for text in TEXTS:
            assert loaded.ids(text) == expected.ids(text)
            answer, own = loaded.answer(text), expected.answer(text)
            assert (answer.label, answer.truncated) == (own.label, own.truncated)
            assert answer.probs == pytest.approx(own.probs, abs=tolerance)
            assert answer.similarity == pytest.approx(own.similarity, abs=tolerance)
        loaded.close()


def built(backbone: Path, folder: Path, examples, labels, **config) -> Path:
    checkpoint = folder / "a.ckpt"
    train(examples, labels, TrainConfig(backbone=str(backbone), **config), device="cpu").save(checkpoint)
    build(checkpoint, folder / "a.bundle", BuildConfig("int8", max_flips_percent=100))
    return folder / "a.bundle"


# onnxruntime's optimizer leaves a temporary folder to the garbage collector when one of its rules raises an error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("quick_builds")
@pytest.mark.parametrize("name", DISTINCT)
def test_a_family_with_its_tokenizer(name, library, node, tmp_path, tiny_examples, tiny_labels):
    family = next(family for family in FAMILIES if family.name == name)
    backbone = write_random_encoder(family, write_tokenizer(family, tmp_path / "tokenizer"), tmp_path / name)
    assert_runtimes_agree(built(backbone, tmp_path, tiny_examples, tiny_labels), library, node)


@pytest.mark.usefixtures("quick_builds")
@pytest.mark.parametrize("pooling", ["cls", "lasttoken"])
def test_a_folder_of_sentence_transformers(
    pooling, library, node, tmp_path, tiny_backbone_dir, tiny_examples, tiny_labels
):
    """Its pooling becomes a view, and its prompt comes before every text."""
    backbone = shutil.copytree(tiny_backbone_dir, tmp_path / "sentences")
    (backbone / "1_Pooling").mkdir()
    (backbone / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}), "utf-8")
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules += [{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    (backbone / "modules.json").write_text(json.dumps(modules), "utf-8")
    prompts = {"prompts": {"classification": "my parcel: "}}
    (backbone / "config_sentence_transformers.json").write_text(json.dumps(prompts), "utf-8")
    bundle = built(backbone, tmp_path, tiny_examples, tiny_labels)
    assert len(json.loads((bundle / "manifest.json").read_bytes())["tokens"]["prefix_ids"]) == 4
    assert_runtimes_agree(bundle, library, node)
