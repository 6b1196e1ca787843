"""Pooling and both heads against the numpy oracle, which shares no code with them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosstune.backbone.frozen import HiddenStates, PoolPositions
from crosstune.core.errors import CheckpointError
from crosstune.features.attention import SHARPNESS
from crosstune.features.pooling import pool_layers, pool_tokens, pooled_features, text_features
from crosstune.features.spec import POOLS, Atom, FeatureSpec
from crosstune.heads.default.head import DEFAULT_TENSORS, PriorHead, mean_atoms
from crosstune.heads.from_tensors import head_from_tensors
from crosstune.heads.paper.head import PaperHead
from tests.oracle.head_reference import (
    reference_attention,
    reference_features,
    reference_paper_probs,
    reference_prior_probs,
)
from tests.tolerances import FEATURES_TO_ORACLE, PROBS_TO_ORACLE, PROBS_TWO_WAYS, ROW_SUM


@st.composite
def encoded(draw):
    """Random hidden states of a padded batch, a feature spec and positions that fit every row."""
    random = np.random.RandomState(draw(st.integers(0, 1 << 31)))
    layers, hidden = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    lengths = draw(st.lists(st.integers(3, 9), min_size=1, max_size=4))
    longest = max(lengths) + draw(st.integers(0, 2))
    states = [random.randn(len(lengths), longest, hidden).astype(np.float32) for _ in range(layers + 1)]
    for row, length in enumerate(lengths):
        for state in states:
            state[row, length:] = 1e3  # padding that would be seen at once
    atoms = draw(
        st.lists(
            st.builds(Atom, st.sampled_from(POOLS), st.integers(0, layers)),
            min_size=1,
            max_size=5,
            unique=True,
        )
    )
    atoms = sorted(atoms, key=lambda atom: POOLS.index(atom.pool))  # those of one pool together, as a spec wants
    attention = tuple(sorted(draw(st.sets(st.integers(0, layers), max_size=2))))
    spec = FeatureSpec(tuple(atoms), draw(st.sampled_from(["concat", "max"])), attention)
    positions = PoolPositions(draw(st.integers(0, 2)), draw(st.integers(1, 3)))
    return states, lengths, spec, positions, random


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def mask_of(lengths, longest):
    return torch.tensor([[int(t < length) for t in range(longest)] for length in lengths])


def oracle(states, lengths, spec, positions):
    return np.array(
        [
            reference_features(
                [state[row] for state in states],
                length,
                [(atom.pool, atom.layer) for atom in spec.atoms],
                spec.merge,
                positions.first,
                positions.mask_from_end,
            )
            for row, length in enumerate(lengths)
        ]
    )


@given(encoded())
def test_features_are_those_of_the_oracle(case):
    states, lengths, spec, positions, _ = case
    tensors = [torch.from_numpy(state) for state in states]
    mask = mask_of(lengths, states[0].shape[1])
    features = text_features(tensors, mask, spec, positions)
    assert features.shape == (len(lengths), spec.size(states[0].shape[2]))
    assert features.dtype == torch.float32
    expected = oracle(states, lengths, spec, positions)
    np.testing.assert_allclose(features.numpy(), expected, rtol=0, atol=FEATURES_TO_ORACLE)


@pytest.mark.parametrize("size", [1.0, 1e5, 1e9])
def test_padding_is_never_the_maximum(size):
    """Some encoders have states of several thousands; a maximum below minus the size of padding must still be the token's."""
    states = torch.full((1, 3, 1, 2), -size)
    states[:, 2] = 0.0  # padding
    pooled = pool_tokens(states, torch.tensor([[1, 1, 0]]), "max", PoolPositions(0, 0))
    assert torch.equal(pooled, torch.full((1, 1, 2), -size))


@given(encoded(), st.integers(1, 5))
def test_what_label_queries_find_is_what_the_oracle_finds(case, count):
    states, lengths, spec, positions, random = case
    hidden = states[0].shape[2]
    queries = unit(random.randn(len(spec.attention), count, hidden))
    tensors = [torch.from_numpy(state) for state in states]
    mask = mask_of(lengths, states[0].shape[1])
    features = text_features(tensors, mask, spec, positions, torch.tensor(queries, dtype=torch.float32))
    assert features.shape == (len(lengths), spec.size(hidden, count))
    expected = [
        reference_attention([state[row] for state in states], length, spec.attention, queries, SHARPNESS)
        for row, length in enumerate(lengths)
    ]
    pooled = spec.size(hidden)
    np.testing.assert_allclose(features.numpy()[:, pooled:], np.array(expected), rtol=0, atol=FEATURES_TO_ORACLE)
    without = text_features(tensors, mask, spec, positions)
    assert torch.equal(features[:, :pooled], without)


