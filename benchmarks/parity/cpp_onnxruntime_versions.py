"""One build of the C++ runtime with several releases of onnxruntime, each compared with the Python runtime on the same release.

    make cpp && python -m benchmarks.parity.cpp_onnxruntime_versions out/support.bundle out/support-fp32.bundle

pip downloads the wheels that contain the libraries. Prints a row for each release and bundle: the self-test, and the
differences in labels and probabilities from Python on the test texts of the example data.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

PROGRAM = Path("build/cpp/release/crosstune-classify")
TEXTS = Path("examples/support_desk/test.jsonl")
PYTHON = """
import json, sys
from crosstune_export import Classifier
texts = [json.loads(line)["text"] for line in open(sys.argv[2], encoding="utf-8")]
print(json.dumps([[a.label, a.probs.tolist()] for a in Classifier.load(sys.argv[1]).classify(texts, batch_size=1)]))
"""


def unpacked(version: str, folder: Path) -> Path:
    """Folder of a wheel's contents."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--dest", folder, f"onnxruntime=={version}"], check=True, stderr=subprocess.DEVNULL)
    zipfile.ZipFile(next(folder.glob("onnxruntime-*.whl"))).extractall(folder / "wheel")
    return folder / "wheel"


def row(version: str, wheel: Path, bundle: Path) -> dict[str, object]:
    """What both runtimes say with one release."""
    library = next((wheel / "onnxruntime" / "capi").glob("libonnxruntime.so.*"))
    program = [PROGRAM, "--onnxruntime", library]
    selftest = subprocess.run(
        [*program, "--selftest", bundle], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run([*program, bundle, TEXTS], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", PYTHON, bundle, TEXTS], env=environment, capture_output=True, text=True, check=True
    )
    expected = json.loads(done.stdout)
    probs = np.array([list(item["probs"].values()) for item in found]) - np.array([item[1] for item in expected])
    return {
        "onnxruntime": version,
        "bundle": bundle.name,
        "selftest": selftest,
        "texts": len(found),
        "labels_differing_from_python": sum(a["label"] != b[0] for a, b in zip(found, expected, strict=True)),
        "max_prob_difference_to_python": float(np.abs(probs).max()),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", help="bundle folders")
    parser.add_argument(
        "--versions", default="1.20.1,1.23.2,1.32.0", help="releases of onnxruntime, separated by commas"
    )
    arguments = parser.parse_args()
    for version in arguments.versions.split(","):
        with tempfile.TemporaryDirectory() as folder:
            wheel = unpacked(version, Path(folder))
            for bundle in arguments.bundles:
                print(json.dumps(row(version, wheel, bundle)), flush=True)


if __name__ == "__main__":
    main()
