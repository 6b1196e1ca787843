"""ONNX versions that a version of onnxruntime can load."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crosstune.core.errors import ConfigError

#: Operator set of all graphs; onnxruntime supports it since 1.14.
OPSET = 18
#: First onnxruntime that loads an IR version (its docs/Versioning.md); later ones load it too.
_IR_VERSIONS = (((1, 14), 8), ((1, 16), 9), ((1, 18), 10))
#: Default: the oldest onnxruntime that the Python runtime supports.
DEFAULT_ONNXRUNTIME = "1.20"


@dataclass(frozen=True)
class RuntimeTarget:
    """The oldest onnxruntime that must load a graph, with the opset and IR version for it."""

    min_onnxruntime: str
    opset: int
    ir_version: int


def runtime_target(version: str = DEFAULT_ONNXRUNTIME) -> RuntimeTarget:
    """Return the ONNX versions for the oldest onnxruntime to support.

    Args:
        version: Version of onnxruntime, such as ``1.20`` or ``1.20.1``.

    Examples:
        >>> runtime_target("1.17")
        RuntimeTarget(min_onnxruntime='1.17.0', opset=18, ir_version=9)

    Raises:
        ConfigError: The version is invalid, or too old for the opset.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    oldest = ".".join(map(str, _IR_VERSIONS[0][0]))
    if not match:
        raise ConfigError(f"onnxruntime: found {version!r}, expected a version such as {DEFAULT_ONNXRUNTIME}.")
    major, minor, patch = (int(part or 0) for part in match.groups())
    known = [ir for since, ir in _IR_VERSIONS if (major, minor) >= since]
    if not known:
        raise ConfigError(
            f"onnxruntime: found {version}, expected {oldest} or later: older ones lack operators of opset {OPSET}. "
            "Use a later onnxruntime."
        )
    return RuntimeTarget(f"{major}.{minor}.{patch}", OPSET, known[-1])
