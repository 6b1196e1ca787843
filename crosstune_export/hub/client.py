"""The client of the model hub, and its errors as ours."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from crosstune.core.errors import ConfigError, CrossTuneError, MissingExtraError, ResourceError
from crosstune.core.hub_ids import HUB_ID

#: The hub answers 401 and 403 for what a token may not see, and 404 for what is not there.
_NOT_ALLOWED = (401, 403)
_HEX_DIGITS = frozenset("0123456789abcdef")


def check_repository(repo: str) -> None:
    """Refuse what is not the name of a repository.

    Raises:
        ConfigError: ``repo`` is not of the form ``owner/name``.
    """
    if not HUB_ID.fullmatch(repo):
        raise ConfigError(f"repository: found {repo!r}, expected OWNER/NAME, such as my-team/news.")


def check_digest(digest: str | None) -> None:
    """Refuse what is not the digest of a bundle.

    Raises:
        ConfigError: It is not 64 lowercase hex digits.
    """
    if digest is not None and not (len(digest) == 64 and _HEX_DIGITS.issuperset(digest)):
        raise ConfigError(
            f"digest: found {digest[:80]!r}, expected 64 lowercase hex digits. crosstune-export verify prints it."
        )


def hub_library() -> ModuleType:
    """Import huggingface_hub.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
        from huggingface_hub.file_download import DryRunFileInfo  # noqa: F401 - older versions have none
    except ImportError as error:
        raise MissingExtraError(
            "huggingface_hub: not installed, or too old, expected for the model hub. Run: pip install 'crosstune-export[hub]'"
        ) from error
    return huggingface_hub


def hub_api(token: str | None) -> Any:  # noqa: ANN401 - HfApi, which is imported late
    """Return a client for the hub that ``HF_ENDPOINT`` names, by default https://huggingface.co.

    Args:
        token: Access token; None for that of ``HF_TOKEN`` or of ``hf auth login``, if any.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return hub_library().HfApi(endpoint=endpoint, token=token, library_name="crosstune-export")


@contextmanager
def hub_errors(repo: str, token: str | None) -> Iterator[None]:
    """Turn the errors of the client into ours, without its log lines; progress bars appear on a terminal only.

    Args:
        repo: The repository, for messages.
        token: The access token, which no message may contain.

    Raises:
        ConfigError: The repository, the revision or the permission is missing.
        ResourceError: The hub cannot be reached, or fails.
    """
    library = hub_library()
    bars = library.utils.are_progress_bars_disabled()
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    if not bars and not (sys.stderr is not None and sys.stderr.isatty()):
        library.utils.disable_progress_bars()
    try:
        yield
    except CrossTuneError:
        raise
    except (OSError, ValueError, RuntimeError, library.errors.HTTPError) as error:
        raise _our_error(error, repo, token) from error
    finally:
        log.setLevel(level)
        if not bars and library.utils.are_progress_bars_disabled():
            library.utils.enable_progress_bars()


def _our_error(error: Exception, repo: str, token: str | None) -> CrossTuneError:
    from huggingface_hub import errors

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (errors.HfHubHTTPError, errors.OfflineModeIsEnabled)):
        cause = cause.__cause__  # the client hides what the server said behind "not in the cache"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return ResourceError(
            f"{repo}: not on this machine, and HF_HUB_OFFLINE is set. Unset it, or pull the bundle before."
        )
    if isinstance(cause, errors.RevisionNotFoundError):
        return ConfigError(
            f"{repo}: has no such revision, expected a branch, a tag or a commit. Give another --revision."
        )
    status = cause.response.status_code if isinstance(cause, errors.HfHubHTTPError) else None
    if isinstance(cause, errors.RepositoryNotFoundError) or status in _NOT_ALLOWED:
        return ConfigError(
            f"{repo}: the hub answers {status}: there is no such repository, or this token may not use it. "
            "Check the name, and the token in HF_TOKEN."
        )
    if status == 400:
        return ConfigError(f"{repo}: the hub refuses the request ({_short(cause, token)}). Change it.")
    if status is not None:
        return ResourceError(f"{repo}: the hub answers {status}. Try again later.")
    return ResourceError(
        f"{repo}: the hub cannot be reached ({_short(error, token)}). Check the network and HF_ENDPOINT, and try again."
    )


def _short(error: BaseException | None, token: str | None) -> str:
    line = " ".join(str(error).split())[:160] or type(error).__name__
    return line.replace(token, "TOKEN") if token else line
