"""The prompts: readable files of a version each, filled with a label, its descriptions and some of its texts.

Everything that comes from the user's data stands in them as a JSON string, one a line, so that a text cannot end its quotes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from crosstune.core.labels import Label

PROMPT_VERSION = "v1"


@dataclass(frozen=True)
class Message:
    """One message of a chat: its role, ``system`` or ``user``, and its text."""

    role: str
    content: str


def canary(version: str = PROMPT_VERSION) -> str:
    """A word that stands in the system prompt and nowhere else: a text that holds it has read the prompt aloud."""
    return "ct" + hashlib.sha256(f"canary {version}".encode()).hexdigest()[:14]


def build_messages(label: Label, shots: Sequence[str], count: int) -> tuple[Message, ...]:
    r"""The chat that asks for ``count`` texts of a label.

    Example:
        >>> messages = build_messages(Label("praise", ("kind words",)), ['so "good"\nthanks'], 3)
        >>> [message.role for message in messages]
        ['system', 'user']
        >>> '\n"so \\"good\\"\\nthanks"\n' in messages[1].content
        True

    Args:
        label: The label that the texts are to have.
        shots: Texts of that label.
        count: How many texts to ask for, at least 1.
    """
    user = Template(_file("user.txt")).substitute(
        label=json.dumps(label.name, ensure_ascii=False),
        descriptions=_quoted(label.descriptions),
        examples=_quoted(shots) or "(none)",
        count=count,
    )
    return (Message("system", Template(_file("system.txt")).substitute(canary=canary())), Message("user", user))


def instructions() -> tuple[str, ...]:
    """The sentences of the prompts without any data: what a generated text must not repeat."""
    empty = {"label": "", "descriptions": "", "examples": "", "count": "", "canary": canary()}
    return tuple(Template(_file(name)).substitute(empty) for name in ("system.txt", "user.txt"))


def _quoted(texts: Sequence[str]) -> str:
    return "\n".join(json.dumps(text, ensure_ascii=False) for text in texts)


def _file(name: str) -> str:
    return (
        resources.files("crosstune.augmentation").joinpath("prompts", PROMPT_VERSION, name).read_text("utf-8").strip()
    )
