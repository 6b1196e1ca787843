"""The files of a checkpoint folder: safetensors and JSON, every byte under a sum, and never a pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from crosstune.core.errors import CheckpointError, DataError
from crosstune.core.outputs import check_output, new_folder
from crosstune.core.regular_files import open_regular
from crosstune.core.strict_text import Json, parse_json

STATE_NAME = "checkpoint.json"
HEAD_NAME = "head.safetensors"
EXAMPLES_NAME = "examples.jsonl"
SUMS_NAME = "SHA256SUMS"
FORMAT_VERSION = 2
_FILES = (EXAMPLES_NAME, HEAD_NAME, STATE_NAME)


def write_files(folder: Path, files: Mapping[str, bytes], *, force: bool) -> None:
    """Write a checkpoint folder, whole or not at all.

    Args:
        folder: Where to.
        files: Name to content, in the order of writing; the sums are added.
        force: Replace an existing checkpoint.

    Raises:
        OutputExistsError: The folder is there and ``force`` is off, or it is not a checkpoint.
        ResourceError: The disk refuses a write.
    """
    check_output(folder, force=force, what="checkpoint", owned_marker=STATE_NAME)
    with new_folder(folder) as target:
        for name, data in files.items():
            (target / name).write_bytes(data)
        (target / SUMS_NAME).write_text(_sums(files), "ascii")


def read_files(folder: Path) -> dict[str, bytes]:
    """Read a checkpoint folder: name to content, the sums checked.

    Raises:
        CheckpointError: A file is missing, foreign or changed, or cannot be read.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise CheckpointError(f"{folder}: found {what}, expected a checkpoint folder. Make one with crosstune train.")
    try:
        names = {item.name for item in folder.iterdir()}
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror}). Check its rights.") from error
    expected = {*_FILES, SUMS_NAME}
    for name in sorted(expected - names):
        raise CheckpointError(f"{folder / name}: missing, expected in every checkpoint. Copy it again, or train again.")
    for name in sorted(names - expected):
        raise CheckpointError(
            f"{folder / name}: a foreign file, expected only {', '.join(sorted(expected))}. Remove it, or train again."
        )
    try:
        files = {name: _read(folder / name) for name in _FILES}
        sums = _read(folder / SUMS_NAME)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror}). Check its files.") from error
    if sums == _sums(files).encode("ascii"):
        return files
    for line in sums.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if name in files and hashlib.sha256(files[name]).hexdigest() != digest:
            raise CheckpointError(
                f"{folder / name}: changed since it was written (sha256). Copy it again, or train again."
            )
    raise CheckpointError(f"{folder / SUMS_NAME}: changed since it was written. Copy it again, or train again.")


def state_of(files: Mapping[str, bytes], folder: Path) -> dict[str, Json]:
    """Read the labels, settings and measurements of a checkpoint.

    Args:
        files: Name to content, from ``read_files``.
        folder: Where they lie, for messages.

    Raises:
        CheckpointError: It is not JSON, or of a version that this reader does not know.
    """
    where = str(folder / STATE_NAME)
    try:
        state = cast("dict[str, Json]", parse_json(files[STATE_NAME].decode("utf-8"), where))
        found, version = state["format"], state["format_version"]
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise unusable(folder, error) from error
    if found != "crosstune-checkpoint" or not isinstance(version, int) or version != FORMAT_VERSION:
        old = isinstance(version, int) and version < FORMAT_VERSION  # its head and its digest meant something else
        raise CheckpointError(
            f"{where}: format {found} {version}, this reader knows crosstune-checkpoint {FORMAT_VERSION}. "
            + ("Train again." if old else "Upgrade crosstune-export.")
        )
    return state


def unusable(folder: Path, error: Exception) -> CheckpointError:
    """The error of a checkpoint that is whole, and yet says what none can say."""
    reason = " ".join(repr(error).replace("\\n", " ").split())[:160]
    return CheckpointError(f"{folder / STATE_NAME}: not a usable checkpoint ({reason}). Train again.")


def _read(path: Path) -> bytes:
    with open_regular(path, CheckpointError, "Copy the checkpoint again, or train again.") as stream:
        return stream.read()


def _sums(files: Mapping[str, bytes]) -> str:
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
