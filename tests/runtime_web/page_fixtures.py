"""The built page in a real browser, served with bundles that are whole or not."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from crosstune_export.web.page_server import PAGE_FOLDER, ServedFile, make_server
from tests.conftest import REPO_ROOT

expect.set_options(timeout=60_000)  # machines may be slow; nothing here waits for time to pass

#: As root there is no sandbox; the rest keeps the browser from looking for its maker's servers.
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
    """The browser that CHROMIUM names, that is on the PATH, or that ``make browser`` unpacked."""
    named = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    unpacked = REPO_ROOT / "build" / "web" / "chromium"
    if named is None and not unpacked.exists():
        pytest.fail("chromium: not found, expected for the tests of the page. Run: make browser")
    return named or str(unpacked)


def require_page() -> None:
    if not (PAGE_FOLDER / "index.html").exists():
        pytest.fail("crosstune_export/web/page: not built, expected for these tests. Run: make web")


@contextmanager
def serving(files: Mapping[str, ServedFile]) -> Iterator[str]:
    """The address under which files are served while the block runs."""
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
