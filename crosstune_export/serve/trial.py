"""Tries a bundle in a process of its own before a reload, so that a bundle that ends its process does not end the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from crosstune.core import errors
from crosstune.core.errors import BundleContentError, CrossTuneError
from crosstune_export.serve.state import Trust, load_checked


def try_bundle(path: Path, trust: Trust, timeout_s: float) -> str:
    """Load a bundle and run its self-test in another process.

    Args:
        path: The bundle.
        trust: Whose bundles to accept.
        timeout_s: Seconds until the process is ended.

    Returns:
        The digest of the bundle that was tried.

    Raises:
        CrossTuneError: The bundle is refused, with the error that loading it raises.
        BundleContentError: The bundle ends the process, or takes too long.
    """
    request = {
        "path": str(path),
        "keys": [str(key) for key in trust.keys],
        "signature": None if trust.signature is None else str(trust.signature),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "crosstune_export.serve.trial"],
            input=json.dumps(request),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleContentError(
            f"{path}: not loaded and tested after {timeout_s:g} s. Do not use it; build the bundle again."
        ) from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise BundleContentError(
            f"{path}: ended the process that tried it (code {done.returncode}). Do not use it; build the bundle again."
        ) from None
    if "digest" in answer:
        return str(answer["digest"])
    raise getattr(errors, answer["error"])(answer["message"])


def _main() -> None:
    """Try the bundle that standard input names; the outcome is one line of JSON."""
    request = json.load(sys.stdin)
    signature = None if request["signature"] is None else Path(request["signature"])
    trust = Trust(tuple(Path(key) for key in request["keys"]), signature)
    answer: dict[str, str]
    try:
        answer = {"digest": load_checked(request["path"], trust).manifest.digest}
    except CrossTuneError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main()
