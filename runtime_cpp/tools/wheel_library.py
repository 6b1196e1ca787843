"""Print where the installed onnxruntime wheel has its shared library, for dlopen."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def main() -> None:
    """Print the path, or stop with one line."""
    try:
        files = metadata.files("onnxruntime") or []
    except metadata.PackageNotFoundError:
        raise SystemExit("onnxruntime: not installed, expected for its library. Run: pip install onnxruntime") from None
    found = [file for file in files if file.name.startswith("libonnxruntime.")]
    if not found:
        raise SystemExit("onnxruntime: no libonnxruntime in its wheel, expected one. Install another version.")
    print(Path(str(found[0].locate())).resolve())


if __name__ == "__main__":
    main()
