"""Chooses early exits: small heads that answer easy texts as the whole graph would, after a part of its layers.

The heads are taught by the graph's own answers to the calibration texts, and judged by answers to texts that they have not learned
from (Teerapittayanon et al. 2016; the bound on label changes is that of split conformal risk control, Angelopoulos et al. 2022).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper

from crosstune.core.errors import GateError
from crosstune.core.token_layout import TokenRow
from crosstune.data.sampling import assign_folds
from crosstune.heads.default.teaching import FOLDS, RANK, imitate, same_share
from crosstune_export.builder import parity
from crosstune_export.builder.passes import classify_function, early_exits
from crosstune_export.builder.passes.early_exits import ExitHead
from crosstune_export.builder.search import Trial
from crosstune_export.builder.task import BuildTask
from crosstune_export.bundle.facts import ExitFacts, PredictionDifference
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.runtime.session import open_inner
from crosstune_export.runtime.tokenization import TextTokenizer

Array = npt.NDArray[np.float64]

#: Fewest different texts: thresholds chosen on 50 texts changed up to 5.5% of the labels at a budget of 2%.
LEAST_TEXTS = 200
#: Exits must save this share of the time, by the number of layers that texts run.
LEAST_GAIN = 0.1
#: Time of an exit, as a share of the whole graph's: measured 0.02 for a head and its condition.
HEAD_COST = 0.02
#: Strengths of the penalty, from which held-out cross-entropy chooses; thresholds to try for each exit. Chosen by hand.
PENALTIES, THRESHOLDS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3), 48
#: Strengths of the penalty of the similarity's regression, from which the leave-one-out error chooses.
RIDGES = (0.003, 0.03, 0.3, 3.0)


@dataclass(frozen=True)
class _Teacher:
    """Answers of the whole graph to N texts.

    Attributes:
        probs: By onnxruntime's kernels, float64 (N, L).
        by_kernels: The same by all kernels that the build judges, onnxruntime's first.
        similarity: float64 (N,); None for a graph without it.
        means: Mean token states of length 1 at each exit, float64 (N, D).
    """

    probs: Array
    by_kernels: tuple[Array, ...]
    similarity: Array | None
    means: tuple[Array, ...]


@dataclass(frozen=True)
class _Taught:
    """A head, and its answers to texts that it has not learned from.

    Attributes:
        head: The head, with threshold 2.
        probs: float64 (N, L).
        similarity: float64 (N,); None for a graph without it.
    """

    head: ExitHead
    probs: Array
    similarity: Array | None


@dataclass(frozen=True)
class Exits:
    """A graph with early exits.

    Attributes:
        trial: The graph, instead of the one that was chosen.
        facts: What they do.
        threshold: Probability below which a text gets no label, so that as many texts get one as without exits; None for none.
        min_similarity: The same for the similarity.
    """

    trial: Trial
    facts: ExitFacts
    threshold: float | None
    min_similarity: float | None


def with_exits(
    shipped: Trial, task: BuildTask, percent: float, threshold: float | None, min_similarity: float | None, seed: int
) -> Exits | None:
    """Return a graph with exits after the word vectors and after half of the layers.

    Args:
        shipped: The graph that was chosen.
        task: Its calibration texts must be at least ``LEAST_TEXTS`` different ones.
        percent: Percent (0 to 100) of texts whose label may change.
        threshold: Probability below which a text gets no label; None for none.
        min_similarity: The same for the similarity.
        seed: Assigns texts to folds.

    Returns:
        None if exits within this budget save less than ``LEAST_GAIN`` of the time.

    Raises:
        GateError: There are too few texts, or the graph is no int8 encoder of BERT's form.
    """
    rows = list(dict.fromkeys(task.texts.real))
    if len(rows) < LEAST_TEXTS:
        raise GateError(
            f"early_exit: found {len(rows)} different texts, expected at least {LEAST_TEXTS}. "
            "Give a file of texts without labels as calibration (--calibration)."
        )
    model = onnx.load_from_string(shipped.model)
    try:
        states = classify_function.layer_states(model)
    except classify_function.NoFunctionError as error:
        raise GateError(
            f"early_exit: the graph {shipped.variant.name!r} is no int8 encoder of BERT's form ({error}). "
            "Build without early exits (--early-exit), or with --precision int8."
        ) from error
    plain = classify_function.inlined(model)
    layers = tuple(dict.fromkeys((0, (len(states) - 1) // 2)))
    answers = _ask(plain, [states[layer] for layer in layers], rows, task.tokenizer, shipped.facts)
    for kernels in shipped.kernels[1:]:
        probs = parity.graph_probs(shipped.open(kernels=kernels), task.tokenizer, rows, 1).astype(np.float64)
        answers = replace(answers, by_kernels=(*answers.by_kernels, probs))
    folds = np.asarray(assign_folds(answers.probs.argmax(1).tolist(), FOLDS, seed))
    taught = [_teach(layer, means, answers, folds) for layer, means in zip(layers, answers.means, strict=True)]
    costs = [layer / (len(states) - 1) + HEAD_COST * (number + 1) for number, layer in enumerate(layers)]
    costs.append(1 + HEAD_COST * len(layers))
    thresholds = choose_thresholds([part.probs for part in taught], answers.by_kernels, costs, percent / 100)
    where = exit_of([part.probs for part in taught], thresholds)
    expected = float(np.mean(np.asarray(costs)[where]))
    if expected > 1 - LEAST_GAIN:
        return None
    heads = tuple(
        replace(part.head, threshold=least) for part, least in zip(taught, thresholds, strict=True) if least <= 1
    )
    early_exits.apply(plain, states, heads)
    if shipped.facts.function is not None:
        classify_function.apply_with_exits(plain, model, [head.layer for head in heads])
    data = bytes(plain.SerializeToString(deterministic=True))
    size = shipped.size_bytes + len(data) - len(shipped.model)
    trial = replace(shipped, model=data, size_bytes=size, passes={**shipped.passes, "early_exits": len(heads)})
    probs = _chosen([part.probs for part in taught], answers.probs, where)
    truncated = _on_truncated(shipped, trial, task)
    used = [number for number, least in enumerate(thresholds) if least <= 1]
    facts = ExitFacts(
        layers=tuple(head.layer for head in heads),
        thresholds=tuple(head.threshold for head in heads),
        shares=tuple(float((where == number).mean()) for number in (*used, len(layers))),
        texts=len(rows),
        label_changes=label_changes([part.probs for part in taught], answers.by_kernels, where),
        truncated_texts=truncated.texts,
        truncated_label_changes=truncated.label_changes,
        expected_time=expected,
    )
    if answers.similarity is not None and min_similarity is not None:
        early = [part.similarity for part in taught if part.similarity is not None]
        min_similarity = same_share(answers.similarity, _chosen(early, answers.similarity, where), min_similarity)
    if threshold is not None:
        threshold = same_share(answers.probs.max(1), probs.max(1), threshold)
    return Exits(trial, facts, threshold, min_similarity)


def _on_truncated(shipped: Trial, trial: Trial, task: BuildTask) -> PredictionDifference:
    """Compare a graph with exits with the one without, on truncated texts, which the heads have not learned from.

    Of several kernels, those that change the most labels count.
    """
    rows = task.texts.truncated
    if not rows:
        return PredictionDifference(0, (1,), 0.0, 0)
    found = []
    for kernels in trial.kernels:
        by_all = parity.graph_probs(shipped.open(kernels=kernels), task.tokenizer, rows, 1)
        found.append(parity.compare(trial.open(kernels=kernels), task.tokenizer, rows, by_all))
    return max(found, key=lambda part: part.label_changes)


def choose_thresholds(
    heads: Sequence[Array], answers: Sequence[Array], costs: Sequence[float], budget: float
) -> tuple[float, ...]:
    """Return the threshold of each exit with which N texts take the least time within a budget of label changes.

    Args:
        heads: Probabilities of texts that a head has not learned from, float64 (N, L), for each exit.
        answers: Probabilities by the whole graph, float64 (N, L), by each kind of kernels.
        costs: Time of a text that leaves at each exit, and of one that does not.
        budget: Allowed share of label changes, (changes + 1) / (N + 1), compared with each of ``answers``.

    Returns:
        For each exit a probability, or 2 if no text may leave there.
    """
    wrong, count = _wrong(heads, answers), len(answers[0])
    texts, confidence = np.arange(count), [probs.max(1) for probs in heads]
    best, chosen = costs[-1], (2.0,) * len(heads)
    for thresholds in itertools.product(*map(_candidates, confidence)):
        where = _exit_of(confidence, thresholds)
        cost = float(np.mean(np.asarray(costs)[where]))
        if cost < best and wrong[:, where, texts].sum(1).max() + 1 <= budget * (count + 1):
            best, chosen = cost, thresholds
    return chosen


def label_changes(heads: Sequence[Array], answers: Sequence[Array], where: npt.NDArray[np.int64]) -> int:
    """Return how many labels change where texts leave at ``where``: the most over ``answers``, as in ``choose_thresholds``."""
    return int(_wrong(heads, answers)[:, where, np.arange(len(where))].sum(1).max())


def _wrong(heads: Sequence[Array], answers: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """Return whether a text that leaves at an exit, or at none, gets another label than by the whole graph, (A, E + 1, N)."""
    labels, none = [probs.argmax(1) for probs in answers], np.zeros(len(answers[0]), np.bool_)
    return np.stack([np.stack([*(probs.argmax(1) != each for probs in heads), none]) for each in labels])


def exit_of(heads: Sequence[Array], thresholds: Sequence[float]) -> npt.NDArray[np.int64]:
    """Return at which exit each of N texts leaves, int64 (N,); the number of exits for one that does not leave."""
    return _exit_of([probs.max(1) for probs in heads], thresholds)


def _exit_of(confidence: Sequence[Array], thresholds: Sequence[float]) -> npt.NDArray[np.int64]:
    where = np.full(len(confidence[0]), len(confidence), np.int64)
    for number in reversed(range(len(confidence))):
        where[confidence[number] >= thresholds[number]] = number
    return where


def _candidates(best: Array) -> tuple[float, ...]:
    """Return thresholds to try, rounded to float32: evenly spaced ones of the values, and 2."""
    ordered = np.sort(best)[:: max(1, len(best) // THRESHOLDS)].astype(np.float32)
    return (2.0, *sorted({float(value) for value in ordered}, reverse=True))


def _chosen(heads: Sequence[Array], answers: Array, where: npt.NDArray[np.int64]) -> Array:
    """Return the answers that texts get, each from where it leaves."""
    return np.stack([*heads, answers])[where, np.arange(len(where))]


def _ask(
    model: onnx.ModelProto,
    states: Sequence[str],
    rows: Sequence[TokenRow],
    tokenizer: TextTokenizer,
    facts: GraphFacts,
) -> _Teacher:
    """Run the whole graph on texts, and return its answers and mean states."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = [name for name in facts.outputs if name != "text_vector"]
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in states)
    where, disabled = "the graph to add exits to", facts.disabled_optimizers
    session = open_inner(watched.SerializeToString(), where, disabled_optimizers=disabled)
    probs, similarity = [], []
    means: list[list[npt.NDArray[np.float32]]] = [[] for _ in states]
    for row in rows:
        feeds = {name: array for name, array in tokenizer.batch([row]).feeds().items() if name in facts.inputs}
        answer = dict(zip([*outputs, *states], session.run([*outputs, *states], feeds), strict=True))
        probs.append(answer["probs"][0])
        similarity.append(answer["scope"][0] if "scope" in answer else 0.0)
        for name, kept in zip(states, means, strict=True):
            kept.append(answer[name][0].sum(0))
    by_portable = np.stack(probs).astype(np.float64)
    vectors = (np.stack(kept).astype(np.float64) for kept in means)
    return _Teacher(
        by_portable,
        (by_portable,),
        np.array(similarity, np.float64) if "scope" in outputs else None,
        tuple(vector / np.linalg.norm(vector, axis=1, keepdims=True) for vector in vectors),
    )


