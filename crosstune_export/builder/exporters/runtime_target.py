"""Which file version of ONNX a version of onnxruntime loads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crosstune.core.errors import ConfigError

#: Graphs use operators of this version; onnxruntime knows it from 1.14 on.
OPSET = 18
#: From which onnxruntime on a graph may carry which IR version. Older ones refuse a newer IR, newer ones load all.
_IR_VERSIONS = (((1, 14), 8), ((1, 16), 9), ((1, 18), 10))
#: The onnxruntime a graph is built for when nobody asks: the oldest that the Python runtime works with.
DEFAULT_ONNXRUNTIME = "1.20"


@dataclass(frozen=True)
class RuntimeTarget:
    """The oldest onnxruntime that a graph must load on, and what follows from it."""

    min_onnxruntime: str
    opset: int
    ir_version: int


def runtime_target(version: str = DEFAULT_ONNXRUNTIME) -> RuntimeTarget:
    """What a graph for an onnxruntime looks like.

    Args:
        version: Such as ``1.20`` or ``1.20.1``.

    Example:
        >>> runtime_target("1.17")
        RuntimeTarget(min_onnxruntime='1.17.0', opset=18, ir_version=9)

    Raises:
        ConfigError: The version is not one, or is older than any that loads our operators.
    """
    found = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    oldest = ".".join(map(str, _IR_VERSIONS[0][0]))
    if not found:
        raise ConfigError(f"onnxruntime: found {version!r}, expected a version such as {DEFAULT_ONNXRUNTIME}.")
    major, minor, patch = (int(part or 0) for part in found.groups())
    known = [ir for since, ir in _IR_VERSIONS if (major, minor) >= since]
    if not known:
        raise ConfigError(
            f"onnxruntime: found {version}, expected {oldest} or later: older ones lack operators of opset {OPSET}. "
            "Use a later onnxruntime."
        )
    return RuntimeTarget(f"{major}.{minor}.{patch}", OPSET, known[-1])
