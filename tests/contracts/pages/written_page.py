"""Writes a page that is made from something else, or says that it is out of date."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def write_or_check(name: str, page: Callable[[], str], source: str) -> int:
    """Write a page, named from the root of the repository.

    With ``--check`` write nothing and return 1 where the page is not what its source makes of it.
    """
    arguments = sys.argv[1:]
    if arguments not in ([], ["--check"]):
        print(f"{Path(sys.argv[0]).name}: found {' '.join(arguments)}, expected --check or nothing.", file=sys.stderr)
        return 2
    try:
        wanted = page()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    path = ROOT / name
    if not arguments:
        path.write_text(wanted, "utf-8", newline="\n")
    elif not path.is_file() or path.read_text("utf-8") != wanted:
        print(f"{name}: not what {source} say. Run: make docs", file=sys.stderr)
        return 1
    return 0
