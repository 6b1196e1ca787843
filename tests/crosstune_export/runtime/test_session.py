from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import metadata

import onnx
import pytest

from crosstune.core.labels import Label
from crosstune_export import BundleContentError, BundleVersionError, Classifier, ConfigError, ProviderError
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.write import write_bundle
from crosstune_export.runtime import session
from crosstune_export.runtime.session import open_session


@pytest.mark.fault("I1")
def test_a_provider_that_is_not_there(tiny_bundle_dir):
    import onnxruntime

    with pytest.raises(ProviderError) as caught:
        Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"])
    assert str(caught.value) == (
        "providers: CUDAExecutionProvider is not in this onnxruntime, available: "
        f"{', '.join(onnxruntime.get_available_providers())}. Install crosstune-export[gpu] for CUDA, "
        "or pass allow_fallback (--allow-fallback)."
    )
    assert caught.value.exit_code == 2
    fallen = Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"], allow_fallback=True)
    assert fallen.providers == ("CPUExecutionProvider",)


@pytest.mark.fault("I1")
def test_a_provider_that_onnxruntime_quietly_leaves_out(tiny_bundle_dir, monkeypatch):
    """onnxruntime-gpu without a usable CUDA lists the provider and then runs on the CPU."""
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    inner = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, options, **rest: inner(model, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(ProviderError) as caught:
        Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"])
    assert str(caught.value) == (
        "providers: asked for CUDAExecutionProvider, onnxruntime runs on CPUExecutionProvider. "
        "Check the CUDA installation, or pass allow_fallback (--allow-fallback)."
    )


@pytest.mark.fault("I9")
def test_a_provider_that_does_not_exist(tiny_bundle_dir, capfd):
    """onnxruntime itself would print to stdout and run on the CPU."""
    with pytest.raises(ProviderError, match=r"^providers: NopeProvider is not in this onnxruntime, available: "):
        Classifier.load(tiny_bundle_dir, providers=["NopeProvider", "CPUExecutionProvider"])
    fallen = Classifier.load(tiny_bundle_dir, providers=["NopeProvider"], allow_fallback=True)
    assert fallen.providers == ("CPUExecutionProvider",)
    assert capfd.readouterr().out == ""


@pytest.mark.fault("I1")
def test_a_provider_that_fails_at_its_start(tiny_bundle_dir, monkeypatch, capfd):
    """The CPU takes over with the same graph and options, where that was allowed; nothing is printed."""
    import onnxruntime

    inner, asked = onnxruntime.InferenceSession, []

    def session_of(model, options, *, providers, **rest):
        asked.append((providers, rest))
        if "CUDAExecutionProvider" in providers:
            raise RuntimeError("CUDA failure 35: driver too old")
        return inner(model, options, providers=providers, **rest)

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session_of)
    fallen = Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"], allow_fallback=True)
    assert fallen.providers == ("CPUExecutionProvider",)
    assert [names for names, _ in asked] == [["CUDAExecutionProvider"], ["CPUExecutionProvider"]]
    assert asked[0][1] == asked[1][1]
    with pytest.raises(
        ProviderError, match=r"asked for CUDAExecutionProvider, onnxruntime runs on CPUExecutionProvider"
    ):
        Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"])
    assert capfd.readouterr().out == ""


def test_onnxruntime_prints_nothing_when_it_gives_up(tiny_bundle_dir, monkeypatch, capfd):
    """Its own way back to the CPU would begin with a print to stdout, and forget which optimizers are off."""
    import onnxruntime

    def refuse(self, *arguments):
        raise RuntimeError("no")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", refuse)
    with pytest.raises(BundleContentError, match=r"onnxruntime refuses the graph \(no\)"):
        Classifier.load(tiny_bundle_dir)
    assert capfd.readouterr().out == ""


