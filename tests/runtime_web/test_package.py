"""The npm package: what is in it, and its own tests."""

from __future__ import annotations

import json
import re

import pytest

from tests.runtime_web.node_runtime import node


def test_units(package):
    """The tests of the package itself, with Vitest."""
    done = node("node_modules/vitest/vitest.mjs", "run", cwd=package)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Tests +\d+ passed \(\d+\)", done.stdout), done.stdout


def test_the_packed_package_has_what_it_needs_and_nothing_else(clean_folder):
    installed = clean_folder / "node_modules" / "crosstune-web"
    names = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert {
        "package.json",
        "LICENSE",
        "README.md",
        "dist/index.js",
        "dist/index.d.ts",
        "dist/node.js",
        "dist/node.d.ts",
    } <= names
    assert {name for name in names if not name.startswith("dist/")} == {"package.json", "LICENSE", "README.md"}
    assert not [name for name in names if "test" in name and "selftest" not in name]


def test_the_public_names(clean_folder):
    code = "import * as web from 'crosstune-web'; console.log(JSON.stringify(Object.keys(web).sort()))"
    done = node("--input-type=module", "--eval", code, cwd=clean_folder)
    assert json.loads(done.stdout) == [
        "BundleContentError",
        "BundleError",
        "BundleFetchError",
        "BundleIntegrityError",
        "BundleVersionError",
        "CrossTuneError",
        "DataError",
        "PlatformError",
        "ConfigError",
        "load",
    ]


@pytest.mark.parametrize("strict", ["NodeNext", "Bundler"])
def test_types_are_found_by_a_strict_program(clean_folder, package, tmp_path, strict):
    program = """
import { load, BundleError, type Prediction } from "crosstune-web";
export async function first(text: string): Promise<Prediction | undefined> {
  try {
    const classifier = await load("support.bundle", { onProgress: (done: number, total: number) => void (done / total) });
    const [answer] = await classifier.classify([text], { threshold: 0.5 });
    const label: string | null | undefined = answer?.label;
    return label === null ? undefined : answer;
  } catch (error) {
    if (error instanceof BundleError) return undefined;
    throw error;
  }
}
"""
    (clean_folder / "program.ts").write_text(program, "utf-8")
    module = "NodeNext" if strict == "NodeNext" else "ESNext"
    options = (
        "--noEmit",
        "--strict",
        "--module",
        module,
        "--moduleResolution",
        strict,
        "--target",
        "ES2022",
        "--lib",
        "ES2022,DOM",
    )
    done = node(package / "node_modules/typescript/bin/tsc", *options, "program.ts", cwd=clean_folder)
    assert (done.returncode, done.stdout) == (0, "")
