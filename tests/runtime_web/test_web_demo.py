"""The static site of examples/web_demo, served by the server that its README names."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time

import pytest
from playwright.sync_api import expect

from tests.conftest import REPO_ROOT
from tests.fixtures.web_page import TEXT, Visit

SCRIPT = REPO_ROOT / "examples" / "web_demo" / "make_site.py"


def make_site(*arguments, code: int = 0) -> str:
    done = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def http_server(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "http.server", "--directory", folder, "--bind", "127.0.0.1", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        try:
            while not answers(port):
                assert server.poll() is None
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


def test_the_site_classifies_without_a_server_of_ours(browser, tmp_path, tiny_fp32_bundle_dir, tiny_bundle_dir):
    site = tmp_path / "site"
    assert make_site(tiny_bundle_dir, site) == f"{site}\n"
    make_site(tiny_fp32_bundle_dir, site)  # again, with another bundle
    with http_server(site) as address:
        context = browser.new_context()
        visit = Visit(context.new_page(), address).open().ready()
        visit.page.locator("#text").fill(TEXT)
        expect(visit.page.locator("#verdict-label")).to_have_text("shipping")
        expect(visit.page.locator("#status")).to_have_text("tiny-fp32 is loaded, with 3 labels.")
        assert all(url.startswith(address) for url in visit.requests)
        assert visit.console == []
        context.close()


@pytest.mark.parametrize("what", ["a folder of somebody", "a broken bundle"])
def test_what_the_script_refuses(tmp_path, tiny_bundle_dir, what):
    if what == "a folder of somebody":
        (tmp_path / "mine.txt").write_text("mine")
        message = make_site(tiny_bundle_dir, tmp_path, code=1)
        assert message == f"{tmp_path}: is already there, expected a new folder. Choose another.\n"
    else:
        message = make_site(tmp_path, tmp_path / "site", code=1)
        assert message.startswith(f"{tmp_path}: no manifest.json, expected a bundle folder.")
        assert not (tmp_path / "site").exists()
