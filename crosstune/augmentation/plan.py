"""Plan all requests of a run before anything is sent."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from crosstune.augmentation.prompts import PROMPT_VERSION, Message, build_messages
from crosstune.core.errors import ConfigError, DataError
from crosstune.core.labels import LabelSet
from crosstune.data.examples import Example

#: Texts to request, and real texts to quote, per prompt; chosen by hand.
TEXTS_PER_REQUEST = 5
SHOTS_PER_PROMPT = 5
#: Bounds of ``max_tokens``, which otherwise follows the length of the real texts; chosen by hand.
MIN_ANSWER_TOKENS, MAX_ANSWER_TOKENS = 256, 4096

#: Maximum texts per label; chosen by hand, because the whole plan is kept in memory.
MAX_PER_LABEL = 100_000


@dataclass(frozen=True)
class GenerationRequest:
    """A chat to send.

    Attributes:
        label: Label of the requested texts.
        count: Number of requested texts, at least 1.
        messages: Messages of the chat.
        seed: Sampling seed, for servers that support it; differs between requests, so that equal chats get other texts.
        max_tokens: Maximum length of the answer, in tokens.
    """

    label: str
    count: int
    messages: tuple[Message, ...]
    seed: int
    max_tokens: int

    def cache_key(self, model: str, temperature: float, base_url: str) -> bytes:
        """Return the SHA-256 of everything that the answer depends on."""
        chat = [asdict(message) for message in self.messages]
        facts = {"prompt": PROMPT_VERSION, "chat": chat, "model": model, "temperature": temperature, "seed": self.seed}
        facts |= {"max_tokens": self.max_tokens, "base_url": base_url.rstrip("/")}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8", "surrogatepass")).digest()

    @property
    def prompt_bytes(self) -> int:
        """Size of the messages in UTF-8 bytes, an upper bound for their tokens (without tokens around each message)."""
        return sum(len(message.content.encode("utf-8", "surrogatepass")) for message in self.messages)


@dataclass(frozen=True)
class AugmentPlan:
    """All requests of a run, in order.

    Attributes:
        requests: The requests; the same data and settings give the same requests.
        seed_texts: Number of distinct real texts in the prompts, which leave the machine.
    """

    requests: tuple[GenerationRequest, ...]
    seed_texts: int

    @property
    def requested(self) -> int:
        """Number of requested texts."""
        return sum(request.count for request in self.requests)


def plan_requests(examples: Sequence[Example], labels: LabelSet, *, per_label: int, seed: int) -> AugmentPlan:
    """Plan requests for ``per_label`` texts of each label.

    A prompt quotes texts of its own label only, so that texts of one label cannot influence another label.

    Examples:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks"})
        >>> plan = plan_requests([Example("where is it", "ship")], labels, per_label=8, seed=13)
        >>> [request.count for request in plan.requests], plan.seed_texts
        ([5, 3, 5, 3], 1)

    Args:
        examples: Real texts; each prompt quotes up to 5 of its label.
        labels: The labels, for each of which texts are requested.
        per_label: Texts per label, 1 to 100,000.
        seed: Random seed for choosing the texts in each prompt, 0 to 2**31 - 1.

    Raises:
        ConfigError: ``per_label`` or the seed is out of range.
        DataError: The examples are pairs of texts.
    """
    if not 1 <= per_label <= MAX_PER_LABEL:
        raise ConfigError(f"per-label: found {per_label}, expected 1 to {MAX_PER_LABEL}.")
    if not 0 <= seed < 1 << 31:
        raise ConfigError(f"seed: found {seed}, expected 0 to {(1 << 31) - 1}.")
    if any(example.text_pair is not None for example in examples):
        raise DataError("augment: found pairs of texts, expected single texts. Write further pairs by hand.")
    requests = []
    sent: set[str] = set()
    for label in labels:
        texts = [example.text for example in examples if example.label == label.name]
        lengths = sorted(len(text.encode("utf-8", "surrogatepass")) for text in texts) or [200]
        text_tokens = lengths[(9 * len(lengths)) // 10] // 3 + 30  # 90th percentile at 3 bytes per token, plus a margin
        draw = random.Random(f"{seed} {label.name}")
        deck: list[str] = []
        for start in range(0, per_label, TEXTS_PER_REQUEST):
            count = min(TEXTS_PER_REQUEST, per_label - start)
            if len(deck) < SHOTS_PER_PROMPT:  # quote every text once before any text twice
                deck += draw.sample(texts, len(texts))
            shots = list(dict.fromkeys(deck[:SHOTS_PER_PROMPT]))
            deck = deck[SHOTS_PER_PROMPT:]
            sent.update(shots)
            requests.append(
                GenerationRequest(
                    label=label.name,
                    count=count,
                    messages=build_messages(label, shots, count),
                    seed=draw.randrange(1 << 31),
                    max_tokens=min(max(count * text_tokens, MIN_ANSWER_TOKENS), MAX_ANSWER_TOKENS),
                )
            )
    return AugmentPlan(tuple(requests), len(sent))
