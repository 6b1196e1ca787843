"""What is refused is refused in time that grows with its size and not with the square: nobody can make a reader busy for hours.

In a process of its own, which the system ends after some seconds of processor time: nothing here depends on what else runs.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

KEYS = 200_000
PROCESSOR_SECONDS = 60

KEY_TWICE = f"""
text = "{{" + ",".join(f'"{{i}}":0' for i in range({KEYS})) + ',"{KEYS - 1}":0}}'
"""
IN_A_BUNDLE = "from crosstune_export.bundle.strict_json import parse_strictly as parse" + KEY_TWICE
IN_TRAINING_DATA = (
    """from crosstune.core.strict_text import parse_json
def parse(text):
    parse_json(text, "here")
"""
    + KEY_TWICE
)

HEADER = f"""
from pathlib import Path
from crosstune.rows.sources import Source
from crosstune.rows.windows import read_windows
Path("t.csv").write_text("text," + ",".join(map(str, range({KEYS}))) + ",{KEYS - 1}\\n", "utf-8")
def parse(text):
    list(read_windows(Source("t.csv", "csv"), "text"))
text = ""
"""

SHAPE = f"""
from crosstune_export.bundle.manifest import GraphFacts
from crosstune_export.bundle.graph_check import check_graph
from crosstune_export.bundle.onnx_wire import bytes_field, number_field
sizes = bytes_field(1, b"\\xff\\xff\\xff\\xff\\x7f" * {KEYS})
constant = bytes_field(5, sizes + number_field(2, 1) + bytes_field(8, b"x"))
text = number_field(1, 10) + bytes_field(7, constant) + bytes_field(8, number_field(2, 18))
def parse(model):
    check_graph(model, GraphFacts((), (), "fp32", 18, 10, "1.20.0", (), 1), "here")
"""


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param(IN_A_BUNDLE, f"key '{KEYS - 1}' twice", id="a key twice in a bundle"),
        pytest.param(IN_TRAINING_DATA, f"key '{KEYS - 1}' twice", id="a key twice in training data"),
        pytest.param(HEADER, f"t.csv:1: column '{KEYS - 1}' appears more than once", id="a column twice"),
        pytest.param(SHAPE, "0 bytes for the constant 'x' of shape (34359738367, ", id="a shape of many axes"),
    ],
)
def test_in_time(tmp_path, code, message):
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_CPU, ({PROCESSOR_SECONDS}, {PROCESSOR_SECONDS}))\n"
    refused = "try:\n    parse(text)\nexcept Exception as error:\n    print(error)\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + code + refused], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert message in done.stdout