@given(encoded())
def test_features_from_cached_pools_are_the_same(case):
    states, lengths, spec, positions, _ = case
    hidden = HiddenStates(tuple(torch.from_numpy(state) for state in states), mask_of(lengths, states[0].shape[1]))
    pooled = pool_layers(hidden, POOLS, positions)
    assert pooled.shape == (len(lengths), len(POOLS), len(states), states[0].shape[2])
    direct = text_features(hidden.states, hidden.mask, spec, positions)
    np.testing.assert_allclose(pooled_features(pooled, POOLS, spec), direct, rtol=0, atol=FEATURES_TO_ORACLE)


@given(encoded(), st.integers(2, 5), st.floats(0, 60))
def test_the_default_head_is_the_oracle(case, labels, scale):
    states, lengths, spec, positions, random = case
    hidden = states[0].shape[2]
    size = spec.size(hidden, 3)
    keys = (random.randn(labels, size) * scale / np.sqrt(size)).astype(np.float32)
    bias = random.randn(labels).astype(np.float32)
    queries = unit(random.randn(len(spec.attention), 3, hidden))
    tensors = {
        "label_keys": torch.from_numpy(keys),
        "label_bias": torch.from_numpy(bias),
        "label_queries": torch.tensor(queries, dtype=torch.float32),
        "scope_keys": torch.zeros(labels, mean_atoms(spec) * hidden),
        "scope_offsets": torch.zeros(0),
        **{name: torch.zeros(size) for name in ("prior_centre", "prior_scale", "prior_shift")},
    }
    head = PriorHead(spec, positions, tensors)
    probs, vector = head([torch.from_numpy(state) for state in states], mask_of(lengths, states[0].shape[1]))
    expected = [
        reference_prior_probs(
            np.concatenate(
                [row, reference_attention([state[i] for state in states], length, spec.attention, queries, SHARPNESS)]
            ),
            keys.astype(float),
            bias.astype(float),
        )
        for i, (row, length) in enumerate(zip(oracle(states, lengths, spec, positions), lengths, strict=True))
    ]
    np.testing.assert_allclose(probs.numpy(), expected, rtol=0, atol=PROBS_TO_ORACLE * max(1, scale))
    np.testing.assert_allclose(probs.sum(1).numpy(), 1, rtol=0, atol=ROW_SUM)
    assert_folded(head, vector, 1, scale)


@given(encoded(), st.integers(2, 5), st.integers(1, 4), st.integers(1, 6))
def test_the_paper_head_is_the_oracle(case, labels, heads, size):
    states, lengths, spec, positions, random = case
    features = spec.size(states[0].shape[2])
    query, key = (random.randn(heads, size, features).astype(np.float32) for _ in range(2))
    vectors = random.randn(labels, features).astype(np.float32)
    head = PaperHead(spec, positions, *map(torch.from_numpy, (query, key, vectors))).requires_grad_(False)
    probs, vector = head([torch.from_numpy(state) for state in states], mask_of(lengths, states[0].shape[1]))
    expected = [
        reference_paper_probs(row, *(array.astype(float) for array in (query, key, vectors)))
        for row in oracle(states, lengths, spec, positions)
    ]
    np.testing.assert_allclose(probs.numpy(), expected, rtol=0, atol=PROBS_TO_ORACLE * 10)
    attention = head.attention(vector)
    assert attention.shape == (len(lengths), heads, labels)
    np.testing.assert_allclose(attention.sum(2).numpy(), 1, rtol=0, atol=ROW_SUM)
    assert_folded(head, vector, heads, 10)


def assert_folded(head, vector, heads, scale):
    """What a build ships, computed as ``docs/bundle_format.md`` writes it, gives the head's probabilities."""
    keys, bias = head.folded()
    assert keys.shape[0] == bias.shape[0] == heads
    flat = keys.reshape(-1, keys.shape[2])  # row h·L + y
    logits = (vector @ flat.t() + bias.reshape(-1)).reshape(len(vector), heads, -1)
    np.testing.assert_allclose(
        logits.softmax(2).mean(1).numpy(), head.probs(vector).numpy(), rtol=0, atol=PROBS_TWO_WAYS * max(1, scale)
    )


SPEC = FeatureSpec((Atom("mean", 1),), attention=(1,))
AT = PoolPositions(1, 0)


def test_the_paper_heads_parameters_do_not_grow_with_the_labels():
    counts = {
        sum(value.numel() for value in PaperHead.start(SPEC, AT, torch.randn(labels, 16), 4, 0).parameters())
        for labels in (2, 3, 100)
    }
    assert counts == {2 * 16 * 16}


