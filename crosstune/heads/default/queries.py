"""The label queries: chosen from the tokens of the descriptions, then taught by the shots in a few steps of gradient descent.

Shapes: N texts, T tokens of the longest, D hidden size, K attention layers, L labels, Q queries.

The constants were chosen by hand on pool texts and are not ablated one by one. Teaching as a whole gains 2.2 points of accuracy
(``benchmarks/results/ablations.json``, "queries not taught").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosstune.features.attention import attention_features
from crosstune.features.cache import TextStates
from crosstune.features.spec import FeatureSpec
from crosstune.heads.shares import log_shares, shot_weights

#: Queries per label: the tokens of its descriptions that are least like any token of other labels' descriptions. Many labels share
#: ``MOST_QUERIES``, at least one each: then a label is also told apart by the queries of others, and each costs every key three numbers.
#: With two shots per label, 8, 4 and 2 of them gave 78.7, 79.0 and 81.3% on held-out shots of 150 labels, 8 and 4 gave 71.4 and 70.1% of 77
#: (seed 13, ``benchmarks/results/many_labels.json``).
QUERIES_PER_LABEL, MOST_QUERIES = 8, 320
#: Steps of Adam, and the learning rates of the queries and of a label's weights on their features.
STEPS = 20
QUERY_RATE, WEIGHT_RATE = 4e-3, 2e-2
#: Pull of the queries to where they started, in shots, and of the weights to those that the descriptions give.
QUERY_PULL, WEIGHT_PULL = 1.0, 0.01
#: Multiplications that teaching may take, all folds together. With fewer steps than ``FEWEST_STEPS`` there is no
#: teaching.
WORK_BUDGET = 3e11
FEWEST_STEPS = 5
#: How often queries are taught: for each of five folds, and for all shots.
_FITS = 6


class QueryLearner:
    """Teaches the label queries of a task.

    Attributes:
        steps: How many steps the budget allows, 0 to ``STEPS``.
    """

    def __init__(self, texts: TextStates, spec: FeatureSpec, targets: Tensor, queries: Tensor, weights: Tensor) -> None:
        """Take a task.

        Args:
            texts: States of N texts, with tokens of the layers that ``spec`` attends to.
            spec: Of the features.
            targets: int64 (N,), class indices.
            queries: float32 (K, Q, D), of length 1.
            weights: Weights that the descriptions give a label on their features, float32 (L, K·Q).
        """
        self._targets, self._queries, self._weights = targets, queries, weights
        self._log_shares, self._counted = log_shares(targets, len(weights)), shot_weights(targets).unsqueeze(1)
        longest = max((part.shape[1] for part in texts.tokens), default=0)
        products = 3.0 * len(targets) * longest * queries.numel()  # forward, and backward to both factors
        affordable = int(WORK_BUDGET / (_FITS * products)) if products else 0
        self.steps = min(STEPS, affordable) if affordable >= FEWEST_STEPS else 0
        if not self.steps:
            return
        places = [texts.layers.index(layer) for layer in spec.attention]
        self._states = queries.new_zeros(len(places), len(targets), longest, queries.shape[2])
        self._mask = torch.zeros(len(targets), longest, dtype=torch.int64, device=queries.device)
        for row, part in enumerate(texts.tokens):
            self._states[:, row, : part.shape[1]] = torch.from_numpy(part[places].astype("float32")).to(queries)
            self._mask[row, : part.shape[1]] = 1

    def learn(self, rows: Tensor) -> Tensor:
        """Queries taught by some of the texts; those of labels without any of these texts stay as they are.

        Minimises the cross-entropy of ``(f(x) − mean f) · (s · w_y + Δ_y) + b_y + log_shares_y`` over queries, Δ and b, where f
        are the ``attention_features`` and w_y the weights that the description gives, plus
        ``½ · QUERY_PULL / n · ‖queries − start‖²`` and ``½ · WEIGHT_PULL · ‖Δ‖²``. Only the queries are kept.

        Args:
            rows: int64 (n,), the texts to learn from.

        Returns:
            float32 (K, Q, D), of length 1.
        """
        present, targets = torch.unique(self._targets[rows], return_inverse=True)
        states, mask, start = list(self._states[:, rows]), self._mask[rows], self._queries
        if len(present) < 2:
            return start
        weights, shares = self._weights[present], self._log_shares[present]
        taught = (weights.reshape(-1, start.shape[1]) != 0).any(0).unsqueeze(1)  # (Q, 1)
        with torch.no_grad():
            features = attention_features(states, mask, start)
            mean = (features * self._counted[rows]).mean(0)
            unit = (features - mean).square().sum(1).mean().sqrt().clamp_min(1e-6).reciprocal()
            prior = weights / ((features - mean) * unit @ weights.t()).std(unbiased=False).clamp_min(1e-6)
        with torch.enable_grad():
            moved = torch.zeros_like(start, requires_grad=True)
            delta = torch.zeros_like(prior, requires_grad=True)
            bias = prior.new_zeros(len(present), requires_grad=True)
            groups = [{"params": [moved], "lr": QUERY_RATE}, {"params": [delta, bias], "lr": WEIGHT_RATE}]
            optimizer = torch.optim.Adam(groups)
            for _ in range(self.steps):
                queries = torch.nn.functional.normalize(start + moved * taught, dim=2)
                logits = (attention_features(states, mask, queries) - mean) * unit @ (prior + delta).t() + bias
                pull = QUERY_PULL / len(rows) * moved.square().sum() + WEIGHT_PULL * delta.square().sum()
                loss = torch.nn.functional.cross_entropy(logits + shares, targets) + pull / 2
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return torch.nn.functional.normalize(start + moved.detach() * taught, dim=2)

    def taught_features(self, rows: Tensor) -> Tensor:
        """Features of all texts by queries that some rows of them have taught, float32 (N, K·Q)."""
        with torch.no_grad():
            return attention_features(list(self._states), self._mask, self.learn(rows))


def choose_queries(descriptions: Sequence[Sequence[Tensor]], *, shared: bool) -> tuple[Tensor, Tensor]:
    """The queries of a set of labels.

    Args:
        descriptions: For each of L labels one tensor per sentence, float32 (K, T, D): token states without those of special tokens.
        shared: Whether many labels share ``MOST_QUERIES``. Shots teach which queries of others tell a label apart; without any, each
            label needs its own (zero-shot accuracy on 77 labels 60 instead of 53%, on 150 labels 71 instead of 60%).

    Returns:
        Queries float32 (K, Q, D), of length 1, and the label of each, int64 (Q,). A label gets ``QUERIES_PER_LABEL`` of them,
        fewer where its sentences have fewer tokens or many labels share them. The queries are chosen from the upper layers only.
    """
    most = max(1, min(QUERIES_PER_LABEL, MOST_QUERIES // len(descriptions))) if shared else QUERIES_PER_LABEL
    tokens = [torch.cat([torch.nn.functional.normalize(part, dim=-1) for part in parts], 1) for parts in descriptions]
    owner = torch.cat([torch.full((part.shape[1],), y) for y, part in enumerate(tokens)]).to(tokens[0].device)
    pool = torch.cat(tokens, 1)  # (K, tokens, D)
    upper = pool[min(1, len(pool) - 1) :]
    chosen = []
    for label in range(len(tokens)):
        candidates = torch.nonzero(owner == label).flatten()
        if len(candidates) > most and len(tokens) > 1:
            cosines = upper[:, candidates] @ upper.transpose(1, 2)
            cosines[:, :, candidates] = -1  # of other labels only; a copy of their states would take most of the time
            nearest = cosines.amax(2).mean(0)  # (tokens of the label,)
            candidates = candidates[torch.argsort(nearest, stable=True)[:most]].sort().values
        chosen.append(candidates[:most])
    kept = torch.cat(chosen)
    return pool[:, kept].contiguous(), owner[kept]


def query_weights(owner: Tensor, labels: int, layers: int) -> Tensor:
    """Weights that the descriptions give a label on the features of the queries, float32 (L, K·Q): the mean of its own.

    The lowest of several layers has weight 0: a state there is little more than its word, whose worth the shots must tell.
    """
    is_own = torch.nn.functional.one_hot(owner, labels).to(torch.float32).t()  # (L, Q)
    weights = (is_own / is_own.sum(1, keepdim=True).clamp_min(1)).repeat(1, layers)
    weights[:, : len(owner) * (layers > 1)] = 0
    return weights