def test_an_older_onnxruntime_prints_to_stderr(tiny_bundle_dir, monkeypatch, capsys):
    """It cannot be told to leave the way back to the CPU alone."""
    import onnxruntime

    inner = onnxruntime.InferenceSession

    def loud(*arguments, **rest):
        print("*************** EP Error ***************")
        return inner(*arguments, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", loud)
    monkeypatch.setattr(onnxruntime, "__version__", "1.22.1")
    Classifier.load(tiny_bundle_dir)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "*************** EP Error ***************\n")


def test_other_threads_print_where_they_want_while_a_bundle_loads(tiny_bundle_dir, monkeypatch, capsys):
    import onnxruntime

    inner = onnxruntime.InferenceSession

    def meanwhile(*arguments, **rest):
        thread = threading.Thread(target=print, args=["a result"])
        thread.start()
        thread.join()
        return inner(*arguments, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", meanwhile)
    Classifier.load(tiny_bundle_dir)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a result\n", "")


@pytest.mark.parametrize("allow_fallback", [True, False])
def test_no_provider(tiny_bundle_dir, allow_fallback):
    with pytest.raises(ConfigError) as caught:
        Classifier.load(tiny_bundle_dir, providers=[], allow_fallback=allow_fallback)
    assert str(caught.value) == "providers: found none, expected at least one, such as CPUExecutionProvider."


@pytest.mark.fault("I2")
def test_both_wheels(tiny_bundle_dir, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "1.32.0")
    assert session.installed_runtimes() == {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}
    with pytest.raises(ProviderError) as caught:
        Classifier.load(tiny_bundle_dir)
    assert str(caught.value) == (
        "onnxruntime: both onnxruntime and onnxruntime-gpu are installed, expected one: they overwrite each other. "
        "Run: pip uninstall onnxruntime onnxruntime-gpu, then pip install 'crosstune-export[cpu]' or '[gpu]'."
    )


@pytest.mark.fault("I2")
def test_onnxruntime_missing(tiny_bundle_dir):
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from crosstune_export import Classifier, MissingExtraError\n"
        f"try: Classifier.load({str(tiny_bundle_dir)!r})\n"
        "except MissingExtraError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "onnxruntime: not installed, expected for classifying. Run: pip install 'crosstune-export[cpu]' (or '[gpu]' for CUDA).\n"
    )


def test_onnxruntime_keeps_nothing_to_tell_its_makers(tiny_bundle_dir, tmp_path):
    code = f"from crosstune_export import Classifier; Classifier.load({str(tiny_bundle_dir)!r}).classify(['a box'])"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment | {"HOME": str(tmp_path)})
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.fault("G9", "I2")
def test_onnxruntime_too_old(tiny_bundle_dir):
    import onnxruntime

    files = read_bundle(tiny_bundle_dir)
    with pytest.raises(BundleVersionError) as caught:
        open_session(files.model, replace(files.manifest.graph, min_onnxruntime="99.1.0"), "here")
    assert str(caught.value) == (
        f"here: needs onnxruntime >= 99.1.0 (opset 18), found {onnxruntime.__version__}. "
        "Run: pip install 'onnxruntime>=99.1.0'"
    )


