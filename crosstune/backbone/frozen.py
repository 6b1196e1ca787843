"""The frozen backbone: texts in, hidden states of every layer out. Its weights are never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crosstune.backbone.loading import (
    PACKAGED,
    check_folder,
    from_transformers,
    length_limit,
    local_folder,
    packaged_folder,
    trained_length,
)
from crosstune.core.errors import BackboneError, ConfigError
from crosstune.core.token_layout import Text, TokenLayout, TokenRow, limit_text

#: Fields of a configuration that change what the same weights compute.
_USES = (
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "hidden_activation",
    "activation",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "norm_eps",
    "rms_norm_eps",
)


@dataclass(frozen=True)
class HiddenStates:
    """States of a batch of B texts padded to T tokens.

    Attributes:
        states: One float32 tensor (B, T, D) a layer, the embeddings first: layers + 1 of them.
        mask: int64 (B, T), 1 where there is a token.
    """

    states: tuple[Tensor, ...]
    mask: Tensor


@dataclass(frozen=True)
class PoolPositions:
    """Where single tokens stand in a row.

    Attributes:
        first: Index of the text's first token (of the final special token when the text is empty).
        mask_from_end: Distance of the template's mask from the end of a row, 1 being the last token; 0 without a mask.
    """

    first: int
    mask_from_end: int


class FrozenBackbone:
    """A transformers encoder with gradients off, and its tokenizer.

    Example:
        >>> backbone = FrozenBackbone.load("minilm")
        >>> backbone.hidden_size, backbone.layer_count
        (384, 6)
        >>> states = backbone.forward([backbone.tokenize(["where is my parcel?"])[0]])
        >>> len(states.states), states.states[0].shape
        (7, torch.Size([1, 7, 384]))
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, device: str, max_length_tokens: int) -> None:  # noqa: ANN401
        self.name = name
        self.device = device
        self.model = model.to(device).eval().requires_grad_(False)
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text
        self._mask_id: int | None = tokenizer.mask_token_id
        self.tokens = self._token_layout(tokenizer, max_length_tokens)

    @classmethod
    def load(cls, name: str, *, device: str = "auto", max_length_tokens: int | None = None) -> FrozenBackbone:
        """Load a backbone.

        Args:
            name: ``minilm`` (the packaged all-MiniLM-L6-v2), a folder in the transformers layout, or a hub id.
            device: ``auto`` (CUDA where it is), ``cpu`` or ``cuda``.
            max_length_tokens: Longer texts are cut; the backbone's own limit when None.

        Raises:
            BackboneError: It cannot be loaded, or is not the one that was pinned.
            MissingExtraError: ``minilm`` without its package.
            ConfigError: CUDA asked for and not there, or a length beyond the backbone's.
        """
        device = resolve_device(device)
        source = cls._source(name)
        model, tokenizer = from_transformers(name, source)
        limit = length_limit(model, tokenizer)
        if max_length_tokens is not None and not 8 <= max_length_tokens <= limit:
            raise ConfigError(f"max_length_tokens: found {max_length_tokens}, expected 8 to {limit} for {name}.")
        return cls(name, model, tokenizer, device, max_length_tokens or min(limit, trained_length(source) or limit))

    @staticmethod
    def _source(name: str) -> str:
        """What transformers is to load: a folder, or the hub id as it stands."""
        if name in PACKAGED:
            return str(packaged_folder(name))
        folder = local_folder(name)
        if folder is not None:
            check_folder(folder)
            return str(folder)
        if name.startswith(("/", "~", ".")) or name.count("/") > 1 or Path(name).exists():
            raise BackboneError(
                f"backbone: {name} is not a folder, expected 'minilm', a folder with config.json, or a hub id. Check the path."
            )
        return name

    @property
    def hidden_size(self) -> int:
        """D."""
        return int(self.model.config.hidden_size)

    @property
    def layer_count(self) -> int:
        """Transformer layers; hidden states are one more, the embeddings."""
        return int(self.model.config.num_hidden_layers)

    @property
    def head_count(self) -> int:
        """Attention heads of a layer; 0 where the configuration does not say."""
        return int(getattr(self.model.config, "num_attention_heads", 0) or 0)

    @property
    def has_token_types(self) -> bool:
        """Whether pairs are told apart by token types."""
        return int(getattr(self.model.config, "type_vocab_size", 0) or 0) > 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over every weight, what the configuration says of their use, and the tokenizer."""
        digest = hashlib.sha256()
        uses = {name: getattr(self.model.config, name, None) for name in _USES}
        digest.update(json.dumps(uses, default=str).encode())
        for key, value in sorted(self.model.state_dict().items()):
            if key.endswith(("position_ids", "token_type_ids")) or key.startswith("pooler."):
                continue  # buffers that some versions keep, and a pooler that nothing here uses
            digest.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        digest.update(self.tokenizer_json)
        return digest.hexdigest()

    @cached_property
    def tokenizer_json(self) -> bytes:
        """The tokenizer in the format of the tokenizers library, without padding and truncation."""
        return bytes(self._tokenizer.to_str().encode("utf-8"))

    def with_template(self, template: str) -> TokenLayout:
        """The layout that places every text into a template.

        Args:
            template: Such as ``{text} This is about {mask}.``; white space around the places does not count.

        Raises:
            BackboneError: The backbone has no mask token.
            ConfigError: The template does not hold ``{text}`` once, followed by ``{mask}`` once, or leaves no room for a text.
        """
        before, found, after = template.partition("{text}")
        lead, masked, tail = after.partition("{mask}")
        if not found or not masked or "{mask}" in before + tail or "{text}" in lead + tail:
            raise ConfigError(f"template: found {template!r}, expected {{text}} and after it {{mask}}, once each.")
        if self._mask_id is None:
            raise BackboneError(f"{self.name}: has no mask token, expected one for a template. Use another feature.")
        prefix_ids = self.tokens.prefix_ids + self._plain_ids(before)
        suffix_ids = (*self._plain_ids(lead), self._mask_id, *self._plain_ids(tail), *self.tokens.suffix_ids)
        around, most = len(prefix_ids + self.tokens.infix_ids + suffix_ids), self.tokens.max_length_tokens
        if around + 2 > most:  # a token of each text of a pair
            raise ConfigError(
                f"template: has {around} tokens, expected at most {most - 2}: a row has {most}, and a text needs some. Shorten it."
            )
        return replace(self.tokens, prefix_ids=prefix_ids, suffix_ids=suffix_ids)

    def pool_positions(self, tokens: TokenLayout) -> PoolPositions:
        """Where the text's first token and the template's mask stand in rows of a layout."""
        suffix = tokens.suffix_ids
        mask = len(suffix) - suffix.index(self._mask_id) if self._mask_id in suffix else 0
        return PoolPositions(len(tokens.prefix_ids), mask)

    def tokenize(self, texts: Sequence[Text], tokens: TokenLayout | None = None) -> list[TokenRow]:
        """Ids of each text, laid out and cut; see ``docs/bundle_format.md``, From text to ids."""
        layout = tokens or self.tokens
        rows = []
        for text in texts:
            limited = [limit_text(part, layout.max_text_bytes) for part in ((text,) if isinstance(text, str) else text)]
            ids = [self._tokenizer.encode(part, add_special_tokens=False).ids for part, _ in limited]
            rows.append(layout.row(ids, truncated=any(cut for _, cut in limited)))
        return rows

    def forward(self, rows: Sequence[TokenRow]) -> HiddenStates:
        """Hidden states of a batch, padded to its longest row."""
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), self.tokens.pad_id, dtype=torch.int64)
        mask = torch.zeros((len(rows), longest), dtype=torch.int64)
        types = torch.zeros((len(rows), longest), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            mask[i, : len(row.ids)] = 1
            types[i, : len(row.ids)] = torch.tensor(row.type_ids)
        inputs = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        if self.has_token_types:
            inputs["token_type_ids"] = types.to(self.device)
        with torch.inference_mode():
            output = self.model(**inputs, output_hidden_states=True)
        return HiddenStates(tuple(state.float() for state in output.hidden_states), inputs["attention_mask"])

    def batches(
        self, texts: Sequence[Text], batch_size: int, tokens: TokenLayout | None = None
    ) -> Iterator[tuple[list[int], HiddenStates]]:
        """Indices and hidden states, in batches of like length."""
        rows = self.tokenize(texts, tokens)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
        for start in range(0, len(order), batch_size):
            chunk = order[start : start + batch_size]
            yield chunk, self.forward([rows[i] for i in chunk])

    def _plain_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text.strip(), add_special_tokens=False).ids) if text.strip() else ()

    def _token_layout(self, tokenizer: Any, max_length_tokens: int) -> TokenLayout:  # noqa: ANN401
        """Read the layout off what the tokenizer does with one word and with two."""
        word = self._tokenizer.encode("a", add_special_tokens=False).ids
        single = self._tokenizer.encode("a", add_special_tokens=True).ids
        pair = self._tokenizer.encode("a", "a", add_special_tokens=True)
        start = _find(single, word, 0)
        first = _find(pair.ids, word, 0)
        second = _find(pair.ids, word, first + len(word))
        type_id = pair.type_ids[second] if self.has_token_types else 0
        return TokenLayout(
            prefix_ids=tuple(single[:start]),
            infix_ids=tuple(pair.ids[first + len(word) : second]),
            suffix_ids=tuple(single[start + len(word) :]),
            pad_id=int(tokenizer.pad_token_id or 0),
            second_type_id=int(type_id),
            max_length_tokens=max_length_tokens,
        )


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``.

    Raises:
        ConfigError: CUDA asked for and not there, or another name.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: found {device!r}, expected auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda asked for, this torch sees no CUDA device. Use cpu, or install a CUDA build.")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _find(ids: Sequence[int], part: Sequence[int], start: int) -> int:
    for i in range(start, len(ids) - len(part) + 1):
        if list(ids[i : i + len(part)]) == list(part):
            return i
    raise BackboneError("tokenizer: a text's ids change between special tokens, which no layout can follow.")
