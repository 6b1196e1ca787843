"""The built page in a real browser, served with valid and broken bundles."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from crosstune_export.web.page_server import PAGE_FOLDER, ServedFile, make_server
from tests.conftest import REPO_ROOT

expect.set_options(timeout=60_000)  # a slow machine must not fail a test; no test waits this long when it passes

#: A text that every tiny bundle labels "shipping".
TEXT = "where is my parcel"

#: The sandbox does not work for root; the other options stop requests to the browser's vendor.
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def find_browser() -> str:
    """The browser in CHROMIUM, on the PATH, or from ``make browser``."""
    named = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    unpacked = REPO_ROOT / "build" / "web" / "chromium"
    if named is None and not unpacked.exists():
        pytest.fail("chromium: not found, expected for the tests of the page. Run: make browser")
    return named or str(unpacked)


def require_page() -> None:
    if not (PAGE_FOLDER / "index.html").exists():
        pytest.fail("crosstune_export/web/page: not built, expected for these tests. Run: make web")


class Visit:
    """A visit to the page, with its requests and console messages."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.console: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))

    def open(self) -> Visit:
        self.page.goto(self.address)
        return self

    def ready(self) -> Visit:
        """Wait until the bundle is loaded and its self-test has ended."""
        expect(self.page.locator("#text")).to_be_enabled()
        expect(self.page.locator("#bundle-facts")).to_contain_text("Self-test in this browser")
        expect(self.page.locator("#bundle-facts")).not_to_contain_text("running")
        return self

    def refusal(self) -> str:
        """The error on the page."""
        expect(self.page.get_by_role("alert")).to_be_visible()
        expect(self.page.locator("#loading")).to_be_hidden()
        return self.page.get_by_role("alert").inner_text().replace(self.address, "ADDRESS/")


@contextmanager
def serving(files: Mapping[str, ServedFile]) -> Iterator[str]:
    """Serve files while the block runs; gives the address."""
    with make_server(files, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def axe_source(package: Path) -> str:
    return (package / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