@pytest.mark.fault("I9")
@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x08\x0a", bytes(range(256)) * 20, None])
def test_garbage_is_refused_and_stdout_stays_clean(tiny_bundle_dir, capfd, garbage):
    files = read_bundle(tiny_bundle_dir)
    model = files.model[: len(files.model) // 2] if garbage is None else garbage
    with pytest.raises(BundleContentError) as caught:
        open_session(model, files.manifest.graph, "here")
    assert re.fullmatch(
        r"here: the graph has .+, expected only what a build writes\. Do not use it; .+", str(caught.value)
    )
    assert capfd.readouterr().out == ""


def test_another_signature(tiny_bundle_dir):
    files = read_bundle(tiny_bundle_dir)
    pair = replace(files.manifest.graph, inputs=("input_ids", "attention_mask", "token_type_ids"))
    with pytest.raises(BundleContentError) as caught:
        open_session(files.model, pair, "here")
    assert str(caught.value) == (
        "here: the graph has inputs ['input_ids', 'attention_mask'] and outputs ['probs', 'text_vector', 'scope'] differ "
        "from the manifest, expected only what a build writes. Do not use it; build the bundle again."
    )


@pytest.mark.fault("G8")
def test_inputs_of_another_type(tiny_fp32_bundle_dir):
    files = read_bundle(tiny_fp32_bundle_dir)
    model = onnx.load_from_string(files.model)
    model.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
    with pytest.raises(BundleContentError) as caught:
        open_session(model.SerializeToString(), files.manifest.graph, "here")
    gives = "[('probs', 'tensor(float)', 2), ('text_vector', 'tensor(float)', 2), ('scope', 'tensor(float)', 1)]"
    ids, mask = "('input_ids', 'tensor(int64)', 2)", "('attention_mask', 'tensor(int{})', 2)"
    assert str(caught.value) == (
        f"here: the graph takes [{ids}, {mask.format(32)}] and gives {gives}, "
        f"expected [{ids}, {mask.format(64)}] and {gives}. Build the bundle again."
    )


def resigned(folder, tiny_fp32_bundle_dir, manifest=None, model=None):
    """A bundle with something else in it and hashes that fit."""
    files = read_bundle(tiny_fp32_bundle_dir)
    write_bundle(folder, manifest or files.manifest, model or files.model, files.tokenizer, files.selftest)
    return folder


@pytest.mark.fault("G13")
@pytest.mark.parametrize("count", [2, 4])
def test_as_many_labels_as_columns(tmp_path, tiny_fp32_bundle_dir, count):
    manifest = read_bundle(tiny_fp32_bundle_dir).manifest
    labels = (*manifest.labels, Label("fourth", ("one too many",)))[:count]
    folder = resigned(tmp_path / "x.bundle", tiny_fp32_bundle_dir, replace(manifest, labels=labels))
    with pytest.raises(BundleContentError) as caught:
        Classifier.load(folder)
    assert (
        str(caught.value) == f"{folder}: probs has 3 columns, expected {count}, one per label. Build the bundle again."
    )


def test_text_vectors_of_the_size_that_is_stated(tiny_fp32_bundle_dir):
    files = read_bundle(tiny_fp32_bundle_dir)
    size = files.manifest.graph.text_vector_size
    with pytest.raises(BundleContentError) as caught:
        open_session(files.model, replace(files.manifest.graph, text_vector_size=size + 1), "here")
    assert str(caught.value) == (f"here: text_vector has {size} columns, expected {size + 1}. Build the bundle again.")


@pytest.mark.fault("G7")
@pytest.mark.parametrize("where", ["label_keys.bin", "inside/label_keys.bin", "absolute", "../label_keys.bin"])
def test_external_data_is_never_read(tmp_path, tiny_fp32_bundle_dir, monkeypatch, where):
    """A graph with fitting hashes that points at a file near the working directory: the file is there, and stays unread."""
    model = onnx.load_from_string(read_bundle(tiny_fp32_bundle_dir).model)
    keys = next(tensor for tensor in model.graph.initializer if tensor.name == "label_keys")
    inside = tmp_path / "work" / "inside"
    inside.mkdir(parents=True)
    for place in (tmp_path, tmp_path / "work", inside):
        (place / "label_keys.bin").write_bytes(keys.raw_data)
    keys.ClearField("raw_data")
    keys.data_location = onnx.TensorProto.EXTERNAL
    location = str(inside / "label_keys.bin") if where == "absolute" else where
    keys.external_data.add(key="location", value=location)
    folder = resigned(tmp_path / "x.bundle", tiny_fp32_bundle_dir, model=model.SerializeToString())
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(BundleContentError, match="the graph has external data in a constant, expected"):
        Classifier.load(folder)
