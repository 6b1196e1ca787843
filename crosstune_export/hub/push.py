"""Write a bundle into a repository of a model hub: first what would be sent and to where, then the sending."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from crosstune.core.errors import ConfigError
from crosstune_export.bundle.archive import MEMBERS
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.signature import signature_path
from crosstune_export.hub.client import check_repository, hub_api, hub_errors, hub_library
from crosstune_export.hub.pull import SIGNATURE_NAME


@dataclass(frozen=True)
class Upload:
    """What ``send`` sends; making it sends nothing.

    Attributes:
        url: Page of the repository.
        repo: Repository, ``owner/name``.
        revision: Branch to which the files are added.
        public: Whether a repository that is new becomes public.
        digest: Digest of the bundle.
        contents: Contents by file name: the five files of the bundle, and its signature if it has one.
    """

    url: str
    repo: str
    revision: str
    public: bool
    digest: str
    contents: Mapping[str, bytes]

    @property
    def size_bytes(self) -> int:
        """Total size, in bytes."""
        return sum(map(len, self.contents.values()))


def prepare_upload(
    bundle: str | os.PathLike[str],
    repo: str,
    *,
    revision: str = "main",
    public: bool = False,
    token: str | None = None,
) -> Upload:
    """Check a bundle, the name of the repository, and that there is a token. Nothing is sent.

    Args:
        bundle: Bundle folder or packed bundle. A signature next to it is sent too.
        repo: Repository, ``owner/name``.
        revision: Branch to which the files are added.
        public: Whether a repository that is new becomes public.
        token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``.

    Raises:
        BundleError: The bundle is invalid.
        ConfigError: ``repo`` is not of the form ``owner/name``, or there is no token.
        MissingExtraError: huggingface_hub is not installed.
    """
    check_repository(repo)
    files = read_bundle(bundle)
    api = hub_api(token)
    if not (token or hub_library().get_token()):
        raise ConfigError(
            f"token: found none, expected one that may write to {repo}. Set HF_TOKEN, or run: hf auth login"
        )
    contents = {name: files.contents[name] for name in MEMBERS}
    signature = signature_path(bundle)
    if signature.is_file():
        contents[SIGNATURE_NAME] = signature.read_bytes()
    return Upload(f"{api.endpoint}/{repo}", repo, revision, public, files.manifest.digest, contents)


def send(upload: Upload, *, token: str | None = None, message: str | None = None) -> str:
    """Create the repository if it is new, and add the files in one commit.

    Args:
        upload: What to send.
        token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``.
        message: Subject of the commit; None for one with the digest.

    Returns:
        Address of the commit.

    Raises:
        ConfigError: The token may not write to the repository, or the hub refuses the files.
        ResourceError: The hub cannot be reached, or fails.
        MissingExtraError: huggingface_hub is not installed.
    """
    library, api = hub_library(), hub_api(token)
    operations = [library.CommitOperationAdd(name, data) for name, data in upload.contents.items()]
    with hub_errors(upload.repo, token or library.get_token()):
        api.create_repo(upload.repo, private=not upload.public, exist_ok=True)
        commit = api.create_commit(
            upload.repo,
            operations,
            commit_message=message or f"Add the bundle {upload.digest[:12]}",
            revision=upload.revision,
        )
    return str(commit.commit_url)


def push(
    bundle: str | os.PathLike[str],
    repo: str,
    *,
    revision: str = "main",
    public: bool = False,
    token: str | None = None,
    message: str | None = None,
) -> str:
    """Send a bundle to a repository of a model hub, and return the address of the commit.

    Args:
        bundle: Bundle folder or packed bundle. A signature next to it is sent too.
        repo: Repository, ``owner/name``; created if it is new.
        revision: Branch to which the files are added.
        public: Whether a repository that is new becomes public.
        token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``.
        message: Subject of the commit; None for one with the digest.

    Raises:
        BundleError: The bundle is invalid; nothing is sent.
        ConfigError: There is no token, it may not write to the repository, or the hub refuses the files.
        ResourceError: The hub cannot be reached, or fails.
        MissingExtraError: huggingface_hub is not installed.
    """
    upload = prepare_upload(bundle, repo, revision=revision, public=public, token=token)
    return send(upload, token=token, message=message)
