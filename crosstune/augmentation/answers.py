"""Answers of an LLM, and a tolerant parser for the texts in them, whose running time is bounded."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass

from crosstune.core.strict_text import Json

#: Maximum characters of an answer to parse; chosen by hand, several times the longest answer that is requested.
MAX_ANSWER_CHARACTERS = 40_000

# Repetitions are bounded, so that no answer makes them slow.
_STRING = re.compile(r'"((?:[^"\\\n]|\\.){0,600})"(?=\s*[,\]])')
_SINGLE = re.compile(r"'((?:[^'\\\n]|\\.|'(?=\w)){0,600})'(?=\s*[,\]])")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+(.+)$")


@dataclass(frozen=True)
class Answer:
    """An answer of a server, as stored in the cache.

    Attributes:
        content: Text written by the model; None if there is none.
        finish_reason: ``stop``, ``length`` or ``content_filter`` as reported by the server, ``none`` for an empty answer, or
            ``oversized`` for a response that was too large to read.
        refused: Whether the server marks the answer as a refusal.
        prompt_tokens: Token count of the server; None if it reports none.
        completion_tokens: Token count of the server; None if it reports none.
    """

    content: str | None
    finish_reason: str
    refused: bool
    prompt_tokens: int | None
    completion_tokens: int | None

    def to_json(self) -> str:
        """Serialize the answer for the cache, in one line."""
        return json.dumps(asdict(self), ensure_ascii=True, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Answer:
        """Read an answer from the cache."""
        return cls(**json.loads(text))


def answer_from_body(body: Json) -> Answer | None:
    """Return the answer in a response body; None if the body is not a chat completion.

    A completion without choices or content is an answer too, because it may have been billed and is not requested again.
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
    r"""Return the texts in the content of an answer; items of other types become empty texts.

    The parser looks for JSON, possibly fenced or surrounded by prose, then for quoted strings of a list that is truncated or
    uses single quotes, then for lines that begin with a bullet or a number.

    Examples:
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
    for bracket in re.finditer(r"[\[{]", content):
        items = _items(_decoded(content[bracket.start() :]))
        if items is not None:
            return items
        if bracket.start() > 2_000:  # chosen by hand: no useful answer starts with so much prose
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
    """Return the texts of ``{"texts": [...]}``, of the only list in an object, or of a list of strings or objects with a text."""
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
