"""The same bundles on several versions of Python and onnxruntime, each in a new environment with the base install.

    python -m benchmarks.parity.onnxruntime_versions out/support.bundle out/support-fp32.bundle --python python3.10 --python python3.13

Installs a wheel of this tree for each Python with each release of onnxruntime, and once with the oldest supported
version of every dependency. ``crosstune-export verify`` runs the self-test of each bundle and of the golden bundles.
``classify`` labels the test texts of the example data, one at a time. Labels and probabilities are compared with those
of the environment that runs this script. Combinations without a wheel are reported as such.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXTS = ROOT / "examples" / "support_desk" / "test.jsonl"
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.bundle.zip"))
PACKAGES = ("onnxruntime", "numpy", "tokenizers", "typer", "rich")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in an environment that leads to no other one."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def wheel_of_this_tree(folder: Path) -> Path:
    """Built from a copy: building leaves folders behind."""
    source = folder / "source"
    for name in ("crosstune", "crosstune_export", "cli"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", folder, source, cwd=folder).check_returncode()
    (wheel,) = folder.glob("*.whl")
    return wheel


def floors() -> tuple[str, ...]:
    """The base install with the CPU, every package at the oldest that pyproject.toml allows."""
    wanted = (line.partition(";") for line in metadata.requires("crosstune-export") or ())
    base = [package for package, _, extra in wanted if extra in ("", ' extra == "cpu"')]
    return tuple(re.sub(r"^([\w-]+).*>=([\d.]+).*$", r"\1==\2", package) for package in base)


def answers(scripts: Path, bundle: Path, folder: Path) -> dict[str, object]:
    """What the installed program says of a bundle and of the texts."""
    program = scripts / "crosstune-export"
    verified = run(program, "verify", bundle, cwd=folder)
    if verified.returncode != 0:
        return {"error": verified.stderr.strip()}
    done = run(program, "classify", bundle, TEXTS, "--batch-size", "1", "--workers", "1", cwd=folder)
    if done.returncode != 0:
        return {"error": done.stderr.strip()}
    return {
        "selftest": verified.stdout.splitlines()[1],
        "rows": [json.loads(line) for line in done.stdout.splitlines()],
    }


def compared(found: dict[str, object], expected: dict[str, object]) -> dict[str, object]:
    """Two environments on one bundle."""
    if "error" in found:
        return found
    pairs = list(zip(found["rows"], expected["rows"], strict=True))
    return {
        "selftest": found["selftest"],
        "texts": len(pairs),
        "labels_differing": sum(one["label"] != other["label"] for one, other in pairs),
        "max_prob_difference": max(
            abs(one["probs"][name] - prob) for one, other in pairs for name, prob in other["probs"].items()
        ),
    }


def environment(python: str, requirements: tuple[str, ...], wheel: Path, folder: Path) -> Path | str:
    """The scripts of a fresh environment, or why there is none."""
    run(python, "-m", "venv", folder / "venv", cwd=folder).check_returncode()
    scripts = folder / "venv" / "bin"
    packages = (f"{wheel}[cpu]", *requirements)
    installed = run(scripts / "python", *PIP, "install", "--only-binary", ":all:", *packages, cwd=folder)
    return scripts if installed.returncode == 0 else installed.stderr.strip().splitlines()[-1]


def versions(python: Path, folder: Path) -> dict[str, str]:
    """Versions of the packages of an interpreter."""
    code = f"import json, importlib.metadata as m\nprint(json.dumps({{name: m.version(name) for name in {PACKAGES}}}))"
    return json.loads(run(python, "-c", code, cwd=folder).stdout)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", help="bundle folders")
    parser.add_argument("--python", action="append", help="interpreter; repeat for more; default: this one")
    parser.add_argument(
        "--versions", default="1.20.0,1.23.2,newest", help="releases of onnxruntime, separated by commas"
    )
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    bundles = [path.resolve() for path in (*arguments.bundles, *GOLDEN)]
    wanted = [() if version == "newest" else (f"onnxruntime=={version}",) for version in arguments.versions.split(",")]
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        wheel = wheel_of_this_tree(here)
        expected = {bundle: answers(Path(sys.executable).parent, bundle, here) for bundle in bundles}
        for python in arguments.python or [sys.executable]:
            for requirements in (floors(), *wanted):
                with tempfile.TemporaryDirectory(dir=here) as place:
                    folder = Path(place)
                    interpreter = run(python, "--version", cwd=folder).stdout.split()[-1]
                    row: dict[str, object] = {"python": interpreter, "asked_for": " ".join(requirements) or "newest"}
                    scripts = environment(python, requirements, wheel, folder)
                    if isinstance(scripts, str):
                        row["error"] = scripts
                    else:
                        row |= versions(scripts / "python", folder)
                        row["bundles"] = {
                            bundle.name: compared(answers(scripts, bundle, folder), expected[bundle])
                            for bundle in bundles
                        }
                    rows.append(row)
                    print(json.dumps(row), flush=True)
        this = {"python": platform.python_version()} | versions(Path(sys.executable), here)
    found = {"compared_with": this, "environments": rows}
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
