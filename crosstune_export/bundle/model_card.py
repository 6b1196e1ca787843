"""The model card of a bundle, ``README.md``, with the header that a model hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from crosstune_export.bundle.facts import BackboneFacts, TrainingFacts
from crosstune_export.bundle.manifest import MODEL_NAME, TOKENIZER_NAME, BundleManifest

#: Licence and language of the backbones of docs/head.md, by their hub id, in the hub's words.
PUBLISHED = {
    "BAAI/bge-small-en-v1.5": ("mit", "en"),
    "Qwen/Qwen3-Embedding-0.6B": ("apache-2.0", "multilingual"),
    "intfloat/multilingual-e5-small": ("mit", "multilingual"),
    "nomic-ai/modernbert-embed-base": ("apache-2.0", "en"),
    "sentence-transformers/all-MiniLM-L6-v2": ("apache-2.0", "en"),
    "sentence-transformers/all-mpnet-base-v2": ("apache-2.0", "en"),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": ("apache-2.0", "multilingual"),
}


def model_card(manifest: BundleManifest, sizes: Mapping[str, int]) -> str:
    """Return Markdown that describes the bundle, its measured quality, and its use.

    Args:
        manifest: The manifest; ``files`` may be empty.
        sizes: Size in bytes of the graph and the tokenizer, by file name.
    """
    training, backbone = manifest.training_facts, manifest.backbone_facts
    lines = [
        *header(backbone),
        f"# {manifest.name}",
        "",
        f"A text classifier with {len(manifest.labels)} labels, built by CrossTune: the frozen backbone "
        f"`{Path(backbone.name).name}` and a label attention head (`{manifest.head_facts.kind}`) as one "
        f"{manifest.graph.precision} ONNX graph.",
        "",
        "| label | description |",
        "|---|---|",
        *(f"| {_cell(label.name)} | {_cell(' / '.join(label.descriptions))} |" for label in manifest.labels),
        "",
        "## Measured by the build",
        "",
        f"- Trained on {training.examples} examples; accuracy on held-out folds of them: {_percent(training.cv_accuracy)}. "
        "Measure it on texts of your own.",
        *_fewer_layers(training, backbone.layers_used),
        *(f"- {title}: {difference.summary}." for title, difference in manifest.quality_facts.comparisons),
        *([] if (expected := manifest.quality_facts.expected_changes) is None else [f"- {expected.summary}."]),
        f"- Graph {sizes[MODEL_NAME] / 1e6:.1f} MB, tokenizer {sizes[TOKENIZER_NAME] / 1e6:.1f} MB. Texts longer than "
        f"{manifest.tokens.max_length_tokens} tokens are truncated and marked `truncated`.",
        "",
        *_runtimes(manifest.runtimes),
        "## Use",
        "",
        "```python",
        "from crosstune_export import Classifier",
        "",
        'classifier = Classifier.load("PATH")  # on a model hub: Classifier.from_pretrained("OWNER/NAME")',
        'print(classifier.classify(["a text"])[0])',
        "```",
        "",
        "A probability compares the labels with each other. It does not say whether any label fits, unless a threshold is set.",
        "The backbone's licence applies to its weights inside `model.onnx`.",
        "",
    ]
    return "\n".join(lines)


def header(backbone: BackboneFacts) -> list[str]:
    """Return the YAML header of the model hub; licence and languages are those that the backbone's publisher states."""
    licence, languages = PUBLISHED.get(backbone.hub_id or "", (None, None))
    return [
        "---",
        *([f"license: {licence}"] if licence else []),
        *([f"language: {languages}"] if languages else []),
        "library_name: crosstune-export",
        "pipeline_tag: text-classification",
        *([f"base_model: {backbone.hub_id}"] if backbone.hub_id else []),
        "tags: [crosstune, onnx, few-shot, label-descriptions]",
        "---",
        "",
    ]


def _runtimes(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    return [f"Runtimes that read this bundle: {', '.join(names)}.", ""]


def _fewer_layers(training: TrainingFacts, layers_used: int | None) -> list[str]:
    full, taught, lines = training.all_layers, training.taught, []
    if full is not None:
        lines.append(
            f"- To keep within a budget it uses {layers_used} of {full.layers} layers; with all of them accuracy on held-out "
            f"folds was {_percent(full.cv_accuracy)}."
        )
    if taught is not None:
        lines.append(
            f"- Its head uses the first {layers_used} layers and learned the answers of the head on {taught.layers} from a log; on "
            f"held-out texts {taught.summary}."
        )
    return lines


def _percent(rate: float | None) -> str:
    return "not measured" if rate is None else f"{100 * rate:.1f}%"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
