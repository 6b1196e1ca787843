"""The graphs that builds write, from small random encoders: what ``make_graph_rules`` learns from."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from crosstune import TrainConfig, train
from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import GateError
from crosstune.core.labels import LabelSet
from crosstune.data.examples import Example
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime import session
from tests.conftest import REPO_ROOT, TINY_LABELS, TINY_TEXTS, make_tiny_backbone, tiny_log
from tests.crosstune_export.builder.exporters.test_foreign_graph import export_as_optimum_does
from tests.fixtures.encoder_families import FAMILIES, write_random_encoder

_GOLDEN = REPO_ROOT / "tests" / "golden" / "format-1.1.bundle.zip"


def write_graphs(folder: Path) -> None:
    """Build bundles of every kind, and write every graph that a build gives to onnxruntime; known ones are kept."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "golden.onnx").write_bytes(read_bundle(_GOLDEN).model)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        bert = make_tiny_backbone(work / "Bert")
        for kind, checkpoint in _checkpoints(bert, work).items():
            _build(folder, f"Bert-{kind}", checkpoint)
            if kind != "pairs":
                _build_with_exits(folder, f"Bert-{kind}-exits", checkpoint, work / "log.txt")
            for opset in (14, 18):
                graph = work / f"opset{opset}"
                if not graph.exists():
                    export_as_optimum_does(bert, graph, opset)
                _build(folder, f"Bert-{kind}-opset{opset}", checkpoint, backbone_onnx=graph)
        for family in FAMILIES:
            backbone = write_random_encoder(family, bert, work / family.name)
            for kind, checkpoint in _checkpoints(backbone, work).items():
                _build(folder, f"{family.name}-{kind}", checkpoint)


def _checkpoints(backbone: Path, work: Path) -> dict[str, Path]:
    """Train both heads, and one for pairs."""
    singles = [Example(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    pairs = [Example(example.text, example.label, example.text[::-1]) for example in singles]
    rows: dict[str, tuple[str, Sequence[Example]]] = {
        "default": ("default", singles),
        "paper": ("paper", singles),
        "pairs": ("default", pairs),
    }
    checkpoints = {}
    for kind, (head, examples) in rows.items():
        config = TrainConfig(backbone=str(backbone), head=head, heads=4, epochs=20, learning_rate=0.01)
        checkpoints[kind] = work / f"{backbone.name}-{kind}.ckpt"
        trained = train(
            examples, LabelSet.from_mapping(TINY_LABELS), config, backbone=Backbone.load(str(backbone), device="cpu")
        )
        trained.save(checkpoints[kind])
    return checkpoints


def _build_with_exits(folder: Path, name: str, checkpoint: Path, log: Path) -> None:
    log.write_text("\n".join(tiny_log(200)))
    bundle = checkpoint.with_suffix(".bundle")
    config = BuildConfig("int8", calibration=log, max_flips_percent=100, early_exit_percent=50)
    build(checkpoint, bundle, config, force=True)
    (folder / f"{name}.onnx").write_bytes(read_bundle(bundle).model)


def _build(folder: Path, name: str, checkpoint: Path, **settings: Any) -> None:  # noqa: ANN401
    """Build in every precision, small ones too, and keep every graph that is opened."""
    check: Callable[..., int] = session.check_graph

    def keep(model: bytes, *_rest: object, **_named: object) -> int:
        path = folder / f"{name}-{hashlib.sha256(model).hexdigest()[:12]}.onnx"
        path.write_bytes(model)
        return 1 << 31

    variants = (
        BuildConfig("auto", max_flips_percent=100, **settings),
        BuildConfig("int8", max_flips_percent=100, max_size_mb=0.001, **settings),  # nothing fits, so all are tried
        BuildConfig("fp16", "cuda", max_flips_percent=100, **settings),
    )
    session.check_graph = keep  # the rules may not know the graph yet
    try:
        for config in variants:
            try:
                build(checkpoint, checkpoint.with_suffix(".bundle"), config, force=True)
            except GateError as error:
                print(f"{name}: {error}")
    finally:
        session.check_graph = check
