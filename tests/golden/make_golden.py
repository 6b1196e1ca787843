"""Writes a small bundle of today's format, to be kept for ever: ``python -m tests.golden.make_golden``.

To be run once for each format version, when it is released. What is there is never replaced.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from crosstune import LabelSet, TrainConfig, train
from crosstune.data.examples import Example
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.manifest import FORMAT_VERSION
from crosstune_export.bundle.packing import pack
from tests.conftest import TINY_LABELS, TINY_TEXTS, make_tiny_backbone, tiny_log


def main() -> None:
    rows = [(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    examples = tuple(Example(text, label, line=line) for line, (text, label) in enumerate(rows, 1))
    with tempfile.TemporaryDirectory() as name:
        backbone = make_tiny_backbone(Path(name) / "tiny-bert")
        trained = train(examples, LabelSet.from_mapping(TINY_LABELS), TrainConfig(backbone=str(backbone)))
        trained.save(Path(name) / "tiny.ckpt")
        bundle = Path(name) / "golden.bundle"
        log = Path(name) / "log.txt"
        log.write_text("\n".join(tiny_log(240)))
        config = BuildConfig("int8", calibration=log, max_flips_percent=100, early_exit_percent=15)
        build(Path(name) / "tiny.ckpt", bundle, config)
        pack(bundle, Path(__file__).with_name(f"format-{FORMAT_VERSION}.bundle.zip"))


if __name__ == "__main__":
    main()
