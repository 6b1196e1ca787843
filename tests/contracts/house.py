"""The shape of each package in figures: ``python -m tests.contracts.house``."""

from __future__ import annotations

import ast
from pathlib import Path

import grimp

REPO_ROOT = Path(__file__).resolve().parents[2]
#: Import names and folders of the packages.
PACKAGES = {"crosstune": "crosstune", "crosstune_export": "crosstune_export", "crosstune_cli": "cli"}
Imports = dict[str, set[str]]


def imports_of(package: str) -> Imports:
    """For each module the modules of its package that it imports anywhere, those for type checkers aside."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def reached_from(module: str, imports: Imports) -> set[str]:
    """The modules that a module imports, directly or by way of others; itself among them only in a circle."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        new = imports[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def circles(imports: Imports) -> list[list[str]]:
    """The strongly connected components of more than one module: all of one import each other, directly or not."""
    reached = {module: reached_from(module, imports) for module in imports}
    found = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in imports
        if module in reached[module]
    }
    return [list(circle) for circle in sorted(found)]


def levels(imports: Imports) -> int:
    """How many levels there are: a module stands one above the highest that it imports, a circle on one level."""
    circle_of = {module: circle for circle in circles(imports) for module in circle}
    reached = {module: reached_from(module, imports) | {module} for module in imports}
    level: dict[str, int] = {}
    for module in sorted(imports, key=lambda module: len(reached[module])):  # what is imported comes first
        members = circle_of.get(module, [module])
        below = set().union(*(imports[member] for member in members)).difference(members)
        level[module] = 1 + max((level[other] for other in below), default=0)
    return max(level.values())


def files_of(package: str) -> list[Path]:
    """The source files of a package."""
    return sorted((REPO_ROOT / PACKAGES[package]).rglob("*.py"))


def entries_of(package: str) -> list[str]:
    """The modules and packages at the top of a package."""
    folder = REPO_ROOT / PACKAGES[package]
    files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    return sorted([*files, *(path.parent.name for path in folder.glob("*/__init__.py"))])


def longest_file(package: str) -> tuple[int, str]:
    """Its lines and its path."""
    return max((len(path.read_text("utf-8").splitlines()), _name(path)) for path in files_of(package))


def longest_function(package: str) -> tuple[int, str]:
    """Its lines, without decorators, and its path and name."""
    return max(
        (node.end_lineno - node.lineno + 1, f"{_name(path)}:{node.name}")
        for path in files_of(package)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )


def _name(path: Path) -> str:
    return path.relative_to(REPO_ROOT).as_posix()


def report(package: str) -> str:
    """The figures of a package, a line each."""
    imports, entries = imports_of(package), entries_of(package)
    found = circles(imports)
    lines, file = longest_file(package)
    length, function = longest_function(package)
    return "\n".join(
        [
            f"{package}: {len(files_of(package))} files on {levels(imports)} levels, {len(found)} circles",
            f"  longest file: {file}, {lines} lines",
            f"  longest function: {function}, {length} lines",
            f"  entries at the top: {len(entries)} ({', '.join(entries)})",
            *(f"  circle: {', '.join(circle)}" for circle in found),
        ]
    )


if __name__ == "__main__":
    print("\n".join(map(report, PACKAGES)))
