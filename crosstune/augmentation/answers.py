"""What an LLM answered, and the texts in it. Reading is tolerant and bounded, and nothing is ever evaluated."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from crosstune.core.strict_text import Json

#: Characters of an answer that are looked at.
MAX_ANSWER_CHARACTERS = 40_000

# Bounded, so that no answer can make them slow.
_STRING = re.compile(r'"((?:[^"\\\n]|\\.){0,600})"(?=\s*[,\]])')
_SINGLE = re.compile(r"'((?:[^'\\\n]|\\.|'(?=\w)){0,600})'(?=\s*[,\]])")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+(.+)$")


@dataclass(frozen=True)
class Answer:
    """One answer of a server, as it is cached.

    Attributes:
        content: What the model wrote, or None.
        finish_reason: Why it stopped: ``stop``, ``length``, ``content_filter``; ``none`` when the answer was empty.
        refused: Whether the server marks it as a refusal.
        prompt_tokens: By the server's count, or None when it gave none.
        completion_tokens: By the server's count, or None when it gave none.
    """

    content: str | None
    finish_reason: str
    refused: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    def to_json(self) -> str:
        """One line for the cache."""
        return json.dumps(asdict(self), ensure_ascii=True, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Answer:
        """The answer out of the cache."""
        return cls(**json.loads(text))


def answer_from_body(body: Json) -> Answer | None:
    """The answer in a server's JSON, or None when it is no chat completion at all.

    A completion without choices or without content is an answer too: it may have been billed, and it is not asked for again.
    """
    if not isinstance(body, dict) or "choices" not in body:
        return None
    choices = body["choices"]
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    message = message if isinstance(message, dict) else {}
    content, refusal, finish = message.get("content"), message.get("refusal"), first.get("finish_reason")
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        content=content if isinstance(content, str) else None,
        finish_reason=finish if isinstance(finish, str) else ("stop" if isinstance(content, str) else "none"),
        refused=isinstance(refusal, str) and bool(refusal),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def texts_in(content: str) -> list[str]:
    r"""The texts in what a model wrote; an item that is no text becomes an empty one.

    JSON is looked for first, fenced or with prose around it, then quoted strings of a list that is cut off or in single
    quotes, then lines that begin with a bullet or a number.

    Example:
        >>> texts_in('Sure!\n```json\n{"texts": ["one", "two"]}\n```\nAnything else?')
        ['one', 'two']
        >>> texts_in('["one", "two", "thr')
        ['one', 'two']
        >>> texts_in("1. one\n2. two")
        ['one', 'two']
        >>> texts_in("I would rather not.")
        []
    """
    content = content[:MAX_ANSWER_CHARACTERS]
    for found in re.finditer(r"[\[{]", content):
        items = _items(_decoded(content[found.start() :]))
        if items is not None:
            return items
        if found.start() > 2_000:  # prose that long is not followed by what was asked for
            break
    start = content.find("[")
    if start >= 0:
        for pattern, quote in ((_STRING, '"'), (_SINGLE, "'")):
            strings = [_unescaped(text, quote) for text in pattern.findall(content[start:])]
            if strings:
                return strings
    lines = [_BULLET.match(line) for line in content.splitlines()]
    return [_unquoted(line[1]) for line in lines if line]


def _decoded(text: str) -> Json:
    try:
        value: Json = json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        return None
    return value


def _items(value: Json) -> list[str] | None:
    """Texts of ``{"texts": [...]}``, of a lone list in an object, or of a list of strings or of objects with a text."""
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = value["texts"] if isinstance(value.get("texts"), list) else lists[0] if len(lists) == 1 else None
    if not isinstance(value, list) or not value:
        return None
    items: list[Json] = [item.get("text") if isinstance(item, dict) else item for item in value]
    if not any(isinstance(item, str) for item in items):
        return None
    return [item if isinstance(item, str) else "" for item in items]


def _unescaped(text: str, quote: str) -> str:
    if quote == "'":
        text = text.replace("\\'", "'").replace('"', '\\"')
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _count(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else None