def _teach(layer: int, vectors: Array, answers: _Teacher, folds: npt.NDArray[np.int64]) -> _Taught:
    """Fit a head to the graph's answers."""
    centre = vectors.mean(0)
    left, scale, right = np.linalg.svd(vectors - centre, full_matrices=False)
    rank = min(RANK, int((scale > 1e-4 * scale[0]).sum()))
    basis, right = left[:, :rank] * scale[:rank], right[:rank]
    nothing, probs = torch.zeros(answers.probs.shape, dtype=torch.float64), torch.tensor(answers.probs)
    taught = imitate(torch.tensor(basis), nothing, probs, folds, (0.0,), PENALTIES)
    keys = right.T @ taught.weights  # (D, L)
    head = ExitHead(layer, keys.T.astype(np.float32), (taught.bias - centre @ keys).astype(np.float32), 2.0)
    if answers.similarity is None:
        return _Taught(head, taught.held_out, None)
    similarity, weights = _teach_similarity(left[:, :rank], scale[:rank], answers.similarity)
    key = right.T @ weights
    start = answers.similarity.mean() - centre @ key
    head = replace(head, similarity_key=key[None].astype(np.float32), similarity_bias=np.array([start], np.float32))
    return _Taught(head, taught.held_out, similarity)


def _teach_similarity(left: Array, scale: Array, similarity: Array) -> tuple[Array, Array]:
    """Return leave-one-out predictions (N,) and the weights (r,) of a ridge regression."""
    centred = similarity - similarity.mean()
    fits = []
    for ridge in RIDGES:
        shrunk = scale**2 / (scale**2 + ridge)
        error = (centred - left @ (shrunk * (left.T @ centred))) / (1 - (left**2 * shrunk).sum(1))
        fits.append((float((error**2).mean()), similarity - error, shrunk / scale * (left.T @ centred)))
    _, predicted, weights = min(fits, key=lambda fit: fit[0])
    return predicted, weights
