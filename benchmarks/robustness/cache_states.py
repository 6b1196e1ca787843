"""Train with a feature cache that is damaged, foreign, read-only or full, and compare the head with that of a training without a cache.

    python -m benchmarks.robustness.cache_states --json FILE

Each training is a ``crosstune train`` on 4 shots per label of the example data with the packaged backbone. The read-only and the full cache
are on file systems of their own (Linux, ``unshare``). The benchmark fails if a training fails, or if a head differs in any byte.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_EXAMPLES = Path(__file__).parents[2] / "examples" / "support_desk"
_NAME = "features.sqlite"
#: Shell commands that put another file system at $0, then run the rest.
_READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
_FULL = 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"'

Rows = list[tuple[bytes, bytes]]


def rewrite(change: Callable[[Rows], Rows]) -> Callable[[Path], None]:
    """Change every row of a cache."""

    def damage(cache: Path) -> None:
        with contextlib.closing(sqlite3.connect(cache / _NAME, isolation_level=None)) as table:
            rows = table.execute("SELECT key, states FROM features").fetchall()
            assert rows
            for key, states in change(rows):
                table.execute("UPDATE features SET states = ? WHERE key = ?", (states, key))

    return damage


def _nothing(cache: Path) -> None:
    del cache


def _another_database(cache: Path) -> None:
    (cache / _NAME).unlink()
    with contextlib.closing(sqlite3.connect(cache / _NAME)) as table:
        table.executescript("CREATE TABLE features (id INTEGER, other TEXT); INSERT INTO features VALUES (1, 'x')")


def _of_other_texts(rows: Rows) -> Rows:
    return [(key, states) for (key, _), (_, states) in zip(rows, rows[1:] + rows[:1], strict=True)]


#: What is done to a cache that holds all texts, and the file system that it lies on.
STATES: dict[str, tuple[Callable[[Path], object], str]] = {
    "as it was": (_nothing, ""),
    "one bit flipped in a row": (rewrite(lambda rows: [(rows[3][0], _flipped(rows[3][1]))]), ""),
    "one bit flipped in every row": (rewrite(lambda rows: [(key, _flipped(states)) for key, states in rows]), ""),
    "zeros": (rewrite(lambda rows: [(key, bytes(len(states))) for key, states in rows]), ""),
    "NaN": (rewrite(lambda rows: [(key, states[:16] + b"\0\0\xc0\x7f" * (len(states) // 4 - 4)) for key, states in rows]), ""),
    "rows of other texts": (rewrite(_of_other_texts), ""),
    "cut in half": (lambda cache: os.truncate(cache / _NAME, (cache / _NAME).stat().st_size // 2), ""),
    "no database": (lambda cache: (cache / _NAME).write_bytes(b"not a database" * 1000), ""),
    "a database of another program": (_another_database, ""),
    "read-only": (_nothing, _READ_ONLY),
    "read-only and empty": (lambda cache: (cache / _NAME).unlink(), _READ_ONLY),
    "full": (lambda cache: (cache / _NAME).unlink(), _FULL),
}  # fmt: skip


def _flipped(states: bytes) -> bytes:
    changed = bytearray(states)
    changed[len(changed) // 2] ^= 0x40
    return bytes(changed)


def train(checkpoint: Path, cache: Path, file_system: str = "") -> dict[str, object]:
    """Train in a process of its own; the SHA-256 of the head, exit code, seconds, and what was said about the cache."""
    command: list[object] = [
        Path(sys.executable).with_name("crosstune"), "train", "--train", _EXAMPLES / "train.jsonl",
        "--labels", _EXAMPLES / "labels.json", "--shots", 4, "--output", checkpoint,
    ]  # fmt: skip
    if file_system:
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", file_system, cache, *command]
    started = time.monotonic()
    done = subprocess.run(
        [*map(str, command)], env=os.environ | {"CROSSTUNE_CACHE": str(cache)}, capture_output=True, text=True, check=False
    )  # fmt: skip
    head = checkpoint / "head.safetensors"
    said = [line for line in done.stderr.splitlines() if "cache" in line or line.startswith("error")]
    return {
        "head": hashlib.sha256(head.read_bytes()).hexdigest() if head.exists() else None,
        "code": done.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "said": said[0].replace(str(cache.parent), "PLACE")[:160] if said else "",
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    print("| cache | code | same head | seconds | message |\n|---|---|---|---|---|")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "file").touch()
        full = place / "whole"
        for number, (state, (damage, file_system)) in enumerate(
            {"none": (_nothing, ""), "new": (_nothing, ""), **STATES}.items()
        ):
            cache = place / "file" / "cache" if state == "none" else full
            if state in STATES:
                cache = place / str(number)
                cache.mkdir(mode=0o700)
                (cache / _NAME).write_bytes((full / _NAME).read_bytes())
                damage(cache)
            rows.append({"cache": state, **train(place / f"{number}.ckpt", cache, file_system)})
            same = rows[-1]["head"] == rows[0]["head"] is not None
            print(
                f"| {state} | {rows[-1]['code']} | {'yes' if same else 'NO'} | {rows[-1]['seconds']} | {rows[-1]['said']} |",
                flush=True,
            )
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n", "utf-8")
    if any(row["code"] or row["head"] != rows[0]["head"] for row in rows):
        raise SystemExit("A training failed, or a head differs.")


if __name__ == "__main__":
    main()
