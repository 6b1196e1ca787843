"""Read a bundle from a repository of a model hub; every byte is checked as for a local bundle."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosstune.core.errors import BundleIntegrityError
from crosstune.core.outputs import check_output, new_file, new_folder
from crosstune_export.bundle.files import BundleFiles, checked_bundle
from crosstune_export.bundle.manifest import MANIFEST_NAME, SIZE_LIMITS
from crosstune_export.bundle.signature import signature_path
from crosstune_export.hub.client import check_digest, check_repository, hub_api, hub_errors

#: Name of the signature in a repository, and its maximum size in bytes; chosen by hand, a hundred times a usual one.
SIGNATURE_NAME, SIGNATURE_LIMIT = "bundle.sig", 1 << 20


@dataclass(frozen=True)
class PulledBundle:
    """A bundle of a repository in memory, with every byte checked against its manifest.

    Attributes:
        files: The bundle; its path is the name of the repository.
        commit: The commit that was read, 40 hex digits.
        signature: Local copy of its signature; None if the repository has none.
    """

    files: BundleFiles
    commit: str
    signature: Path | None


def read_repository(
    repo: str, *, revision: str | None = None, token: str | None = None, digest: str | None = None
) -> PulledBundle:
    """Download the five files of a bundle into the cache of huggingface_hub, and check them; nothing else is downloaded.

    A file is only downloaded if it has the size that the manifest states. Without a network, the copy in the cache is read.

    Args:
        repo: Repository, ``owner/name``.
        revision: Branch, tag or commit; None for ``main``.
        token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``, if any.
        digest: The bundle's digest (64 hex digits); None for any. With it, the hub need not be trusted.

    Raises:
        ConfigError: The repository, the revision or the permission is missing.
        ResourceError: The hub cannot be reached, and there is no copy in the cache.
        BundleError: There is no valid bundle in the repository.
        BundleIntegrityError: The bundle has another digest.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_repository(repo)
    check_digest(digest)
    with hub_errors(repo, token):
        source = _Repository(hub_api(token), repo, revision)
        files = checked_bundle(Path(repo), source.read)
        if digest is not None and files.manifest.digest != digest:
            raise BundleIntegrityError(
                f"{repo}: digest {files.manifest.digest[:12]}…, expected {digest[:12]}…. Ask its author, or give its commit."
            )
        return PulledBundle(files, source.commit, source.signature())


def pull(
    repo: str,
    output: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    digest: str | None = None,
    force: bool = False,
) -> PulledBundle:
    """Write a bundle of a repository as a folder; if it has a signature, also write that, as ``OUTPUT.sig``.

    Args:
        repo: Repository, ``owner/name``.
        output: Bundle folder to write.
        revision: Branch, tag or commit; None for ``main``.
        token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``, if any.
        digest: The bundle's digest (64 hex digits); None for any.
        force: Replace an existing bundle, once the new one is complete.

    Returns:
        The bundle that was written, and its commit.

    Raises:
        ConfigError: The repository, the revision or the permission is missing.
        OutputExistsError: ``output`` or its signature exists and ``force`` is off.
        ResourceError: The hub cannot be reached, or writing to the disk failed.
        BundleError: There is no valid bundle in the repository, or one with another digest; nothing is written.
        MissingExtraError: huggingface_hub is not installed.
    """
    target = Path(output)
    check_output(target, force=force, what="bundle", owned_marker=MANIFEST_NAME)
    check_output(signature_path(target), force=force, what="signature of the bundle")
    pulled = read_repository(repo, revision=revision, token=token, digest=digest)
    with new_folder(target) as folder:
        for name, data in pulled.files.contents.items():
            (folder / name).write_bytes(data)
    if pulled.signature is not None:
        with new_file(signature_path(target)) as sink:
            sink.write(pulled.signature.read_bytes())
    else:
        signature_path(target).unlink(missing_ok=True)  # it was of the bundle that has been replaced
    return pulled


class _Repository:
    """One commit of a repository: that to which the revision points when its first file is asked for."""

    def __init__(self, api: Any, repo: str, revision: str | None) -> None:  # noqa: ANN401 - HfApi, imported late
        self._api, self._repo = api, repo
        self.commit = revision or "main"

    def read(self, name: str, expected_bytes: int | None = None) -> bytes:
        """Return the contents of a file that the bundle must have; a size other than the expected one is refused unread."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        try:
            return self._path(name, SIZE_LIMITS[name], expected_bytes).read_bytes()
        except RemoteEntryNotFoundError as error:
            raise BundleIntegrityError(
                f"{self._repo}: no {name}, expected the files of a bundle. Give a repository that crosstune-export push has written."
            ) from error

    def signature(self) -> Path | None:
        """Return the local copy of the signature, if there is one."""
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return self._path(SIGNATURE_NAME, SIGNATURE_LIMIT, None)
        except EntryNotFoundError:
            return None

    def _path(self, name: str, limit: int, expected_bytes: int | None) -> Path:
        size = self._api.hf_hub_download(self._repo, name, revision=self.commit, dry_run=True).file_size
        if expected_bytes is not None and size != expected_bytes:
            raise BundleIntegrityError(
                f"{self._repo}/{name}: {size} bytes, expected {expected_bytes}. Push the bundle again."
            )
        if size is None or size > limit:
            raise BundleIntegrityError(f"{self._repo}/{name}: {size} bytes, expected at most {limit}. Build it again.")
        path = Path(self._api.hf_hub_download(self._repo, name, revision=self.commit))
        self.commit = path.parent.name  # of the cache's folder; all further files are of the same commit
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise BundleIntegrityError(
                f"{path}: {status.st_size} bytes, expected {size}. Remove it from the cache, and pull again."
            )
        return path
