"""The frozen backbone: computes the hidden states of all layers for texts. Its weights never change."""

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
    ON_HUB,
    PACKAGED,
    check_folder,
    from_transformers,
    length_limit,
    local_folder,
    packaged_folder,
)
from crosstune.backbone.sentence_encoder import read_sentence_encoder, transformer_source
from crosstune.backbone.settled_scores import with_settled_scores
from crosstune.core.errors import BackboneError, ConfigError
from crosstune.core.panics import is_failure
from crosstune.core.token_layout import Text, TokenLayout, TokenRow, limit_text

#: Fields of a configuration that change the output for the same weights.
_RELEVANT_FIELDS = (
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
#: The same, of models whose attention is windowed or relative or whose positions are rotary; counted only where they are set.
_FIELDS_OF_SOME = (
    "layer_types",
    "local_attention",
    "position_buckets",
    "query_pre_attn_scalar",
    "relative_attention_max_distance",
    "rope_parameters",
    "sliding_window",
)


@dataclass(frozen=True)
class HiddenStates:
    """Hidden states of B texts padded to T tokens.

    Attributes:
        states: One float32 tensor (B, T, D) per layer, preceded by the embeddings: layers + 1 tensors.
        mask: int64 (B, T), 1 for tokens and 0 for padding.
    """

    states: tuple[Tensor, ...]
    mask: Tensor


@dataclass(frozen=True)
class PoolPositions:
    """Positions of single tokens in a row.

    Attributes:
        first: Index of the first token of the text (of the last special token for an empty text).
        mask_from_end: Position of the template's mask counted from the end of a row, 1 for the last token; 0 without a mask.
    """

    first: int
    mask_from_end: int


class Backbone:
    """An encoder of transformers without gradients, and its tokenizer.

    Attributes:
        name: What it was loaded by.
        pool: The vector of a text that it was trained for: ``mean``, ``max``, ``cls`` or ``last``.
        tokens: Layout of ids around a text, with those of the prefix.

    Examples:
        >>> backbone = Backbone.load("minilm")
        >>> backbone.hidden_size, backbone.layer_count
        (384, 6)
        >>> states = backbone.forward([backbone.tokenize(["where is my parcel?"])[0]])
        >>> len(states.states), states.states[0].shape
        (7, torch.Size([1, 7, 384]))
    """

    def __init__(
        self,
        name: str,
        model: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        device: str,
        max_length_tokens: int,
        *,
        pool: str = "mean",
        prefix: str = "",
    ) -> None:
        self.name = name
        self.pool = pool
        self.device = device
        self.model = model.to(device).eval().requires_grad_(False)
        self._tokenizer = with_settled_scores(tokenizer.backend_tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True  # "[SEP]" in a text is not a special token
        self._mask_id: int | None = tokenizer.mask_token_id
        self.tokens = self._with_prefix(prefix, self._token_layout(tokenizer, max_length_tokens))

    @classmethod
    def load(
        cls, name: str, *, device: str = "auto", max_length_tokens: int | None = None, prefix: str | None = None
    ) -> Backbone:
        """Load a backbone.

        Args:
            name: ``minilm`` (the packaged all-MiniLM-L6-v2), a short name such as ``bge-small`` (see docs/encoders.md), a folder in
                the layout of transformers or sentence-transformers, or a hub id.
            device: ``auto`` (CUDA if available), ``cpu`` or ``cuda``.
            max_length_tokens: Maximum tokens per text, from 8 to the backbone's limit; None for the length that it was trained
                with. Longer texts are truncated.
            prefix: Text before every text, such as ``"query: "``; None for the prompt that the backbone's folder states for
                classification or as its default, if any.

        Raises:
            BackboneError: The backbone cannot be loaded, or its weights have another hash.
            MissingExtraError: transformers, or the package of ``minilm``, is not installed.
            ConfigError: CUDA is not available, ``max_length_tokens`` is out of range, or the prefix leaves no room for a text.
        """
        device = resolve_device(device)
        source = cls._source(name)
        model, tokenizer = from_transformers(name, transformer_source(source))
        encoder = read_sentence_encoder(source)
        limit = length_limit(model, tokenizer)
        if max_length_tokens is not None and not 8 <= max_length_tokens <= limit:
            raise ConfigError(f"max_length_tokens: found {max_length_tokens}, expected 8 to {limit} for {name}.")
        length = max_length_tokens or min(limit, encoder.max_length_tokens or limit)
        before = encoder.prompt if prefix is None else prefix
        return cls(name, model, tokenizer, device, length, pool=encoder.pool, prefix=before)

    @staticmethod
    def _source(name: str) -> str:
        """Return a folder after checking it, or the hub id itself."""
        if name in PACKAGED:
            return str(packaged_folder(name))
        folder = local_folder(name)
        if folder is not None:
            check_folder(Path(transformer_source(str(folder))))
            return str(folder)
        if name.startswith(("/", "~", ".")) or name.count("/") > 1 or Path(name).exists():
            raise BackboneError(
                f"backbone: {name} is not a folder, expected 'minilm', a folder with config.json, or a hub id. Check the path."
            )
        return ON_HUB.get(name, name)

    @property
    def hidden_size(self) -> int:
        """Hidden size D."""
        return int(self.model.config.hidden_size)

    @property
    def layer_count(self) -> int:
        """Number of transformer layers; there is one more hidden state, the embeddings."""
        return int(self.model.config.num_hidden_layers)

    @property
    def head_count(self) -> int:
        """Attention heads per layer; 0 if the configuration does not state it."""
        return int(getattr(self.model.config, "num_attention_heads", 0) or 0)

    @property
    def has_token_types(self) -> bool:
        """Whether token types distinguish the texts of a pair."""
        return int(getattr(self.model.config, "type_vocab_size", 0) or 0) > 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all weights, the relevant fields of the configuration, and the tokenizer."""
        digest = hashlib.sha256()
        fields = {name: getattr(self.model.config, name, None) for name in _RELEVANT_FIELDS}
        further = {name: getattr(self.model.config, name, None) for name in _FIELDS_OF_SOME}
        fields |= {name: value for name, value in further.items() if value is not None}
        digest.update(json.dumps(fields, default=str).encode())
        for key, value in sorted(self.model.state_dict().items()):
            if key.endswith(("position_ids", "token_type_ids")) or key.startswith("pooler."):
                continue  # buffers that only some versions save, and the pooler, which is not used
            digest.update(f"{key}|{value.dtype}|{tuple(value.shape)}|".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        digest.update(self.tokenizer_json)
        return digest.hexdigest()

    @cached_property
    def tokenizer_json(self) -> bytes:
        """The tokenizer in the format of the tokenizers library, without padding and truncation."""
        return bytes(self._tokenizer.to_str().encode("utf-8"))

    def with_template(self, template: str) -> TokenLayout:
        """Return a token layout that inserts each text into a template.

        Args:
            template: Template such as ``{text} This is about {mask}.``; white space around the placeholders is ignored.

        Raises:
            BackboneError: The backbone has no mask token.
            ConfigError: The template does not contain ``{text}`` and then ``{mask}`` once each, or leaves no room for a text.
        """
        before, text_place, after = template.partition("{text}")
        between, mask_place, end = after.partition("{mask}")
        if not text_place or not mask_place or "{mask}" in before + end or "{text}" in between + end:
            raise ConfigError(f"template: found {template!r}, expected {{text}} and after it {{mask}}, once each.")
        if self._mask_id is None:
            raise BackboneError(f"{self.name}: has no mask token, expected one for a template. Use another feature.")
        prefix_ids = self.tokens.prefix_ids + self._plain_ids(before)
        suffix_ids = (*self._plain_ids(between), self._mask_id, *self._plain_ids(end), *self.tokens.suffix_ids)
        return _with_room("template", replace(self.tokens, prefix_ids=prefix_ids, suffix_ids=suffix_ids))

    def pool_positions(self, tokens: TokenLayout) -> PoolPositions:
        """Return the positions of the first token of the text and of the template's mask in rows of a layout."""
        suffix = tokens.suffix_ids
        mask = len(suffix) - suffix.index(self._mask_id) if self._mask_id in suffix else 0
        return PoolPositions(len(tokens.prefix_ids), mask)

    def tokenize(self, texts: Sequence[Text], tokens: TokenLayout | None = None) -> list[TokenRow]:
        """Tokenize texts and truncate them to the maximum length; see docs/bundle_format.md, From text to ids.

        Args:
            texts: Texts or pairs.
            tokens: Token layout; None for the layout of the backbone.
        """
        layout = tokens or self.tokens
        rows = []
        for text in texts:
            limited = [limit_text(part, layout.max_text_bytes) for part in ((text,) if isinstance(text, str) else text)]
            ids = [self._encode(part).ids for part, _ in limited]
            rows.append(layout.row(ids, truncated=any(truncated for _, truncated in limited)))
        return rows

    def forward(self, rows: Sequence[TokenRow]) -> HiddenStates:
        """Compute the hidden states of a batch, padded to its longest row."""
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
        """Yield indices of texts with their hidden states, in batches of similar length."""
        rows = self.tokenize(texts, tokens)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
        for start in range(0, len(order), batch_size):
            chunk = order[start : start + batch_size]
            yield chunk, self.forward([rows[i] for i in chunk])

    def _encode(self, text: str, pair: str | None = None, *, special: bool = False) -> Any:  # noqa: ANN401
        """Tokenize; a failure of the tokenizer, such as a regular expression that takes too long, is one of the backbone."""
        try:
            return self._tokenizer.encode(text, pair, add_special_tokens=special)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise BackboneError(
                f"{self.name}: its tokenizer failed ({error}) on {text[:40]!r}. Use another backbone, or leave out this text."
            ) from error

    def _plain_ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._encode(text.strip()).ids) if text.strip() else ()

    def _with_prefix(self, prefix: str, layout: TokenLayout) -> TokenLayout:
        """Return a layout with the ids of a prefix, tokenized by itself, before every text."""
        ids = self._plain_ids(prefix)
        return _with_room("prefix", replace(layout, prefix_ids=layout.prefix_ids + ids)) if ids else layout

    def _token_layout(self, tokenizer: Any, max_length_tokens: int) -> TokenLayout:  # noqa: ANN401
        """Derive the token layout from the ids of a single word and of a pair of words."""
        word = self._encode("a").ids
        single = self._encode("a", special=True).ids
        pair = self._encode("a", "a", special=True)
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
    """Resolve ``auto`` to ``cpu`` or ``cuda``.

    Raises:
        ConfigError: The device is unknown, or CUDA is not available.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: found {device!r}, expected auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: found cuda, but torch sees no CUDA device. Use cpu, or install a CUDA build.")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _with_room(what: str, layout: TokenLayout) -> TokenLayout:
    """Return a layout that leaves room for at least one token of each text of a pair.

    Raises:
        ConfigError: It does not.
    """
    tokens, limit = len(layout.prefix_ids + layout.infix_ids + layout.suffix_ids), layout.max_length_tokens
    if tokens + 2 > limit:
        raise ConfigError(
            f"{what}: has {tokens} tokens, expected at most {limit - 2} of {limit}, to leave room for a text. Shorten it."
        )
    return layout


def _find(ids: Sequence[int], part: Sequence[int], start: int) -> int:
    for i in range(start, len(ids) - len(part) + 1):
        if list(ids[i : i + len(part)]) == list(part):
            return i
    raise BackboneError(
        "tokenizer: the ids of a text depend on special tokens around it, which is not supported. Use another backbone."
    )
