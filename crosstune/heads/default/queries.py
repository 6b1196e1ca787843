"""Teaches the label queries what to look for: a few steps of gradient descent that start at the descriptions' tokens.

Shapes: N texts, T tokens of the longest, D hidden size, K attention layers, L labels, Q queries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crosstune.features.attention import attention_features
from crosstune.features.cache import TextStates
from crosstune.features.pooling import FeatureSpec

#: Steps of Adam, and how far one moves a number of a query and of a label's weights on what queries find.
STEPS = 20
QUERY_RATE, WEIGHT_RATE = 4e-3, 2e-2
#: Pull of the queries to where they started, in shots, and of the weights to the descriptions'.
QUERY_PULL, WEIGHT_PULL = 1.0, 0.01
#: Multiplications that learning may take, all folds together; with fewer steps than ``FEWEST_STEPS`` there is none.
WORK_BUDGET = 3e11
FEWEST_STEPS = 5
#: How often it is done: for each of five folds, and for all shots.
_FITS = 6


class QueryLearner:
    """The texts of a task, and what its labels ask before any shot is seen.

    Attributes:
        steps: How many are affordable, 0 to ``STEPS``.
    """

    def __init__(self, texts: TextStates, spec: FeatureSpec, targets: Tensor, queries: Tensor, own: Tensor) -> None:
        """Take a task.

        Args:
            texts: States of N texts, with tokens of the layers that ``spec`` attends to.
            spec: Of the features.
            targets: int64 (N,), class indices.
            queries: float32 (K, Q, D), of length 1.
            own: A label's own weights on what they find, float32 (L, K·Q).
        """
        self._targets, self._queries, self._own = targets, queries, own
        longest = max((part.shape[1] for part in texts.tokens), default=0)
        products = 3.0 * len(targets) * longest * queries.numel()  # forwards, and backwards to both factors
        affordable = int(WORK_BUDGET / (_FITS * products)) if products else 0
        self.steps = min(STEPS, affordable) if affordable >= FEWEST_STEPS else 0
        if not self.steps:
            return
        at = [texts.layers.index(layer) for layer in spec.attention]
        self._states = queries.new_zeros(len(at), len(targets), longest, queries.shape[2])
        self._mask = torch.zeros(len(targets), longest, dtype=torch.int64, device=queries.device)
        for row, part in enumerate(texts.tokens):
            self._states[:, row, : part.shape[1]] = torch.from_numpy(part[at].astype("float32")).to(queries)
            self._mask[row, : part.shape[1]] = 1

    def learn(self, rows: Tensor) -> Tensor:
        """Queries that some of the texts have taught; those of labels without any stay as they are.

        Minimises the cross-entropy of ``(f(x) − mean f) · (s · own_y + Δ_y) + b_y`` over queries, Δ and b, where f is what
        ``attention_features`` finds, with ``½ · QUERY_PULL / n · ‖queries − start‖²`` and ``½ · WEIGHT_PULL · ‖Δ‖²``. Only the
        queries are kept.

        Args:
            rows: int64 (n,), the texts to learn from.

        Returns:
            float32 (K, Q, D), of length 1.
        """
        seen, targets = torch.unique(self._targets[rows], return_inverse=True)
        states, mask, start = list(self._states[:, rows]), self._mask[rows], self._queries
        if len(seen) < 2:
            return start
        taught = (self._own[seen].reshape(-1, start.shape[1]) != 0).any(0).unsqueeze(1)  # (Q, 1)
        with torch.no_grad():
            found = attention_features(states, mask, start)
            mean = found.mean(0)
            unit = (found - mean).square().sum(1).mean().sqrt().clamp_min(1e-6).reciprocal()
            prior = self._own[seen] / ((found - mean) * unit @ self._own[seen].t()).std(unbiased=False).clamp_min(1e-6)
        with torch.enable_grad():
            moved = torch.zeros_like(start, requires_grad=True)
            delta = torch.zeros_like(prior, requires_grad=True)
            bias = prior.new_zeros(len(seen), requires_grad=True)
            groups = [{"params": [moved], "lr": QUERY_RATE}, {"params": [delta, bias], "lr": WEIGHT_RATE}]
            optimizer = torch.optim.Adam(groups)
            for _ in range(self.steps):
                asked = torch.nn.functional.normalize(start + moved * taught, dim=2)
                logits = (attention_features(states, mask, asked) - mean) * unit @ (prior + delta).t() + bias
                pull = QUERY_PULL / len(rows) * moved.square().sum() + WEIGHT_PULL * delta.square().sum()
                loss = torch.nn.functional.cross_entropy(logits, targets) + pull / 2
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return torch.nn.functional.normalize(start + moved.detach() * taught, dim=2)

    def found(self, rows: Tensor) -> Tensor:
        """What queries that some of the texts have taught find in all texts, float32 (N, K·Q)."""
        with torch.no_grad():
            return attention_features(list(self._states), self._mask, self.learn(rows))
