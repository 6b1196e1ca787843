"""The fast kernels on encoders that count positions as RoBERTa does, where padding within a text has no place, and on biased attention."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from crosstune import TrainConfig, train
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.kernels import fast_kernels
from crosstune_export.runtime.session import open_session
from tests.fixtures.encoder_families import FAMILIES, TOKENIZERS, write_random_encoder, write_tokenizer

LONGEST = 64


@pytest.fixture(scope="module", params=["Roberta", "Camembert with the tokenizer of BERT", "MPNet"])
def files(request, tiny_backbone_dir, tiny_examples, tiny_labels, tmp_path_factory):
    """A bundle with padding of id 1, one of id 0, and one with biases for the distance of two tokens."""
    name, *other = request.param.split(maxsplit=1)
    family = next(family for family in FAMILIES if family.name == name)
    folder = tmp_path_factory.mktemp(name)
    tokenizer = tiny_backbone_dir if other or name not in TOKENIZERS else write_tokenizer(family, folder / "tokenizer")
    backbone = write_random_encoder(family, tokenizer, folder / "backbone")
    train(tiny_examples, tiny_labels, TrainConfig(backbone=str(backbone)), device="cpu").save(folder / "a.ckpt")
    built = build(folder / "a.ckpt", folder / "a.bundle", BuildConfig("int8", max_flips_percent=100))
    assert built.shipped.no_fast_kernels == ""
    return read_bundle(folder / "a.bundle")


def answers(files, kernels, lengths, threads=1, place=None):
    """Answers to texts of these lengths, of whose tokens a third is padding; with another position of padding if one is given."""
    model = onnx.load_from_string(files.model)
    [padding] = [item.ints for item in model.graph.node[0].attribute if item.name == "padding"]
    padding[1] = padding[1] if place is None else place
    random = np.random.RandomState(13)
    ids = random.randint(5, 100, (len(lengths), max(lengths)))
    ids[random.rand(*ids.shape) < 1 / 3] = padding[0]
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    feeds = {"input_ids": np.where(mask, ids, padding[0]), "attention_mask": mask}
    settings = {"longest": LONGEST, "threads": threads, "kernels": kernels}
    return open_session(model.SerializeToString(), files.manifest.graph, "here", **settings).run(feeds)


@pytest.mark.slow
def test_padding_within_a_text_counts_as_it_does_for_onnxruntime(files):
    lengths = [2, 5, 17, 40, 60]
    portable, plain = (answers(files, kernels, lengths) for kernels in ("portable", "plain"))
    assert np.abs(portable[0] - plain[0]).max() < 0.02
    assert np.abs(portable[1] - plain[1]).max() < 0.05
    moved = answers(files, "plain", lengths, place=2)
    assert np.abs(portable[1] - moved[1]).max() > 0.1


@pytest.mark.slow
def test_every_kind_gives_the_same_bits(files):
    lengths, kernels = [3, LONGEST, 20, 9], "fast" if fast_kernels().name else "plain"
    expected = answers(files, "plain", lengths)
    for threads in (1, 2):
        for found, right in zip(answers(files, kernels, lengths, threads), expected, strict=True):
            assert (found == right).all()
