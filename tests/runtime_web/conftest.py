"""crosstune-web as ``make web`` built it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.conftest import REPO_ROOT
from tests.runtime_web.node_runtime import NodeRuntime, install
from tests.runtime_web.page_fixtures import BROWSER_OPTIONS, find_browser, require_page


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the npm package, built."""
    folder = REPO_ROOT / "runtime_web"
    if not (folder / "dist" / "node.js").exists():
        pytest.fail("runtime_web/dist: not built, expected for these tests. Run: make web")
    return folder


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory, package) -> Path:
    """A folder with nothing but the packed package, installed."""
    folder = tmp_path_factory.mktemp("npm")
    install(package, folder)
    return folder


@pytest.fixture(scope="session")
def runtime(clean_folder):
    """The installed package, at work in Node."""
    runtime = NodeRuntime(clean_folder)
    yield runtime
    runtime.close()


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    require_page()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()
