"""The bundles of the quickstart: torch, onnxruntime in fp32 and int8, and the numpy oracle agree."""

from __future__ import annotations

import numpy as np
import pytest

from crosstune import load_checkpoint, read_examples
from crosstune.checkpoint import predict_proba
from crosstune.features.attention import SHARPNESS
from crosstune_export import Classifier
from crosstune_export.builder.parity import graph_probs
from crosstune_export.builder.probe_inputs import PROBES
from crosstune_export.bundle.files import read_bundle
from crosstune_export.runtime.session import open_session
from crosstune_export.runtime.tokenization import TextTokenizer
from tests import tolerances
from tests.oracle.head_reference import reference_attention, reference_features, reference_prior_probs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoint(quickstart):
    return load_checkpoint(quickstart[0] / "support.ckpt")


@pytest.fixture(scope="module")
def int8_bundle(quickstart):
    return quickstart[0] / "support.bundle"


@pytest.fixture(scope="module")
def texts(support_desk):
    """At least 1,000 texts from 0 tokens to beyond the maximum."""
    rows = [row.text for path in (support_desk.train, support_desk.test) for row in read_examples(path)]
    words = " ".join(rows).split()
    cut = [" ".join(words[11 * i : 11 * i + 1 + i % 40]) for i in range(600)]
    long = [" ".join(words[40 * i : 40 * i + 8 * i]) for i in range(45)]
    return [*rows, *PROBES, *cut, *long]


def test_fp32_is_torch(checkpoint, fp32_bundle, minilm, texts):
    assert len(texts) >= 1000
    expected = predict_proba(checkpoint, minilm, texts)
    classifier = Classifier.load(fp32_bundle, threads=2)
    lengths = [len(ids) for ids in classifier.token_ids(texts)]
    assert (min(lengths), max(lengths)) == (2, 256)
    for batch_size in (1, 8, 32):
        found = classifier.predict_proba(texts, batch_size=batch_size)
        assert np.abs(found - expected).max() <= tolerances.FP32_GRAPH_TO_TORCH


def test_int8_gives_the_same_labels(int8_bundle, fp32_bundle, support_desk):
    rows = [row.text for row in read_examples(support_desk.test)]
    small, large = Classifier.load(int8_bundle), Classifier.load(fp32_bundle)
    same = small.predict_proba(rows).argmax(1) == large.predict_proba(rows).argmax(1)
    assert same.mean() >= 0.98
    labels = len(small.labels)  # each has a key, 8 queries in 2 layers and a scope key, in float16
    assert sum(path.stat().st_size for path in int8_bundle.iterdir()) <= 23_700_000 + 25_000 * labels


@pytest.mark.fault("H8")
def test_int8_answers_depend_on_the_text_alone(int8_bundle, texts):
    """Whatever the batch, its padding, and the number of threads."""
    some = texts[::3]
    single = Classifier.load(int8_bundle)
    alone = single.predict_proba(some, batch_size=1)
    others = [single.predict_proba(some, batch_size=size) for size in (8, 64)]
    others.append(Classifier.load(int8_bundle, threads=2).predict_proba(some, batch_size=8))
    files = read_bundle(int8_bundle)
    tokenizer = TextTokenizer(files.tokenizer, files.manifest.tokens, False, "tokenizer")
    session = open_session(files.model, files.manifest.graph, "int8")
    others.append(graph_probs(session, tokenizer, tokenizer.rows(some), 16))
    for found in others:
        assert np.abs(found - alone).max() <= tolerances.INT8_TOGETHER_TO_ALONE
        assert (found.argmax(1) == alone.argmax(1)).all()


def test_the_numpy_oracle(checkpoint, fp32_bundle, minilm, texts):
    head = checkpoint.head
    few = texts[:6] + list(PROBES[:4])
    found = Classifier.load(fp32_bundle).predict_proba(few, batch_size=1)
    atoms = [(atom.pool, atom.layer) for atom in head.spec.atoms]
    for row, probs in zip(minilm.tokenize(few), found, strict=True):
        hidden = minilm.forward([row])
        states = [state[0].numpy() for state in hidden.states]
        pooled = reference_features(states, len(row.ids), atoms, head.spec.merge, head.positions.first, 0)
        queries = head.label_queries.double().numpy()
        found_by = reference_attention(states, len(row.ids), head.spec.attention, queries, SHARPNESS)
        features = np.concatenate([pooled, found_by])
        expected = reference_prior_probs(
            features, head.label_keys.numpy().astype(float), head.label_bias.numpy().astype(float)
        )
        assert np.abs(probs - expected).max() <= tolerances.FP32_GRAPH_TO_TORCH
