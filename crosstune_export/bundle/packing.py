"""A bundle in one file and back: ``docs/bundle_format.md`` has the layout."""

from __future__ import annotations

import os
from pathlib import Path

from crosstune.core.outputs import check_output, check_places, new_file, new_folder
from crosstune_export.bundle.archive import archive_parts
from crosstune_export.bundle.files import BundleFiles, read_bundle, require_outside
from crosstune_export.bundle.manifest import MANIFEST_NAME


def pack(bundle: str | os.PathLike[str], output: str | os.PathLike[str], *, force: bool = False) -> BundleFiles:
    """Write a bundle as one file, which every byte of the bundle decides.

    Args:
        bundle: The bundle.
        output: File to write.
        force: Replace what is there, once the new file is complete.

    Returns:
        What was packed.

    Raises:
        BundleError: The bundle is refused.
        OutputExistsError: ``output`` is there and ``force`` is off.
        ConfigError: ``output`` is inside the bundle.
        ConfigError: ``output`` is what is packed already.
        ResourceError: The disk refuses a write.
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
        packed: What ``pack`` wrote.
        output: Bundle folder to write.
        force: Replace an existing bundle, once the new one is complete.

    Returns:
        What was unpacked.

    Raises:
        BundleError: The bundle is refused; nothing is written.
        OutputExistsError: ``output`` is there and ``force`` is off.
        ConfigError: ``output`` holds what is to be unpacked.
        ResourceError: The disk refuses a write.
    """
    target = Path(output)
    check_output(target, force=force, what="bundle", owned_marker=MANIFEST_NAME)
    check_places({"bundle": target}, [Path(packed)])
    files = read_bundle(packed)
    with new_folder(target) as folder:
        for name, data in files.contents.items():
            (folder / name).write_bytes(data)
    return files
