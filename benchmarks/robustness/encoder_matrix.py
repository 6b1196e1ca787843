"""Print for small random encoders of every family whether they train, build, verify, and which runtimes read the bundle.

    python -m benchmarks.robustness.encoder_matrix [FAMILY ...]

A cell is "ok" or the reason why not. Takes some minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import torch

from crosstune import TrainConfig, train
from crosstune.core.errors import CrossTuneError
from crosstune.core.labels import LabelSet
from crosstune.data.examples import Example
from crosstune_export import verify
from crosstune_export.builder.pipeline import BuildConfig, build
from tests.conftest import TINY_LABELS, TINY_TEXTS, make_tiny_backbone
from tests.fixtures.encoder_families import FAMILIES, Family, write_random_encoder

COLUMNS = ("family", "train", "fp32", "fp32 to torch", "attention", "int8", "int8 label changes", "verify", "runtimes")


def cells(family: Family, bert: Path, work: Path) -> list[str]:
    """Return the row of a family."""
    examples = [Example(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    checkpoint = work / f"{family.name}.ckpt"
    row = [family.name]
    try:
        backbone = write_random_encoder(family, bert, work / family.name)
        train(examples, LabelSet.from_mapping(TINY_LABELS), TrainConfig(backbone=str(backbone)), device="cpu").save(
            checkpoint
        )
        row.append("ok")
        for precision in ("fp32", "int8"):
            bundle = work / f"{family.name}-{precision}.bundle"
            manifest = build(checkpoint, bundle, BuildConfig(precision, max_flips_percent=100)).manifest
            quality = manifest.quality_facts
            row.append("ok")
            if precision == "fp32" and quality.fp32_to_torch is not None:
                row += [f"{quality.fp32_to_torch.max_difference:.0e}", manifest.attention_fusion]
            elif quality.to_fp32 is not None:
                row.append(f"{quality.to_fp32.label_changes} of {quality.to_fp32.texts}")
        selftest = verify(bundle).selftest
        row += ["ok" if selftest.wrong_ids == 0 else f"{selftest.wrong_ids} wrong ids", ", ".join(manifest.runtimes)]
    except CrossTuneError as error:
        row.append(str(error))
    return row


def main() -> None:
    """Entry point."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [family.name for family in FAMILIES]
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(names)}")
    chosen = parser.parse_args().families or names
    if unknown := set(chosen) - set(names):
        parser.error(f"families: found {', '.join(sorted(unknown))}, expected {', '.join(names)}")
    print(" | ".join(COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        bert = make_tiny_backbone(Path(folder) / "Bert")
        for family in FAMILIES:
            if family.name in chosen:
                print(" | ".join(cells(family, bert, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
