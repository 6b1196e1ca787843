"""Signatures over bundles, by the model-signing library of the OpenSSF and a key.

A signature stands beside the bundle, ``NAME.sig``: the files of a bundle are fixed. It covers the bytes of the five files, so that
it holds for the folder and for the packed form alike, and for what the ``model_signing`` program makes of the same folder.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from crosstune.core.errors import ConfigError, MissingExtraError, SignatureError
from crosstune.core.outputs import check_output, check_places, new_file
from crosstune_export.bundle.files import read_bundle, require_outside


def sign(bundle: str | os.PathLike[str], key: Path, output: Path | None = None, *, force: bool = False) -> Path:
    """Sign a bundle.

    Args:
        bundle: The bundle.
        key: Private key of an elliptic curve (PEM); its password, if it has one, is in ``CROSSTUNE_KEY_PASSWORD``.
        output: File to write; beside the bundle, ending in ``.sig``, when None.
        force: Replace what is there.

    Returns:
        The signature's file.

    Raises:
        BundleError: The bundle is refused.
        ConfigError: The key cannot be used, or ``output`` is inside the bundle.
        ConfigError: ``output`` is the key or the packed bundle.
        MissingExtraError: model-signing is not installed.
        OutputExistsError: ``output`` is there and ``force`` is off.
        ResourceError: The disk refuses a write.
    """
    target = signature_path(bundle) if output is None else output
    check_output(target, force=force, what="signature")
    require_outside(target, bundle, "signature")
    check_places({"signature": target}, [key, Path(bundle)])
    signing = _library("signing")
    password = os.environ.get("CROSSTUNE_KEY_PASSWORD")
    with _as_folder(bundle) as (folder, made):
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key, password=password)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{key}: not a private key ({_short(error)}), expected one of an elliptic curve in PEM."
            ) from error
        config.sign(folder, made)
        data = made.read_bytes()
    with new_file(target) as sink:
        sink.write(data)
    return target


def check_signature(bundle: str | os.PathLike[str], key: Path, signature: Path | None = None) -> str:
    """Refuse a bundle unless this key has signed its bytes.

    Args:
        bundle: The bundle.
        key: Public key (PEM).
        signature: Where the signature is; beside the bundle, ending in ``.sig``, when None.

    Returns:
        What was found, for people.

    Raises:
        BundleError: The bundle is refused.
        SignatureError: The signature is missing, of another key, or of other bytes.
        ConfigError: The key cannot be used.
        MissingExtraError: model-signing is not installed.
    """
    path = signature_path(bundle) if signature is None else signature
    verifying = _library("verifying")
    try:
        identity = hashlib.sha256(key.read_bytes()).hexdigest()[:12]
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{key}: not a public key ({_short(error)}), expected one of an elliptic curve in PEM."
        ) from error
    with _as_folder(bundle) as (folder, made):
        if not path.is_file():
            raise SignatureError(
                f"{path}: no signature, expected one by the key {identity}. Sign with crosstune-export sign."
            )
        made.write_bytes(path.read_bytes())
        try:
            config.verify(folder, made)
        except Exception as error:  # the library has no root of its own errors
            raise SignatureError(
                f"{path}: not a signature of {bundle} by the key {identity} ({_short(error)}). Get the bundle from its maker."
            ) from error
    return f"{bundle}: signed by the key {identity}"


def check_release(bundle: str | os.PathLike[str], least: int) -> None:
    """Refuse a bundle of an older release: one that was signed rightly and is out of date.

    Raises:
        BundleError: The bundle is refused.
        SignatureError: Its release number is below ``least``.
    """
    found = read_bundle(bundle).manifest.release
    if found < least:
        raise SignatureError(f"{bundle}: release {found}, expected at least {least}. Get the bundle of today.")


def signature_path(bundle: str | os.PathLike[str]) -> Path:
    """Where the signature of a bundle stands when nobody says otherwise."""
    path = Path(bundle)
    if path.name in ("", ".."):  # a folder seen from inside
        path = path.resolve()
    return path.with_name(f"{path.name}.sig")


@contextmanager
def _as_folder(bundle: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """The files of a bundle, once read and checked, as a folder of our own, and a place for a signature beside it."""
    files = read_bundle(bundle)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        folder.mkdir()
        for member, data in files.contents.items():
            (folder / member).write_bytes(data)
        yield folder, Path(name) / "bundle.sig"


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise MissingExtraError(
            "model-signing: not installed, expected for signatures. Run: pip install 'crosstune-export[signing]'"
        ) from error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
