"""Sign bundles with a key and the model-signing library of the OpenSSF, and check the signatures.

The signature is written next to the bundle, as ``NAME.sig``, because a bundle has a fixed set of files. It covers the contents
of the five files, so it is valid for the folder and the packed form, and for the ``model_signing`` program.
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
        bundle: Bundle folder or packed bundle.
        key: Private key of an elliptic curve (PEM); its password, if any, is in ``CROSSTUNE_KEY_PASSWORD``.
        output: File to write; None for ``NAME.sig`` next to the bundle.
        force: Replace an existing file.

    Returns:
        Path of the signature.

    Raises:
        BundleError: The bundle is invalid.
        ConfigError: The key is invalid, or ``output`` is inside the bundle, the packed bundle itself, or the key.
        MissingExtraError: model-signing is not installed.
        OutputExistsError: ``output`` exists and ``force`` is off.
        ResourceError: Writing to the disk failed.
    """
    target = signature_path(bundle) if output is None else output
    check_output(target, force=force, what="signature")
    require_outside(target, bundle, "signature")
    check_places({"signature": target}, [key, Path(bundle)])
    signing = _library("signing")
    password = os.environ.get("CROSSTUNE_KEY_PASSWORD")
    with _as_folder(bundle) as (folder, signature):
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key, password=password)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{key}: not a private key ({_short(error)}), expected one of an elliptic curve in PEM."
            ) from error
        config.sign(folder, signature)
        data = signature.read_bytes()
    with new_file(target) as sink:
        sink.write(data)
    return target


def check_signature(bundle: str | os.PathLike[str], key: Path, signature: Path | None = None) -> str:
    """Refuse a bundle unless this key has signed its bytes.

    Args:
        bundle: Bundle folder or packed bundle.
        key: Public key of an elliptic curve (PEM).
        signature: File of the signature; None for ``NAME.sig`` next to the bundle.

    Returns:
        A human-readable line that names the key.

    Raises:
        BundleError: The bundle is invalid.
        SignatureError: The signature is missing, or was made with another key or for other contents.
        ConfigError: The key is invalid.
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
    with _as_folder(bundle) as (folder, copy):
        if not path.is_file():
            raise SignatureError(
                f"{path}: no signature, expected one by the key {identity}. Sign with crosstune-export sign."
            )
        copy.write_bytes(path.read_bytes())
        try:
            config.verify(folder, copy)
        except Exception as error:  # the library has no common error class
            raise SignatureError(
                f"{path}: not a signature of {bundle} by the key {identity} ({_short(error)}). Get the bundle from its author."
            ) from error
    return f"{bundle}: signed by the key {identity}"


def check_release(bundle: str | os.PathLike[str], least: int) -> None:
    """Refuse a bundle of an older release, whose signature is valid but which has been superseded.

    Raises:
        BundleError: The bundle is invalid.
        SignatureError: Its release number is below ``least``.
    """
    release = read_bundle(bundle).manifest.release
    if release < least:
        raise SignatureError(f"{bundle}: release {release}, expected at least {least}. Get the current bundle.")


def signature_path(bundle: str | os.PathLike[str]) -> Path:
    """Return the default path of a bundle's signature, ``NAME.sig`` next to it."""
    path = Path(bundle)
    if path.name in ("", ".."):  # such as "." or "..": use the name of the folder
        path = path.resolve()
    return path.with_name(f"{path.name}.sig")


@contextmanager
def _as_folder(bundle: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Write the checked files of a bundle to a temporary folder; yield it with a path for a signature next to it."""
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
