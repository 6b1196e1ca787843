"""A bundle as a Triton repository: its configuration by Triton's own schema, its graph as Triton would run it."""

from __future__ import annotations

import importlib.util
import signal
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from crosstune_export import Classifier
from crosstune_export.builder.targets.triton import NOTES_NAME, write_repository

pytestmark = pytest.mark.usefixtures("quick_builds")


def model_config_schema():
    """Triton's schema alone: the package around it asks for grpc."""
    (path,) = (
        file for file in metadata.files("tritonclient") if file.as_posix() == "tritonclient/grpc/model_config_pb2.py"
    )
    spec = importlib.util.spec_from_file_location("model_config_pb2", path.locate())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def _handlers():
    """Running a command takes SIGTERM and the way warnings are shown."""
    handler, show = signal.getsignal(signal.SIGTERM), warnings.showwarning
    yield
    signal.signal(signal.SIGTERM, handler)
    warnings.showwarning = show


@pytest.fixture(scope="module")
def schema():
    return model_config_schema()


@pytest.fixture(scope="module")
def repository(tmp_path_factory, tiny_bundle_dir) -> Path:
    folder = tmp_path_factory.mktemp("triton") / "models"
    assert write_repository(tiny_bundle_dir, folder) == "tiny-int8"
    return folder


@pytest.fixture(scope="module")
def config(schema, repository):
    return text_format.Parse((repository / "tiny-int8" / "config.pbtxt").read_text("utf-8"), schema.ModelConfig())


def test_the_files(repository, tiny_bundle_dir):
    files = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    assert files == {NOTES_NAME, "tiny-int8/config.pbtxt", "tiny-int8/labels.txt", "tiny-int8/1/model.onnx"}
    assert (repository / "tiny-int8/1/model.onnx").read_bytes() == (tiny_bundle_dir / "model.onnx").read_bytes()
    labels = Classifier.load(tiny_bundle_dir).labels
    assert (repository / "tiny-int8/labels.txt").read_text("utf-8").splitlines() == list(labels)


def test_the_configuration_is_that_of_the_graph(schema, config, repository):
    """Triton drops the first axis, which it batches over, and compares the others with the graph."""
    session = onnxruntime.InferenceSession(
        repository / "tiny-int8" / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    types = {"tensor(int64)": schema.TYPE_INT64, "tensor(float)": schema.TYPE_FP32}
    assert config.name == "tiny-int8"
    assert config.max_batch_size > 1
    for declared, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [value.name for value in declared] == [node.name for node in found]
        for value, node in zip(declared, found, strict=True):
            assert value.data_type == types[node.type]
            dims = value.reshape.shape if value.HasField("reshape") else value.dims
            assert len(dims) == len(node.shape) - 1
            assert all(
                size in (-1, axis) or isinstance(axis, str) for size, axis in zip(dims, node.shape[1:], strict=True)
            )
    assert [value.label_filename for value in config.output if value.label_filename] == ["labels.txt"]
    probs = next(value for value in config.output if value.name == "probs")
    assert list(probs.dims) == [len((repository / "tiny-int8/labels.txt").read_text("utf-8").splitlines())]


def test_the_graph_answers_alike_with_these_session_options(config, repository, tiny_bundle_dir):
    """Session options as the backend sets them, with requests of equal length batched."""
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    assert parameters == {"intra_op_thread_count": "1", "enable_mem_arena": "0"}
    assert config.optimization.graph.level == -1
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(
        repository / "tiny-int8" / "1" / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    classifier = Classifier.load(tiny_bundle_dir, kernels="portable")
    texts = ["where is my parcel", "i was charged twice", "thanks this is great"]
    ids = classifier.token_ids(texts)
    length = min(map(len, ids))
    batch = np.array([row[: length - 1] + row[-1:] for row in ids], np.int64)
    feeds = {"input_ids": batch, "attention_mask": np.ones_like(batch)}
    (together,) = session.run(["probs"], feeds)
    alone = np.concatenate(
        [
            session.run(["probs"], {name: value[i : i + 1] for name, value in feeds.items()})[0]
            for i in range(len(texts))
        ]
    )
    assert together == pytest.approx(alone, abs=1e-6)
    whole = [i for i, row in enumerate(ids) if len(row) == length]
    assert whole
    assert together[whole] == pytest.approx(classifier.predict_proba([texts[i] for i in whole]), abs=1e-6)


@pytest.mark.usefixtures("_handlers")
def test_the_option_of_the_build_is_refused_before_any_work(tmp_path, tiny_checkpoint_dir):
    from crosstune_cli import export_app, run

    (tmp_path / "models").mkdir()
    arguments = [
        "build",
        str(tiny_checkpoint_dir),
        "--output",
        str(tmp_path / "b"),
        "--triton",
        str(tmp_path / "models"),
    ]
    assert run.exit_code(export_app.app, "crosstune-export", arguments) == 2
    assert run.exit_code(export_app.app, "crosstune-export", [*arguments, "--force"]) == 2  # not one of ours
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]


@pytest.mark.slow
@pytest.mark.usefixtures("_handlers")
def test_the_option_of_the_build(tmp_path, tiny_checkpoint_dir, capsys):
    from crosstune_cli import export_app, run

    models = tmp_path / "models"
    arguments = ["build", str(tiny_checkpoint_dir), "--output", str(tmp_path / "my desk.bundle"), "--precision", "fp32"]
    assert run.exit_code(export_app.app, "crosstune-export", [*arguments, "--triton", str(models)]) == 0
    assert capsys.readouterr().err.endswith(f"{models}: model my_desk for Triton\n")
    built = (tmp_path / "my desk.bundle" / "model.onnx").read_bytes()
    assert (models / "my_desk" / "1" / "model.onnx").read_bytes() == built
