"""Writes docs/development/faults.md from the tests and fault_rows.toml, so that the page cannot claim what no test shows.

A test names the rows it shows with ``@pytest.mark.fault("A1")``. ``python tests/contracts/pages/make_faults_page.py`` writes the page;
``--check`` writes nothing and exits 1 where the page is out of date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from written_page import write_or_check

from crosstune.core.errors import ConfigError
from crosstune.core.strict_text import parse_toml

ROOT = Path(__file__).resolve().parents[3]
ROWS = Path(__file__).with_name("fault_rows.toml")
TITLE = """# What can go wrong

Each row is a fault and its result. Exit codes are [listed](../errors.md). With every exit code other than
0 comes one line on standard error: where, what was found, what was expected, and what to do next.

`make docs` writes this page from [fault_rows.toml](../../tests/contracts/pages/fault_rows.toml) and from the tests that name its rows
(`@pytest.mark.fault("A1")`). A test fails if the page is out of date, and CI runs every test on it.
"""


def marked_tests() -> dict[str, list[str]]:
    """By row, the tests that name it: ``tests/x/test_y.py::test_z``."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        module = ast.parse(path.read_text("utf-8"))
        lists = {
            node.targets[0].id: node.value
            for node in module.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(module):
            if isinstance(node, ast.FunctionDef):
                for row in dict.fromkeys(_rows_of(node, lists)):
                    found.setdefault(row, []).append(f"{name}::{node.name}")
    return found


def _rows_of(function: ast.FunctionDef, lists: dict[str, ast.expr]) -> Iterator[str]:
    """Rows in the decorators of a test, and in the lists of the module that these name: a mark may stand inside a parameter."""
    named = [
        node.id for decorator in function.decorator_list for node in ast.walk(decorator) if isinstance(node, ast.Name)
    ]
    for place in (*function.decorator_list, *(lists[name] for name in named if name in lists)):
        for call in ast.walk(place):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault":
                yield from (str(argument.value) for argument in call.args if isinstance(argument, ast.Constant))


def page() -> str:
    """The whole page.

    Raises:
        ValueError: A test names a row that is not there, or a row has neither a test nor a note.
    """
    table = parse_toml(ROWS.read_text("utf-8"), ROWS.name, ConfigError)
    sections, rows, tests = table["sections"], table["rows"], marked_tests()
    if unknown := sorted(tests.keys() - rows.keys()):
        raise ValueError(f"{tests[unknown[0]][0]}: names the fault {unknown[0]!r}, which {ROWS.name} has not.")
    if silent := [name for name in rows if name not in tests and "note" not in rows[name]]:
        raise ValueError(f"{ROWS.name}: {silent[0]} has neither a test nor a note.")
    shown = sum(name in tests for name in rows)
    parts = [
        TITLE,
        f"{shown} of {len(rows)} rows are covered by {len({test for all_ in tests.values() for test in all_})} tests.\n",
    ]
    for letter, title in sections.items():
        parts += [
            f"## {letter}. {title}\n",
            "| row | fault | result | tests |\n|---|---|---|---|",
        ]
        parts += [_line(name, row, tests.get(name, [])) for name, row in rows.items() if name.startswith(letter)]
        parts[-1] += "\n"
    return "\n".join(parts)


def _line(name: str, row: dict[str, str], tests: list[str]) -> str:
    shown = [f"[{test.split('::test_')[1]}](../../{test.split('::')[0]})" for test in tests]
    note = row.get("note", "")
    if note and not (tests and note.startswith("not yet")):
        shown.append(note)
    cells = (name, row["fault"], row["then"], "<br>".join(shown))
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(write_or_check("docs/development/faults.md", page, "the tests"))
