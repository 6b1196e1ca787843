"""Reads the files of sentence-transformers beside an encoder: its maximum length, its pooling and its prompts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Prompts for this task, in lower case; models that have one were trained with it for classification.
_TASK = "classification"


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder as sentence-transformers uses it.

    Attributes:
        max_length_tokens: Length that it was trained with; None if not stated.
        pool: The vector of a text that it was trained for: ``mean`` or ``max`` over tokens, ``cls``, its first token with special
            ones, or ``last``, its last.
        prompt: Text before every text, such as ``"classification: "``; "" if it has none for this task and no default.
    """

    max_length_tokens: int | None = None
    pool: str = "mean"
    prompt: str = ""


def read_sentence_encoder(source: str) -> SentenceEncoder:
    """Read ``modules.json``, ``sentence_bert_config.json``, the configuration of the pooling and the prompts, as far as they exist.

    Further modules, such as a projection after the pooling, are not used: heads read hidden states.

    Args:
        source: Folder or hub id.
    """
    paths = _module_paths(source)
    length = _table(source, str(Path(paths["Transformer"], "sentence_bert_config.json"))).get("max_seq_length")
    return SentenceEncoder(
        length if type(length) is int and length > 0 else None,
        _pool(_table(source, f"{paths['Pooling']}/config.json")),
        _prompt(_table(source, "config_sentence_transformers.json")),
    )


def transformer_source(source: str) -> str:
    """Return the folder of the files of transformers, which older folders of sentence-transformers keep in ``0_Transformer``.

    Args:
        source: Folder, or hub id, which is returned as it is.
    """
    if not Path(source).is_dir():
        return source
    inner = Path(source, _module_paths(source)["Transformer"])
    return str(inner if inner.is_dir() else source)


def _module_paths(source: str) -> dict[str, str]:
    """Return the folder of each kind of module."""
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = _read(source, "modules.json")
    for module in modules if isinstance(modules, list) else ():
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            paths[module["type"].rpartition(".")[2]] = str(module["path"])
    return paths


def _pool(table: dict[str, Any]) -> str:
    names = {"cls": "cls", "cls_token": "cls", "lasttoken": "last", "max": "max", "max_tokens": "max"}
    chosen = [name for name in names if table.get(f"pooling_mode_{name}") is True]
    return names.get(chosen[0] if chosen else str(table.get("pooling_mode")), "mean")


def _prompt(table: dict[str, Any]) -> str:
    prompts = table.get("prompts")
    if not isinstance(prompts, dict):
        return ""
    by_name = {str(name).lower(): text for name, text in prompts.items() if isinstance(text, str)}
    return by_name.get(_TASK) or by_name.get(str(table.get("default_prompt_name")).lower(), "")


def _table(source: str, name: str) -> dict[str, Any]:
    value = _read(source, name)
    return value if isinstance(value, dict) else {}


def _read(source: str, name: str) -> object:
    """Return the JSON of a file of a folder or of the hub; None if it is missing or not JSON."""
    for path in _files(source, name):
        with contextlib.suppress(ValueError, OSError, RecursionError):
            return json.loads(path.read_text("utf-8"))
    return None


def _files(source: str, name: str) -> Iterator[Path]:
    """Yield the file if it exists."""
    if Path(source).is_dir():
        yield Path(source) / name
        return
    from transformers.utils import cached_file

    with contextlib.suppress(OSError):  # neither on the hub nor on this machine
        yield Path(cached_file(source, name))
