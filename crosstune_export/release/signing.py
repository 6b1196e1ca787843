"""Sign bundles with a key and the model-signing library of the OpenSSF; ``bundle.signature`` checks the signatures.

The signature is written next to the bundle, as ``NAME.sig``, because a bundle has a fixed set of files. It covers the contents
of the five files, so it is valid for the folder and the packed form, and for the ``model_signing`` program.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crosstune.core.errors import ConfigError
from crosstune.core.outputs import check_output, check_places, new_file
from crosstune_export.bundle.files import read_bundle, require_outside
from crosstune_export.bundle.signature import model_signing, short_reason, signature_path, write_files


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
    signing = model_signing("signing")
    password = os.environ.get("CROSSTUNE_KEY_PASSWORD")
    with _as_folder(bundle) as (folder, signature):
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key, password=password)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{key}: not a private key ({short_reason(error)}), expected one of an elliptic curve in PEM."
            ) from error
        config.sign(folder, signature)
        data = signature.read_bytes()
    with new_file(target) as sink:
        sink.write(data)
    return target


@contextmanager
def _as_folder(bundle: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Write the checked files of a bundle to a temporary folder; yield it with a path for a signature next to it."""
    with tempfile.TemporaryDirectory() as name:
        yield write_files(read_bundle(bundle), Path(name))
