"""Small random encoders of families other than BERT: what trains, builds and verifies, and the reason where something does not."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from crosstune import BackboneError, TrainConfig, train
from crosstune_export import BundleContentError, verify
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.inspection import inspect_bundle

_SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 66,
    "initializer_range": 0.15,
    "pad_token_id": 0,
}
_ENDS = {"bos_token_id": 2, "eos_token_id": 3}


@dataclass(frozen=True)
class Family:
    """A class of encoder in transformers, the settings of a small one, and what of it does not work.

    Attributes:
        name: Its classes in transformers are this name with ``Config`` and ``Model``.
        settings: Settings of the configuration.
        model: The class of the model, if it has another name.
        not_trained: The reason why it cannot be trained on; None if it can.
        not_built: The reason why no bundle can be built; None if one can.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    not_trained: str | None = None
    not_built: str | None = None


FAMILIES = (
    Family("MPNet", _SIZE),
    Family(
        "ModernBert",
        _SIZE | _ENDS | {"num_hidden_layers": 4, "local_attention": 8, "cls_token_id": 2, "sep_token_id": 3},
        not_built="a node LayerNormalization with the inputs ff,",
    ),
    Family("EuroBert", _SIZE | _ENDS | {"num_key_value_heads": 2, "mask_token_id": 4}),
    Family("Qwen3", _SIZE | _ENDS | {"num_key_value_heads": 1, "head_dim": 16}),
    Family(
        "DebertaV2",
        _SIZE
        | {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"], "share_att_key": True}
        | {"norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0},
        not_built="a node Squeeze with the inputs ll",
    ),
    Family(
        "MobileBert",
        _SIZE | {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
        not_built="the operator 'Pad' of ai.onnx",
    ),
    Family(
        "T5",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "pad_token_id": 0},
        model="T5EncoderModel",
        not_trained="weights are missing, first decoder",
    ),
)


@pytest.fixture
def random_encoder(tmp_path, tiny_backbone_dir):
    """A random encoder of a family, with the tokenizer of the tiny BERT."""
    import torch
    import transformers

    def make(family: Family) -> Path:
        folder = shutil.copytree(tiny_backbone_dir, tmp_path / family.name)
        words = len(json.loads((folder / "tokenizer.json").read_bytes())["model"]["vocab"])
        config = getattr(transformers, f"{family.name}Config")(vocab_size=words, **family.settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            model = getattr(transformers, family.model or f"{family.name}Model")(config)
            with torch.no_grad():
                for value in model.parameters():
                    if value.ndim == 1:
                        value.add_(0.1 * torch.randn_like(value))
        model.save_pretrained(folder)
        return folder

    return make


# onnxruntime's optimizer leaves a temporary folder to the garbage collector when one of its rules raises an error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.usefixtures("quick_builds")
@pytest.mark.fault("L24")
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_trains_builds_and_verifies(family, random_encoder, tmp_path, tiny_examples, tiny_labels):
    config = TrainConfig(backbone=str(random_encoder(family)))
    if family.not_trained is not None:
        with pytest.raises(BackboneError, match=family.not_trained):
            train(tiny_examples, tiny_labels, config, device="cpu")
        return
    checkpoint = tmp_path / "a.ckpt"
    train(tiny_examples, tiny_labels, config, device="cpu").save(checkpoint)
    for precision in ("fp32", "int8"):
        bundle, settings = tmp_path / f"{precision}.bundle", BuildConfig(precision, max_flips_percent=100)
        if family.not_built is not None:
            with pytest.raises(BundleContentError, match=family.not_built):
                build(checkpoint, bundle, settings)
            continue
        quality = build(checkpoint, bundle, settings).manifest.quality_facts
        assert quality.fp32_to_torch.max_difference <= 1e-5
        assert quality.fp32_to_torch.label_changes == quality.batch_invariance.label_changes == 0
        layers = family.settings["num_hidden_layers"]
        assert inspect_bundle(bundle)["attention"] == f"attention fused in 0 of {layers} layers"
        assert verify(bundle).selftest.wrong_ids == 0
