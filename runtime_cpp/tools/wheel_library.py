"""Print the path of the shared library in the installed onnxruntime wheel."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path


def main() -> None:
    """Entry point."""
    try:
        files = metadata.files("onnxruntime") or []
    except metadata.PackageNotFoundError:
        raise SystemExit(
            "onnxruntime: not installed, expected its shared library. Run: pip install onnxruntime"
        ) from None
    libraries = [file for file in files if file.name.startswith("libonnxruntime.")]
    if not libraries:
        raise SystemExit("onnxruntime: the wheel has no libonnxruntime, expected one. Install another version.")
    print(Path(str(libraries[0].locate())).resolve())


if __name__ == "__main__":
    main()
