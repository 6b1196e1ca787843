"""A small transformer, fine-tuned on the shots: the paper's kind of teacher, slower than the head."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import TrainingError
from crosstune.core.labels import LabelSet
from crosstune.core.token_layout import Text, TokenRow
from crosstune.data.examples import Example

#: Usual values for fine-tuning a small encoder; chosen by hand, not ablated.
EPOCHS = 15
BATCH = 8
LEARNING_RATE, HEAD_LEARNING_RATE = 5e-5, 1e-3
#: Share of the steps over which the learning rate rises; it falls to 0 over the others.
WARM_UP = 0.1
#: Texts that are judged at once.
JUDGED_AT_ONCE = 32


@dataclass(frozen=True)
class FineTunedFit:
    """Fits a copy of an encoder with a linear layer on the mean of its last states; fits a ``teacher.Fit``.

    Attributes:
        labels: L labels.
        encoder: The encoder whose copy is fine-tuned.
        seed: Decides the order of the shots and the start of the linear layer.
    """

    labels: LabelSet
    encoder: Backbone
    seed: int

    def __call__(self, shots: Sequence[Example], texts: Sequence[Text]) -> npt.NDArray[np.float32]:
        """Fine-tune on shots and give class probabilities of N texts, float32 (N, L).

        Raises:
            TrainingError: The weights are not finite.
        """
        rows = self.encoder.tokenize([shot.content for shot in shots])
        gold = torch.tensor(self.labels.indices(shots), device=self.encoder.device)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.seed)
            model = copy.deepcopy(self.encoder.model).train().requires_grad_(True)
            layer = torch.nn.Linear(self.encoder.hidden_size, len(self.labels)).to(self.encoder.device)
            self._tune(model, layer, rows, gold)
        model.eval()
        out = []
        with torch.inference_mode():
            token_rows = self.encoder.tokenize(texts)
            for start in range(0, len(token_rows), JUDGED_AT_ONCE):
                logits = layer(self._mean_states(model, token_rows[start : start + JUDGED_AT_ONCE]))
                out.append(logits.softmax(-1).cpu().numpy())
        probs: npt.NDArray[np.float32] = np.concatenate(out) if out else np.zeros((0, len(self.labels)), np.float32)
        if not np.isfinite(probs).all():
            raise TrainingError("teacher: its weights are not finite. Look for absurd texts, or take another teacher.")
        return probs

    def _tune(self, model: torch.nn.Module, layer: torch.nn.Linear, rows: Sequence[TokenRow], gold: Tensor) -> None:
        groups = [
            {"params": list(model.parameters()), "lr": LEARNING_RATE},
            {"params": list(layer.parameters()), "lr": HEAD_LEARNING_RATE},
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        steps = EPOCHS * -(-len(rows) // BATCH)
        rising = max(1, round(WARM_UP * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
        )
        for _ in range(EPOCHS):
            order = torch.randperm(len(rows)).tolist()
            for start in range(0, len(order), BATCH):
                chunk = order[start : start + BATCH]
                logits = layer(self._mean_states(model, [rows[i] for i in chunk]))  # (B, L)
                loss = torch.nn.functional.cross_entropy(logits, gold[chunk])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_([*model.parameters(), *layer.parameters()], 1.0)
                optimizer.step()
                schedule.step()

    def _mean_states(self, model: torch.nn.Module, rows: Sequence[TokenRow]) -> Tensor:
        """Mean over tokens of the last states, float32 (B, D)."""
        longest = max(len(row.ids) for row in rows)
        pad = self.encoder.tokens.pad_id
        ids = torch.tensor([[*row.ids, *[pad] * (longest - len(row.ids))] for row in rows])
        mask = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows])
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.encoder.has_token_types:
            types = [[*row.type_ids, *[0] * (longest - len(row.type_ids))] for row in rows]
            inputs["token_type_ids"] = torch.tensor(types)
        inputs = {name: value.to(self.encoder.device) for name, value in inputs.items()}
        states: Tensor = model(**inputs).last_hidden_state.float()  # (B, T, D)
        weight = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1)
