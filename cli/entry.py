"""Where both programs start: an interrupt while they still import what they need ends them as it does later."""

from __future__ import annotations

import importlib
import sys


def crosstune() -> None:
    """Entry point of ``crosstune``."""
    _start("crosstune_cli.crosstune_app")


def crosstune_export() -> None:
    """Entry point of ``crosstune-export``."""
    _start("crosstune_cli.export_app")


def _start(module: str) -> None:
    try:
        main = importlib.import_module(module).main
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted. Nothing half-written was left; run the command again.\n")
        sys.exit(130)
    main()
