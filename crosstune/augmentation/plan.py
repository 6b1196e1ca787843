"""What would be asked, in full and in order, before anything is asked."""

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

TEXTS_PER_REQUEST = 5
SHOTS_PER_PROMPT = 5
#: Bounds of the length of an answer; within them it follows the length of the shots.
MIN_ANSWER_TOKENS, MAX_ANSWER_TOKENS = 256, 4096

#: Texts of a label that can be asked for: the whole plan is made, and priced, before anything is sent.
MOST_A_LABEL = 100_000


@dataclass(frozen=True)
class GenerationRequest:
    """One chat to send.

    Attributes:
        label: The label that its texts are to have.
        asked: How many texts it asks for, at least 1.
        messages: The chat.
        seed: Sampling seed, for servers that know one; another in each request, so that equal chats differ.
        max_tokens: Longest answer, in tokens.
    """

    label: str
    asked: int
    messages: tuple[Message, ...]
    seed: int
    max_tokens: int

    def cache_key(self, model: str, temperature: float, base_url: str) -> bytes:
        """SHA-256 over everything that decides the answer: change any of it and the answer is another one."""
        chat = [asdict(message) for message in self.messages]
        facts = {"prompt": PROMPT_VERSION, "chat": chat, "model": model, "temperature": temperature, "seed": self.seed}
        facts |= {"max_tokens": self.max_tokens, "base_url": base_url.rstrip("/")}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8", "surrogatepass")).digest()

    @property
    def prompt_bytes(self) -> int:
        """UTF-8 bytes of the chat; no tokenizer over bytes makes more tokens than these and a few for each message."""
        return sum(len(message.content.encode("utf-8", "surrogatepass")) for message in self.messages)


@dataclass(frozen=True)
class AugmentPlan:
    """All requests of a run, in order.

    Attributes:
        requests: What is asked; the same data and settings give the same requests.
        seed_texts: How many distinct texts of the data stand in them: these leave the machine.
    """

    requests: tuple[GenerationRequest, ...]
    seed_texts: int

    @property
    def asked(self) -> int:
        """How many texts are asked for."""
        return sum(request.asked for request in self.requests)


def plan_requests(examples: Sequence[Example], labels: LabelSet, *, per_label: int, seed: int) -> AugmentPlan:
    """Plan ``per_label`` texts of each label.

    A prompt holds texts of its own label only: what stands in the texts of one label cannot change what is asked for another.

    Example:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks"})
        >>> plan = plan_requests([Example("where is it", "ship")], labels, per_label=8, seed=13)
        >>> [request.asked for request in plan.requests], plan.seed_texts
        ([5, 3, 5, 3], 1)

    Args:
        examples: Real texts; each prompt quotes up to 5 of its label.
        labels: The labels, all of which are asked for.
        per_label: Texts a label, 1 to 100,000.
        seed: Decides which texts stand in which prompt, 0 to 2**31 - 1.

    Raises:
        ConfigError: ``per_label`` or the seed is out of range.
        DataError: The examples are pairs of texts.
    """
    if not 1 <= per_label <= MOST_A_LABEL:
        raise ConfigError(f"per-label: found {per_label}, expected 1 to {MOST_A_LABEL}.")
    if not 0 <= seed < 1 << 31:
        raise ConfigError(f"seed: found {seed}, expected 0 to {(1 << 31) - 1}.")
    if any(example.text_pair is not None for example in examples):
        raise DataError("augment: found pairs of texts, expected single texts. Write further pairs by hand.")
    requests = []
    sent: set[str] = set()
    for label in labels:
        texts = [example.text for example in examples if example.label == label.name]
        lengths = sorted(len(text.encode("utf-8", "surrogatepass")) for text in texts) or [200]
        text_tokens = lengths[(9 * len(lengths)) // 10] // 3 + 30  # of a text that nine in ten do not pass
        draw = random.Random(f"{seed} {label.name}")
        deck: list[str] = []
        for start in range(0, per_label, TEXTS_PER_REQUEST):
            asked = min(TEXTS_PER_REQUEST, per_label - start)
            if len(deck) < SHOTS_PER_PROMPT:  # every text stands in a prompt before any stands in two
                deck += draw.sample(texts, len(texts))
            shots = list(dict.fromkeys(deck[:SHOTS_PER_PROMPT]))
            deck = deck[SHOTS_PER_PROMPT:]
            sent.update(shots)
            requests.append(
                GenerationRequest(
                    label=label.name,
                    asked=asked,
                    messages=build_messages(label, shots, asked),
                    seed=draw.randrange(1 << 31),
                    max_tokens=min(max(asked * text_tokens, MIN_ANSWER_TOKENS), MAX_ANSWER_TOKENS),
                )
            )
    return AugmentPlan(tuple(requests), len(sent))
