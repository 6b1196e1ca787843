"""Small random encoders of families other than BERT: each trains, builds in fp32 and int8, and verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstune import TrainConfig, train
from crosstune_export import verify
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import constants
from crosstune_export.bundle.inspection import inspect_bundle
from tests import tolerances
from tests.fixtures.encoder_families import FAMILIES, write_random_encoder

#: Families whose graphs differ from those of others; benchmarks/robustness/encoder_matrix.py tries all.
DISTINCT = ("Albert", "DebertaV2", "Gemma3Text", "MPNet", "MobileBert", "ModernBert", "T5")


def matrices(bundle: Path) -> list[tuple[tuple[int, ...], bytes]]:
    """Shapes and contents of the constants with two dimensions."""
    arrays = constants(read_bundle(bundle).model).values()
    return [(shape, bytes(data)) for shape, data in arrays if len(shape) == 2]


# onnxruntime's optimizer leaves a temporary folder to the garbage collector when one of its rules raises an error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("quick_builds")
@pytest.mark.fault("L24")
@pytest.mark.parametrize("name", DISTINCT)
def test_a_family_trains_builds_and_verifies(name, tiny_backbone_dir, tmp_path, tiny_examples, tiny_labels):
    family = next(family for family in FAMILIES if family.name == name)
    backbone = write_random_encoder(family, tiny_backbone_dir, tmp_path / name)
    checkpoint = tmp_path / "a.ckpt"
    train(tiny_examples, tiny_labels, TrainConfig(backbone=str(backbone)), device="cpu").save(checkpoint)
    for precision in ("fp32", "int8"):
        bundle = tmp_path / f"{precision}.bundle"
        built = build(checkpoint, bundle, BuildConfig(precision, max_flips_percent=100))
        quality = built.manifest.quality_facts
        assert quality.fp32_to_torch.max_difference <= tolerances.FAMILIES_TO_TORCH
        assert quality.fp32_to_torch.label_changes == quality.batch_invariance.label_changes == 0
        assert inspect_bundle(bundle)["attention"] == f"attention fused in {family.fused} of {family.layers} layers"
        if precision == "fp32":
            assert "they run int8 graphs only" in built.shipped.no_fast_kernels
        else:
            assert ("not of BERT's form" in built.shipped.no_fast_kernels) is (name != "MPNet")
        assert verify(bundle).selftest.wrong_ids == 0
        assert len(set(matrices(bundle))) == len(matrices(bundle))
