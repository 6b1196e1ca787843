"""Builds prompts from versioned template files, with a label, its descriptions and some of its texts.

All user data is inserted as JSON strings, one per line, so that a text cannot escape its quotes.
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
    """A message of a chat.

    Attributes:
        role: ``system`` or ``user``.
        content: Text of the message.
    """

    role: str
    content: str


def canary(version: str = PROMPT_VERSION) -> str:
    """Return a word that occurs only in the system prompt; a generated text with it repeats the prompt."""
    return "ct" + hashlib.sha256(f"canary {version}".encode()).hexdigest()[:14]


def build_messages(label: Label, shots: Sequence[str], count: int) -> tuple[Message, ...]:
    r"""Return a chat that requests ``count`` texts of a label.

    Examples:
        >>> messages = build_messages(Label("praise", ("kind words",)), ['so "good"\nthanks'], 3)
        >>> [message.role for message in messages]
        ['system', 'user']
        >>> '\n"so \\"good\\"\\nthanks"\n' in messages[1].content
        True

    Args:
        label: Label of the requested texts.
        shots: Real texts of that label.
        count: Number of texts to request, at least 1.
    """
    user = Template(_file("user.txt")).substitute(
        label=json.dumps(label.name, ensure_ascii=False),
        descriptions=_quoted(label.descriptions),
        examples=_quoted(shots) or "(none)",
        count=count,
    )
    return (Message("system", Template(_file("system.txt")).substitute(canary=canary())), Message("user", user))


def instructions() -> tuple[str, ...]:
    """Return the prompts without user data, which generated texts must not repeat."""
    empty = {"label": "", "descriptions": "", "examples": "", "count": "", "canary": canary()}
    return tuple(Template(_file(name)).substitute(empty) for name in ("system.txt", "user.txt"))


def _quoted(texts: Sequence[str]) -> str:
    return "\n".join(json.dumps(text, ensure_ascii=False) for text in texts)


def _file(name: str) -> str:
    return (
        resources.files("crosstune.augmentation").joinpath("prompts", PROMPT_VERSION, name).read_text("utf-8").strip()
    )
