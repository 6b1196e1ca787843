"""What is loaded when: import-linter reads source, these read ``sys.modules`` of a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import typer
from crosstune_cli import crosstune_app, export_app

HEAVY = ("torch", "transformers", "onnx", "onnxscript", "onnx_ir", "sklearn", "scipy", "pydantic", "safetensors", "pyarrow",
         "openai", "httpx2", "fastapi", "uvicorn", "prometheus_client")  # fmt: skip
REPORT = "import json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"


def loaded(code: str, *arguments: str) -> set[str]:
    """Top-level modules in a fresh process after some code; what the code prints does not count."""
    wrapped = f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n{_indented(code)}\n{REPORT}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", wrapped, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return set(json.loads(done.stdout))


def _indented(code: str) -> str:
    return "\n".join(f"    {line}" for line in code.splitlines())


@pytest.mark.parametrize(
    "module",
    [
        "crosstune_export",
        "crosstune_export.bundle.manifest",
        "crosstune_export.bulk.run",
        "crosstune_export.runtime.classifier",
        "crosstune_export.bench.latency",
        "crosstune_export.bench.report",
        "crosstune_cli.crosstune_app",
        "crosstune.augmentation",
        "crosstune_cli.export_app",
        "crosstune",
        "crosstune.core.outputs",
    ],
)
def test_light_modules_load_nothing_heavy(module):
    found = loaded(f"import {module}")
    assert module.split(".")[0] in found
    assert found.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["crosstune.core.errors", "crosstune_export.bundle.manifest"])
def test_the_manifest_and_the_errors_are_standard_library_only(module):
    found = loaded(f"import {module}") - {"crosstune", "crosstune_export"}
    ours = {name for name in found if not name.startswith(("_", "sphinxcontrib"))}  # _ and .pth hooks are the venv's
    assert ours - loaded("pass") <= set(sys.stdlib_module_names)


def test_the_runtime_loads_the_ground_floor_of_crosstune_and_no_more():
    code = (
        "import crosstune_export.runtime.classifier, crosstune_export.bundle.files, sys\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('crosstune.')}\n"
        "assert rooms == {'core'}, rooms\n"
        "assert 'crosstune_export.builder' not in sys.modules"
    )
    assert loaded(code).isdisjoint({"crosstune_cli", "typer", "rich"})


def test_a_whole_classification_loads_nothing_heavy(tiny_bundle_dir):
    code = (
        "import sys\n"
        "from crosstune_export import Classifier\n"
        "classifier = Classifier.load(sys.argv[1])\n"
        "assert classifier.classify(['where is it'])[0].label in classifier.labels\n"
        "assert classifier.selftest().passed"
    )
    found = loaded(code, str(tiny_bundle_dir))
    assert {"onnxruntime", "tokenizers", "numpy"} <= found
    assert found.isdisjoint(HEAVY)


def commands() -> list[tuple[str, ...]]:
    found = []
    for module, app in (("crosstune_app", crosstune_app.app), ("export_app", export_app.app)):
        found.append((module,))
        found += [(module, name) for name in typer.main.get_command(app).commands]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_answers_without_the_heavy_packages(command):
    module, *name = command
    code = (
        f"from crosstune_cli import {module}, run\n"
        f"assert run.exit_code({module}.app, 'program', {[*name, '--help']!r}) == 0"
    )
    found = loaded(code)
    assert "typer" in found
    assert found.isdisjoint({*HEAVY, "onnxruntime", "tokenizers", "numpy"})


@pytest.mark.slow
def test_the_heavy_list_is_not_out_of_date():
    """The guards above would pass if these packages had other names."""
    found = loaded(
        "import crosstune.training, crosstune.estimator, crosstune_export.builder.pipeline\n"
        "from transformers import AutoModel\n"
        "import crosstune_export.serve.server, openai, pyarrow"
    )
    assert set(HEAVY) <= found
