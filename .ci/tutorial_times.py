"""Clones the repository, types the commands of docs/data.md as a newcomer would, and prints how long each takes.

usage: python .ci/tutorial_times.py [--bin FOLDER]     FOLDER has the programs; default: make an environment in the clone
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVE_S = 120  # for the server to answer, on a slow machine


def commands(page: str, port: int) -> list[str]:
    """Return the command lines of a page, with a free port in place of the one that it names."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [block.strip().replace("8080", str(port)) for block in blocks]


def timed(line: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command line, and print its time; one that fails ends the program."""
    started = time.monotonic()
    subprocess.run(["bash", "-c", line], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    print(f"{time.monotonic() - started:7.1f} s  {line}", flush=True)


def main() -> None:
    """Run the tutorial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, help="folder of the programs; default: make an environment in the clone")
    programs = parser.parse_args().bin
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        clone, environment = Path(name) / "clone", dict(os.environ)
        timed(f"git clone --quiet {ROOT} {clone}", Path(name), environment)
        if programs is None:
            timed("make .venv/.installed", clone, environment)
            programs = clone / ".venv" / "bin"
        environment |= {
            "PATH": f"{programs.resolve()}{os.pathsep}{environment['PATH']}",
            "CROSSTUNE_CACHE": str(Path(name) / "cache"),  # a newcomer has none
        }
        folder = clone / "examples" / "spreadsheet"
        *lines, serve, ask = commands((clone / "docs" / "data.md").read_text("utf-8"), port)
        for line in lines:
            timed(line, folder, environment)
        started = time.monotonic()
        with subprocess.Popen(["bash", "-c", f"exec {serve}"], cwd=folder, env=environment) as server:
            try:
                while subprocess.run(["bash", "-c", ask], stdout=subprocess.DEVNULL, check=False).returncode:
                    if server.poll() is not None or time.monotonic() > started + SERVE_S:
                        raise SystemExit(f"{serve}: does not answer")
                    time.sleep(0.1)
                print(f"{time.monotonic() - started:7.1f} s  {serve}, until it answers: {ask}", flush=True)
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
