"""Reproducibility: builds of a checkpoint in different folders, languages, time zones and hash seeds must give one SHA-256.

python -m benchmarks.parity.same_bytes CHECKPOINT --builds 10 --precision int8
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

LOCALES = ("C", "C.UTF-8", "tr_TR.UTF-8", "de_DE.UTF-8")
ZONES = ("UTC", "Asia/Tokyo", "America/St_Johns", "Pacific/Kiritimati")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder")
    parser.add_argument("--builds", type=int, default=10, help="number of builds")
    parser.add_argument("--precision", default="int8", help="fp32 or int8")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    digests: Counter[str] = Counter()
    code = "from crosstune_cli.export_app import main; main()"
    for number in range(arguments.builds):
        with tempfile.TemporaryDirectory(prefix=f"build {number} ") as name:
            folder = Path(name, *[f"f{number}"] * (1 + number % 3))
            folder.mkdir(parents=True)
            shutil.copytree(arguments.checkpoint, folder / "x.ckpt")
            environment = os.environ | {
                "PYTHONHASHSEED": str(number * 7919),
                "LC_ALL": LOCALES[number % len(LOCALES)],
                "TZ": ZONES[number % len(ZONES)],
                "HOME": name,
            }
            options = ["--precision", arguments.precision, "--max-flips", "100"]
            command = [sys.executable, "-c", code, "build", "x.ckpt", "--output", "x.bundle", *options]
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            files = sorted((folder / "x.bundle").iterdir())
            digests[hashlib.sha256(b"".join(item.read_bytes() for item in files)).hexdigest()] += 1
            print(f"{number + 1} of {arguments.builds}: {dict(digests)}", file=sys.stderr)
    found = {"builds": arguments.builds, "precision": arguments.precision, "digests": dict(digests)}
    print(json.dumps(found))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    if len(digests) != 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
