"""``crosstune-export classify -`` on a pipe: a line out for a line in."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
#: Seconds that a line may take, model loading included.
PATIENCE = 120


@contextmanager
def live(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """A running ``classify`` with pipes; ended if its lines do not come in time."""
    program = Path(sys.executable).with_name("crosstune-export")
    command = [str(part) for part in (program, "classify", *arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        watch = threading.Timer(PATIENCE, process.kill)
        watch.start()
        try:
            yield process
            process.stdin.close()
            assert process.wait() == 0
        finally:
            watch.cancel()
            process.kill()


def answer(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline()


@pytest.mark.fault("L11")
@pytest.mark.parametrize("workers", [1, 2])
def test_each_line_is_answered_before_the_next_comes(tiny_fp32_bundle_dir, workers):
    with live(tiny_fp32_bundle_dir, "-", "--workers", workers) as process:
        for text in ("where is my parcel", "thanks", "the invoice is wrong"):
            assert json.loads(answer(process, f"{text}\n".encode()))["text"] == text


@pytest.mark.fault("L11")
def test_a_burst_goes_to_the_workers_and_the_next_line_is_answered_at_once(tiny_fp32_bundle_dir):
    with live(tiny_fp32_bundle_dir, "-", "--workers", 2) as process:
        assert json.loads(answer(process, b"first\n"))["text"] == "first"
        texts = [f"text {i}" for i in range(5000)]
        feed = threading.Thread(target=process.stdin.write, args=("".join(f"{text}\n" for text in texts).encode(),))
        feed.start()
        found = [json.loads(process.stdout.readline())["text"] for _ in texts[:-1]]
        feed.join()
        process.stdin.flush()
        found.append(json.loads(process.stdout.readline())["text"])
        assert found == texts
        assert json.loads(answer(process, b"last\n"))["text"] == "last"


@pytest.mark.fault("L11")
def test_rows_of_a_table_are_answered_one_by_one(tiny_fp32_bundle_dir):
    options = ("--input-format", "csv", "--text-column", "Message", "--format", "csv")
    with live(tiny_fp32_bundle_dir, "-", *options) as process:
        assert answer(process, b"id;Message\n1;where is it\n").startswith(b"id,Message,label,prob,")
        assert process.stdout.readline().startswith(b"1,where is it,")
        assert answer(process, b'2;"two\nlines"\n') == b'2,"two\n'
        assert process.stdout.readline().startswith(b'lines",')
