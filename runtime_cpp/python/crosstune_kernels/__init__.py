"""The fast kernels of crosstune-export: a library that onnxruntime loads."""

from __future__ import annotations

import ctypes
from pathlib import Path

__all__ = ["location", "processor"]


def location() -> Path:
    """Return the path of the library, for ``SessionOptions.register_custom_ops_library``.

    Raises:
        FileNotFoundError: The package was installed without it.
    """
    found = sorted(Path(__file__).parent.glob("libcrosstune_kernels.*"))
    if not found:
        raise FileNotFoundError("crosstune-kernels: the library is missing. Install the package again.")
    return found[0]


def processor() -> str | None:
    """Return the name of the kernels that this processor runs, such as ``avx512``; None if it runs none."""
    function = ctypes.CDLL(str(location())).crosstune_kernels_name
    function.restype = ctypes.c_char_p
    name = function()
    return None if name is None else str(name, "ascii")
