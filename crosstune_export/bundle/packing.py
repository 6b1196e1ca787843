"""Pack a bundle into one file, and unpack it; docs/bundle_format.md describes the layout."""

from __future__ import annotations

import os
from pathlib import Path

from crosstune.core.outputs import check_output, check_places, new_file, new_folder
from crosstune_export.bundle.archive import archive_parts
from crosstune_export.bundle.files import BundleFiles, read_bundle, require_outside
from crosstune_export.bundle.manifest import MANIFEST_NAME


def pack(bundle: str | os.PathLike[str], output: str | os.PathLike[str], *, force: bool = False) -> BundleFiles:
    """Write a bundle as one file; the same bundle always gives the same bytes.

    Args:
        bundle: Bundle folder or packed bundle.
        output: File to write.
        force: Replace an existing file, once the new one is complete.

    Returns:
        The bundle that was packed.

    Raises:
        BundleError: The bundle is invalid.
        OutputExistsError: ``output`` exists and ``force`` is off.
        ConfigError: ``output`` is inside the bundle, or is the bundle itself.
        ResourceError: Writing to the disk failed.
    """
    target = Path(output)
    check_output(target, force=force, what="packed bundle")
    require_outside(target, bundle, "packed bundle")
    check_places({"packed bundle": target}, [Path(bundle)])
    files = read_bundle(bundle)
    with new_file(target) as sink:
        for part in archive_parts(files.contents):
            sink.write(part)
    return files


def unpack(packed: str | os.PathLike[str], output: str | os.PathLike[str], *, force: bool = False) -> BundleFiles:
    """Write the files of a packed bundle as a folder.

    Args:
        packed: File written by ``pack``.
        output: Bundle folder to write.
        force: Replace an existing bundle, once the new one is complete.

    Returns:
        The bundle that was unpacked.

    Raises:
        BundleError: The bundle is invalid; nothing is written.
        OutputExistsError: ``output`` exists and ``force`` is off.
        ConfigError: ``packed`` is inside ``output``.
        ResourceError: Writing to the disk failed.
    """
    target = Path(output)
    check_output(target, force=force, what="bundle", owned_marker=MANIFEST_NAME)
    check_places({"bundle": target}, [Path(packed)])
    files = read_bundle(packed)
    with new_folder(target) as folder:
        for name, data in files.contents.items():
            (folder / name).write_bytes(data)
    return files
