"""``crosstune-export web``: the page itself is tested in tests/runtime_web."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.runtime_web.page_fixtures import require_page

PROGRAM = Path(sys.executable).with_name("crosstune-export")


@pytest.mark.parametrize("ends_with", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_serves_and_ends_on_a_signal(tiny_bundle_dir, ends_with):
    require_page()
    with subprocess.Popen(
        [PROGRAM, "web", tiny_bundle_dir, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        address = server.stdout.readline().decode().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=300) as page:
            assert b"<title>CrossTune</title>" in page.read()
        with urllib.request.urlopen(f"{address}bundle/manifest.json", timeout=300) as manifest:
            assert manifest.read() == (tiny_bundle_dir / "manifest.json").read_bytes()
        server.send_signal(ends_with)
        assert server.wait(60) == 0
        assert server.stderr.read().decode() == "ended.\n"


def test_a_bad_bundle(tmp_path):
    require_page()
    done = subprocess.run([PROGRAM, "web", tmp_path / "none"], capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (5, b"")
    assert done.stderr.decode() == (
        f"error: {tmp_path}/none: found nothing, expected a bundle folder. Build one with crosstune-export build.\n"
    )