def test_the_paper_heads_start_depends_on_the_seed_alone():
    vectors = torch.randn(3, 16)
    starts = [PaperHead.start(SPEC, AT, vectors, 4, seed) for seed in (0, 0, 1)]
    torch.rand(5)  # the global generator does not matter
    starts.append(PaperHead.start(SPEC, AT, vectors, 4, 0))
    assert torch.equal(starts[0].query, starts[1].query)
    assert torch.equal(starts[0].key, starts[3].key)
    assert not torch.equal(starts[0].query, starts[2].query)
    bound = (6 / (16 + 4)) ** 0.5  # Xavier uniform
    assert float(starts[0].query.detach().abs().max()) <= bound
    assert float(starts[0].query.detach().abs().max()) > 0.9 * bound


def test_an_unknown_pool_is_refused():
    with pytest.raises(ValueError, match="pool") as caught:
        pool_tokens(torch.zeros(1, 1, 1, 1), torch.ones(1, 1), "sum", AT)
    assert str(caught.value) == "pool 'sum', expected one of mean, max, first, mask, cls, last"


def default_tensors():
    return {
        "label_bias": torch.zeros(2),
        "label_keys": torch.zeros(2, 7),
        "label_queries": torch.zeros(1, 3, 4),
        "scope_keys": torch.zeros(2, 4),
        "scope_offsets": torch.zeros(9),
        **{name: torch.zeros(7) for name in ("prior_centre", "prior_scale", "prior_shift")},
    }


def paper_tensors():
    return {"key": torch.zeros(3, 2, 4), "label_vectors": torch.zeros(2, 4), "query": torch.zeros(3, 2, 4)}


DEFAULT = ", ".join(DEFAULT_TENSORS)


def spec_for(kind):
    return SPEC if kind == "default" else FeatureSpec(SPEC.atoms)


def refused(kind, tensors):
    with pytest.raises(CheckpointError) as caught:
        head_from_tensors(
            kind, spec_for(kind), AT, tensors, labels=2, hidden_size=4, max_length_tokens=8, where="head.safetensors"
        )
    return str(caught.value)


@pytest.mark.parametrize(("kind", "tensors"), [("default", default_tensors()), ("paper", paper_tensors())])
def test_a_head_comes_back_from_its_tensors(kind, tensors):
    head = head_from_tensors(kind, spec_for(kind), AT, tensors, 2, 4, 8, "x")
    assert head.kind == kind
    assert sorted(head.tensors()) == sorted(tensors)
    assert not any(value.requires_grad for value in head.parameters())


def test_other_kinds_and_tensors_are_refused():
    paper = "key, label_vectors, query"
    assert refused("linear", default_tensors()) == (
        "head.safetensors: head 'linear', expected default or paper. Upgrade crosstune-export."
    )
    for kind, tensors, found, expected in (
        ("default", paper_tensors(), paper, DEFAULT),
        ("paper", default_tensors(), DEFAULT, paper),
        ("default", {}, "", DEFAULT),
    ):
        assert refused(kind, tensors) == f"head.safetensors: tensors {found}, expected {expected}. Train again."


@pytest.mark.parametrize(
    ("kind", "name", "tensor", "found", "expected"),
    [
        ("default", "label_keys", torch.zeros(3, 7), "torch.float32 (3, 7)", "(2, 7)"),
        ("default", "label_keys", torch.zeros(2, 5), "torch.float32 (2, 5)", "(2, 7)"),
        ("default", "label_bias", torch.zeros(2, 1), "torch.float32 (2, 1)", "(2,)"),
        ("default", "prior_scale", torch.zeros(7, dtype=torch.float64), "torch.float64 (7,)", "(7,)"),
        ("default", "label_queries", torch.zeros(2, 3, 4), "torch.float32 (2, 3, 4)", "(1, 3, 4)"),
        ("default", "label_bias", torch.zeros(2, dtype=torch.int64), "torch.int64 (2,)", "(2,)"),
        ("paper", "label_vectors", torch.zeros(1, 4), "torch.float32 (1, 4)", "(2, 4)"),
        ("paper", "key", torch.zeros(3, 1, 4), "torch.float32 (3, 1, 4)", "(3, 2, 4)"),
        ("paper", "query", torch.zeros(3, 2, 4, dtype=torch.float16), "torch.float16 (3, 2, 4)", "(3, 2, 4)"),
    ],
)
def test_another_shape_or_type_is_refused(kind, name, tensor, found, expected):
    tensors = (default_tensors() if kind == "default" else paper_tensors()) | {name: tensor}
    assert refused(kind, tensors) == (
        f"head.safetensors: tensor {name} is {found}, expected torch.float32 {expected}. Train again."
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("kind", "name"), [("default", "label_queries"), ("paper", "query")])
def test_a_tensor_that_is_not_finite_is_refused(kind, name, value):
    tensors = default_tensors() if kind == "default" else paper_tensors()
    tensors[name].view(-1)[[1, 3]] = value
    assert refused(kind, tensors) == (f"head.safetensors: tensor {name} has 2 values that are not finite. Train again.")
