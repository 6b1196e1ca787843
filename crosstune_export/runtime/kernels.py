"""Chooses between the fast kernels of the package ``crosstune-kernels`` and those of onnxruntime."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, cast, get_args

from crosstune.core.errors import ConfigError, MissingExtraError

#: ``auto``: the fast kernels where they can run. ``portable``: those of onnxruntime. ``fast``: the fast ones, or an error. ``plain``:
#: the reference of the fast ones, which runs on any processor and gives the same bits, slowly.
Kernels = Literal["auto", "portable", "fast", "plain"]
KERNELS = get_args(Kernels)
PORTABLE = "portable"
#: Environment variable with one of ``KERNELS``, for programs that have no option.
VARIABLE = "CROSSTUNE_KERNELS"
_INSTALL = "Run: pip install 'crosstune-export[fast]'."
#: Kernels of older releases run all layers of a bundle with early exits.
_OLDEST = (0, 2)


@dataclass(frozen=True)
class FastKernels:
    """What this machine has of the fast kernels.

    Attributes:
        name: Kernels for this processor, such as ``avx512``; None if they cannot run here.
        path: Path of the library; None if it is not installed or cannot be loaded.
        reason: Why they cannot run; empty if they can.
    """

    name: str | None
    path: str | None
    reason: str


@functools.cache
def fast_kernels() -> FastKernels:
    """Find the library and ask it which kernels this processor runs."""
    try:
        import crosstune_kernels

        version = metadata.version("crosstune-kernels")
    except ImportError:
        return FastKernels(None, None, f"crosstune-kernels is not installed. {_INSTALL}")
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return FastKernels(
            None, None, f"crosstune-kernels {version} is installed, expected {oldest} or later. {_INSTALL}"
        )
    try:
        library, name = str(crosstune_kernels.location()), crosstune_kernels.processor()
    except OSError as error:
        return FastKernels(None, None, f"the library of crosstune-kernels cannot be loaded ({error})")
    if name is None:
        return FastKernels(None, library, "this processor has no VNNI instructions")
    return FastKernels(name, library, "")


def check_kernels(name: str) -> Kernels:
    """Return one of ``KERNELS``; ``auto`` becomes what the environment variable says.

    Raises:
        ConfigError: There is no such choice.
    """
    chosen, where = (os.environ.get(VARIABLE) or "auto", VARIABLE) if name == "auto" else (name, "kernels")
    if chosen not in KERNELS:
        raise ConfigError(f"{where}: found {chosen!r}, expected one of {', '.join(KERNELS)}.")
    return cast("Kernels", chosen)


def wanted(choice: Kernels, not_this_graph: str, on_cpu: bool) -> FastKernels:
    """Return the kernels that a session should use instead of onnxruntime's; without a name, with the reason, for none.

    Args:
        choice: What was asked for.
        not_this_graph: Why the fast kernels cannot run the graph; empty if they can.
        on_cpu: Whether the session runs on the processor.

    Raises:
        MissingExtraError: ``fast`` or ``plain``, and they cannot run here or not this graph.
    """
    if choice == "portable":
        return FastKernels(None, None, "the portable kernels were chosen")
    here = fast_kernels()
    if choice == "plain" and here.path is not None:
        here = FastKernels("plain", here.path, "")
    reason = not_this_graph or ("" if on_cpu else "they run on the processor only") or here.reason
    if not reason:
        return here
    if choice != "auto":
        raise MissingExtraError(f"kernels: {reason.rstrip('.')}. Choose kernels=auto (--kernels auto).")
    return FastKernels(None, None, reason)


def register(options: Any, kernels: FastKernels, threads: int) -> None:  # noqa: ANN401
    """Let a session run the fast kernels.

    Args:
        options: ``onnxruntime.SessionOptions``.
        kernels: Which ones, as ``wanted`` returns them.
        threads: Threads per run.
    """
    options.add_session_config_entry("crosstune.kernels.threads", str(threads))
    options.add_session_config_entry("crosstune.kernels.name", kernels.name)
    options.register_custom_ops_library(kernels.path)
