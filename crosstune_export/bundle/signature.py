"""Checks the signature of a bundle that was read, so that the bytes that are checked are the bytes that are used."""

from __future__ import annotations

import hashlib
import importlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from crosstune.core.errors import ConfigError, MissingExtraError, SignatureError
from crosstune_export.bundle.files import BundleFiles

#: A path, such as that of a public key.
Place = str | os.PathLike[str]


def require_trusted(
    files: BundleFiles, keys: Sequence[Place], signature: Place | None = None, min_release: int = 0
) -> str | None:
    """Refuse a bundle unless one of these keys has signed the bytes in memory, and its release is not too old.

    Args:
        files: The bundle as it was read.
        keys: Public keys of elliptic curves (PEM); none requires no signature.
        signature: File of the signature; None for ``NAME.sig`` next to the bundle.
        min_release: Smallest release number to accept. Older releases have valid signatures too.

    Returns:
        A human-readable line that names the key; None without keys.

    Raises:
        SignatureError: The signature is missing, or was made with another key or for other contents; or the release is too old.
        ConfigError: A key is invalid, or ``signature`` is given without keys.
        MissingExtraError: model-signing is not installed.
    """
    if isinstance(keys, (str, os.PathLike)):
        raise ConfigError(f"trusted: found {os.fspath(keys)!r}, expected a list of public keys.")
    if signature is not None and not keys:
        raise ConfigError("signature: found a signature without a key, expected both. Give the public key too.")
    signed = _require_signature(files, [Path(key) for key in keys], signature) if keys else None
    if files.manifest.release < min_release:
        raise SignatureError(
            f"{files.path}: release {files.manifest.release}, expected at least {min_release}. Get the current bundle."
        )
    return signed


def _require_signature(files: BundleFiles, keys: Sequence[Path], signature: Place | None) -> str:
    path = signature_path(files.path) if signature is None else Path(signature)
    verifying = model_signing("verifying")
    configs = []
    for key in keys:
        try:
            identity = hashlib.sha256(key.read_bytes()).hexdigest()[:12]
            configs.append((identity, verifying.Config().use_elliptic_key_verifier(public_key=key)))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{key}: not a public key ({short_reason(error)}), expected one of an elliptic curve in PEM."
            ) from error
    named = " or ".join(f"the key {identity}" for identity, _ in configs)
    if not path.is_file():
        raise SignatureError(f"{path}: no signature, expected one by {named}. Sign with crosstune-export sign.")
    reason = ""
    with tempfile.TemporaryDirectory() as name:
        folder, copy = write_files(files, Path(name))
        copy.write_bytes(path.read_bytes())
        for identity, config in configs:
            try:
                config.verify(folder, copy)
            except Exception as error:  # the library has no common error class
                reason = short_reason(error)
            else:
                return f"{files.path}: signed by the key {identity}"
    raise SignatureError(
        f"{path}: not a signature of {files.path} by {named} ({reason}). Get the bundle from its author."
    )


def signature_path(bundle: str | os.PathLike[str]) -> Path:
    """Return the default path of a bundle's signature, ``NAME.sig`` next to it."""
    path = Path(bundle)
    if path.name in ("", ".."):  # such as "." or "..": use the name of the folder
        path = path.resolve()
    return path.with_name(f"{path.name}.sig")


def write_files(files: BundleFiles, place: Path) -> tuple[Path, Path]:
    """Write a bundle from memory into an empty folder, as the signature covers it; return it and a path for a signature next to it."""
    folder = place / "bundle"
    folder.mkdir()
    for member, data in files.contents.items():
        (folder / member).write_bytes(data)
    return folder, place / "bundle.sig"


def model_signing(name: str) -> ModuleType:
    """Import a module of the model-signing library.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise MissingExtraError(
            "model-signing: not installed, expected for signatures. Run: pip install 'crosstune-export[signing]'"
        ) from error


def short_reason(error: BaseException) -> str:
    """Return the message of a foreign error as one short line."""
    return " ".join(str(error).split())[:160] or type(error).__name__
