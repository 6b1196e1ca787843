"""Print for small random encoders of every family whether they train, build and verify, and whether C++ and Node agree.

    make cpp web && python -m benchmarks.robustness.encoder_matrix [FAMILY ...]

Each encoder has a tokenizer of its family. A cell is "ok", a count or the reason why not; the last columns compare the labels
of the int8 bundle with those of Python. Takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import torch
from transformers.utils import logging

from benchmarks.parity.tokenizer_parity import LIBRARY, open_node
from crosstune import TrainConfig, train
from crosstune.core.errors import CrossTuneError
from crosstune.core.labels import LabelSet
from crosstune.data.examples import Example
from crosstune_export import Classifier, verify
from crosstune_export.builder.pipeline import BuildConfig, build
from tests.conftest import TINY_LABELS, TINY_TEXTS, make_tiny_backbone
from tests.fixtures import c_library, node_runtime
from tests.fixtures.encoder_families import FAMILIES, TOKENIZERS, Family, write_random_encoder, write_tokenizer

COLUMNS = (
    "family", "tokenizer", "train", "fp32", "fp32 to torch", "attention", "int8", "int8 label changes", "fast kernels", "verify",
    "runtimes", "labels that differ in C++", "in Node",
)  # fmt: skip


def differing(bundle: Path, library: c_library.Library, node: node_runtime.NodeRuntime) -> list[str]:
    """Labels of C++ and of Node that differ from those of Python, on the tests' texts."""
    texts = [text for texts in TINY_TEXTS.values() for text in texts]
    expected = [answer.label for answer in Classifier.load(bundle).classify(texts, batch_size=1)]
    cpp, web = library.load(bundle), node.load(bundle)
    found = [cpp.classify(text.encode()).label for text in texts], [row["label"] for row in web.classify(texts)]
    web.close()
    return [f"{sum(a != b for a, b in zip(labels, expected, strict=True))} of {len(texts)}" for labels in found]


def cells(
    family: Family, bert: Path, work: Path, library: c_library.Library, node: node_runtime.NodeRuntime
) -> list[str]:
    """Return the row of a family."""
    examples = [Example(text, label) for label, texts in TINY_TEXTS.items() for text in texts]
    checkpoint = work / f"{family.name}.ckpt"
    tokenizer = TOKENIZERS.get(family.name)
    row = [family.name, tokenizer or "BERT"]
    try:
        base = write_tokenizer(family, work / f"{family.name}-tokenizer") if tokenizer else bert
        backbone = write_random_encoder(family, base, work / family.name)
        train(examples, LabelSet.from_mapping(TINY_LABELS), TrainConfig(backbone=str(backbone)), device="cpu").save(
            checkpoint
        )
        row.append("ok")
        for precision in ("fp32", "int8"):
            bundle = work / f"{family.name}-{precision}.bundle"
            built = build(checkpoint, bundle, BuildConfig(precision, max_flips_percent=100))
            manifest = built.manifest
            quality = manifest.quality_facts
            row.append("ok")
            if precision == "fp32" and quality.fp32_to_torch is not None:
                row += [f"{quality.fp32_to_torch.max_difference:.0e}", manifest.attention_fusion]
            elif quality.to_fp32 is not None:
                row.append(f"{quality.to_fp32.label_changes} of {quality.to_fp32.texts}")
                row.append("no" if built.shipped.no_fast_kernels else "yes")
        selftest = verify(bundle).selftest
        row += ["ok" if selftest.wrong_ids == 0 else f"{selftest.wrong_ids} wrong ids", ", ".join(manifest.runtimes)]
        row += differing(bundle, library, node)
    except (CrossTuneError, c_library.CallError, node_runtime.WebError) as error:
        row.append(str(error))
    return row


def main() -> None:
    """Entry point."""
    warnings.simplefilter("ignore")
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [family.name for family in FAMILIES]
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--output", type=Path, default=Path("out/encoder_matrix.json"), help="JSON file to write")
    arguments = parser.parse_args()
    chosen = arguments.families or names
    if unknown := set(chosen) - set(names):
        parser.error(f"families: found {', '.join(sorted(unknown))}, expected {', '.join(names)}")
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        library, node = c_library.Library(str(LIBRARY.resolve())), open_node(folder)
        bert = make_tiny_backbone(folder / "Bert")
        for family in FAMILIES:
            if family.name in chosen:
                row = cells(family, bert, folder, library, node)
                rows.append(dict(zip(COLUMNS, row, strict=False)))
                print("| " + " | ".join(row) + " |", flush=True)
        node.close()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
