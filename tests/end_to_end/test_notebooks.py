"""The notebooks of examples/notebooks run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import json
import shutil
import warnings

import pytest

from tests.conftest import REPO_ROOT
from tests.fixtures.web_page import require_page

NOTEBOOKS = sorted((REPO_ROOT / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs(path):
    cells = [cell for cell in json.loads(path.read_bytes())["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 3
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of the notebooks, shared: one uses the checkpoint of another."""
    target = tmp_path_factory.mktemp("notebooks") / "examples"
    shutil.copytree(REPO_ROOT / "examples", target)
    return target / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("first_classifier", "64 examples, 8 labels"),
        ("from_checkpoint_to_browser", "model.onnx"),
        ("working_with_a_log", "150 messages, 8 labels"),
    ],
)
def test_a_notebook_runs(name, printed, folder, environment, monkeypatch):
    if "browser" in name:
        require_page()
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress")  # tqdm wants a package for its bars
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the Jupyter client; those of our code are errors in all other tests
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        where = {"metadata": {"path": str(folder)}}
        done = NotebookClient(notebook, timeout=300, allow_errors=True, resources=where).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    errors = [output for output in outputs if output.output_type == "error"]
    noise = [
        output.text for output in outputs if output.get("name") == "stderr" and "CrossTuneWarning" not in output.text
    ]
    assert (errors, noise) == ([], [])
    assert printed in "".join(output.get("text", "") for output in outputs)
