from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from crosstune_export import BundleContentError, BundleVersionError, Classifier, ProviderError
from crosstune_export.runtime import session
from crosstune_export.runtime.bundle_files import read_bundle
from crosstune_export.runtime.session import open_session


def test_a_provider_that_is_not_there(tiny_bundle_dir):
    import onnxruntime

    with pytest.raises(ProviderError) as caught:
        Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"])
    assert str(caught.value) == (
        "providers: CUDAExecutionProvider is not in this onnxruntime, available: "
        f"{', '.join(onnxruntime.get_available_providers())}. Install crosstune-export[gpu] for CUDA, or pass allow_fallback."
    )
    assert caught.value.exit_code == 2
    fallen = Classifier.load(tiny_bundle_dir, providers=["CUDAExecutionProvider"], allow_fallback=True)
    assert fallen.providers == ("CPUExecutionProvider",)


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
        "Check the CUDA installation, or pass allow_fallback."
    )


def test_both_wheels(tiny_bundle_dir, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "1.32.0")
    assert session.installed_runtimes() == {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}
    with pytest.raises(ProviderError) as caught:
        Classifier.load(tiny_bundle_dir)
    assert str(caught.value) == (
        "onnxruntime: both onnxruntime and onnxruntime-gpu are installed, expected one: they overwrite each other. "
        "Run: pip uninstall onnxruntime onnxruntime-gpu, then pip install 'crosstune-export[cpu]' or '[gpu]'."
    )


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


def test_onnxruntime_too_old(tiny_bundle_dir):
    import onnxruntime

    files = read_bundle(tiny_bundle_dir)
    with pytest.raises(BundleVersionError) as caught:
        open_session(files.model, replace(files.manifest.graph, min_onnxruntime="99.1.0"), "here")
    assert str(caught.value) == (
        f"here: needs onnxruntime >= 99.1.0 (opset 18), found {onnxruntime.__version__}. "
        "Run: pip install 'onnxruntime>=99.1.0'"
    )


def test_garbage_is_refused_and_stdout_stays_clean(tiny_bundle_dir, capfd):
    facts = read_bundle(tiny_bundle_dir).manifest.graph
    with pytest.raises(BundleContentError) as caught:
        open_session(b"garbage", facts, "here")
    assert str(caught.value).startswith("here: onnxruntime refuses the graph (")
    assert capfd.readouterr().out == ""


def test_another_signature(tiny_bundle_dir):
    files = read_bundle(tiny_bundle_dir)
    pair = replace(files.manifest.graph, inputs=("input_ids", "attention_mask", "token_type_ids"))
    with pytest.raises(BundleContentError) as caught:
        open_session(files.model, pair, "here")
    assert str(caught.value).startswith("here: the graph takes [('input_ids', 'tensor(int64)', 2), ")
