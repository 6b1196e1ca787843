"""Entry points of both programs; an interrupt during the imports ends them with one error line, as it does later."""

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
        sys.stderr.write("error: interrupted. No partial files were left; run the command again.\n")
        sys.exit(130)
    main()
