"""The package as a whole: what it offers, what it loads, and how it fails."""

import pkgutil
import subprocess
import sys

import pytest

import crosstune
import crosstune_export
from crosstune.core import errors

MODULES = ["crosstune", *(module.name for module in pkgutil.walk_packages(crosstune.__path__, "crosstune."))]


def python(code, *args):
    """Run code in an interpreter of its own; its stdout."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = ("torch", "transformers", "sklearn", "pydantic", "pyarrow", "safetensors", "onnx", "onnxruntime", "typer")

BLOCK = """
import importlib.abc, sys
blocked = sys.argv[1]
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def test_importing_crosstune_loads_nothing_heavy():
    loaded = python("import crosstune, sys; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert "crosstune" in loaded
    assert not set(HEAVY) & set(loaded)


def test_reading_data_loads_nothing_heavy(support_desk):
    code = (
        "import crosstune, sys; crosstune.read_examples(sys.argv[1]); crosstune.read_labels(sys.argv[2]);"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    assert not set(HEAVY) & set(python(code, str(support_desk.train), str(support_desk.labels)).split())


@pytest.mark.slow
def test_crosstune_never_loads_what_stands_behind_it():
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    loaded = {name.split(".")[0] for name in python(code, *MODULES).split()}
    assert "torch" in loaded
    assert not {"crosstune_export", "crosstune_cli", "tests"} & loaded


@pytest.mark.parametrize(
    ("blocked", "name"),
    [
        ("torch", "train"),
        ("torch", "CrossTuneClassifier"),
        ("pydantic", "load_config"),
        ("safetensors", "load_checkpoint"),
        ("sklearn", "CrossTuneClassifier"),
    ],
)
def test_a_missing_package_gives_the_pip_line(blocked, name):
    code = BLOCK + (
        "import crosstune\n"
        "try: getattr(crosstune, sys.argv[2])\n"
        "except crosstune.MissingExtraError as error: print(error.exit_code, error)"
    )
    assert python(code, blocked, name) == (
        f"2 {blocked}: not installed, expected for training. Run: pip install 'crosstune-export[train]'\n"
    )


def test_parquet_without_pyarrow_gives_the_pip_line(tmp_path):
    code = BLOCK + (
        "import crosstune\n"
        "try: crosstune.read_examples(sys.argv[2])\n"
        "except crosstune.MissingExtraError as error: print(error)"
    )
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    assert python(code, "pyarrow", str(tmp_path / "x.parquet")) == (
        "pyarrow: not installed, expected for Parquet. Run: pip install 'crosstune-export[parquet]'\n"
    )


@pytest.mark.fault("L5")
def test_excel_without_openpyxl_gives_the_pip_line(tmp_path):
    code = BLOCK + (
        "import crosstune\n"
        "try: crosstune.read_examples(sys.argv[2])\n"
        "except crosstune.MissingExtraError as error: print(error)"
    )
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    assert python(code, "openpyxl", str(tmp_path / "x.xlsx")) == (
        "openpyxl: not installed, expected for Excel. Run: pip install 'crosstune-export[excel]'\n"
    )


def test_everything_that_is_offered_is_there():
    assert sorted(set(crosstune.__all__)) == sorted(crosstune.__all__)
    for name in crosstune.__all__:
        assert getattr(crosstune, name) is not None


def test_what_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError) as caught:
        crosstune.nothing  # noqa: B018
    assert str(caught.value) == "module 'crosstune' has no attribute 'nothing'"


def test_every_error_has_its_exit_code():
    codes = {
        kind.__name__: kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.CrossTuneError)
    }
    assert codes == {
        "CrossTuneError": 1,
        "ConfigError": 2,
        "MissingExtraError": 2,
        "OutputExistsError": 2,
        "ProviderError": 2,
        "DataError": 3,
        "GenerationError": 4,
        "AnswerCacheError": 5,
        "BackboneError": 5,
        "CheckpointError": 5,
        "BundleError": 5,
        "BundleIntegrityError": 5,
        "BundleVersionError": 5,
        "BundleContentError": 5,
        "SignatureError": 5,
        "TrainingError": 6,
        "RefusedLabelError": 6,
        "SelfTestError": 6,
        "GateError": 6,
        "ResourceError": 7,
    }
    assert issubclass(crosstune.CrossTuneWarning, UserWarning)
    assert set(codes) <= {*crosstune.__all__, *crosstune_export.__all__}
    assert issubclass(errors.DataError, ValueError)
