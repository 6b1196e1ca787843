"""crosstune-web and its page, as ``make web`` built them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from crosstune_export import Classifier
from crosstune_export.web.page_server import served_files
from tests.conftest import REPO_ROOT
from tests.fixtures.node_runtime import NodeRuntime, install
from tests.fixtures.web_page import BROWSER_OPTIONS, Visit, find_browser, require_page, serving


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder of the built npm package."""
    folder = REPO_ROOT / "runtime_web"
    if not (folder / "dist" / "node.js").exists():
        pytest.fail("runtime_web/dist: not built, expected for these tests. Run: make web")
    return folder


@pytest.fixture(scope="session")
def clean_folder(tmp_path_factory, package) -> Path:
    """A folder in which only the packed package is installed."""
    folder = tmp_path_factory.mktemp("npm")
    install(package, folder)
    return folder


@pytest.fixture(scope="session")
def runtime(clean_folder):
    """The installed package, running in Node."""
    runtime = NodeRuntime(clean_folder)
    yield runtime
    runtime.close()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. Its event loop must end before other tests of the same process start one."""
    require_page()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a browser window on served files; closes all windows at the end."""
    visits = []

    def visit(files, **window) -> Visit:
        server = serving(files)
        address = server.__enter__()
        context = browser.new_context(**window)
        visits.append((context, server))
        return Visit(context.new_page(), address)

    yield visit
    for context, server in visits:
        context.close()
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def files(tiny_fp32_bundle_dir):
    """The page and a bundle, as ``crosstune-export web`` serves them."""
    return served_files(tiny_fp32_bundle_dir)


@pytest.fixture(scope="session")
def python(tiny_fp32_bundle_dir):
    """The Python runtime with the same bundle."""
    return Classifier.load(tiny_fp32_bundle_dir)
