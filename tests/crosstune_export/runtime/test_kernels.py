"""The fast kernels beside onnxruntime's own: the same labels, and the same bits however a text arrives."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata

import numpy as np
import onnx
import pytest

from crosstune_export import BundleContentError, Classifier, ConfigError, MissingExtraError
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.inspection import inspect_bundle
from crosstune_export.bundle.label_bank import without_exits
from crosstune_export.edit.labels import add_label
from crosstune_export.runtime.kernels import fast_kernels
from crosstune_export.runtime.session import open_session
from tests.conftest import REPO_ROOT, tiny_log

TEXTS = (
    "where is my parcel",
    "the parcel came broken and i want my money back",
    "refund",
    "the card was declined twice at the same shop today, why is that and what can i do about it now",
    "lost",
    "is there a discount for the second one",
    "",
)


@pytest.fixture(params=["tiny_bundle_dir", "tiny_exits_bundle_dir"])
def bundle(request):
    """A bundle without early exits, and one whose texts leave at every place."""
    return request.getfixturevalue(request.param)


@pytest.fixture(autouse=True)
def no_choice_from_outside(monkeypatch):
    monkeypatch.delenv("CROSSTUNE_KERNELS", raising=False)


def feeds_of(classifier, texts, pad_to=None):
    ids = classifier.token_ids(texts)
    width = max(pad_to or 0, *map(len, ids))
    rows = np.zeros((len(ids), width), np.int64)
    mask = np.zeros_like(rows)
    for row, one in enumerate(ids):
        rows[row, : len(one)], mask[row, : len(one)] = one, 1
    return {"input_ids": rows, "attention_mask": mask}


def test_the_kernels_give_the_answers_of_onnxruntime(tiny_bundle_dir):
    portable, fast = (Classifier.load(tiny_bundle_dir, kernels=kernels) for kernels in ("portable", "plain"))
    assert (portable.kernels, fast.kernels) == ("portable", "plain")
    assert np.abs(portable.predict_proba(TEXTS) - fast.predict_proba(TEXTS)).max() < 0.02
    assert np.abs(portable.text_vectors(TEXTS) - fast.text_vectors(TEXTS)).max() < 0.05
    similarities = [[answer.similarity for answer in one.classify(TEXTS)] for one in (portable, fast)]
    assert np.abs(np.subtract(*similarities)).max() < 0.02


def test_texts_leave_early_as_they_do_from_onnxruntime(tiny_exits_bundle_dir):
    texts, (fast, portable) = tiny_log(200), (run(tiny_exits_bundle_dir, kernels) for kernels in ("plain", "portable"))
    layers = np.array([leaves_after(tiny_exits_bundle_dir, texts, kernels) for kernels in ("plain", "portable")])
    assert set(layers[0]) == {0, 1, 2}
    same = layers[0] == layers[1]
    assert same.mean() > 0.95  # texts at a threshold may leave elsewhere
    for found, expected in zip(fast(texts), portable(texts), strict=True):
        assert np.abs(found - expected)[same].max() < 0.02


def leaves_after(bundle, texts, kernels):
    """At which exit each text leaves, 2 for none: a text that leaves has a text vector of zeros."""
    files, tokens = read_bundle(bundle), feeds_of(Classifier.load(bundle), texts)
    vectors = [
        open_session(without_exits(files.model, kept), files.manifest.graph, "here", longest=64, kernels=kernels).run(
            tokens
        )[1]
        for kept in (1, 2)
    ]
    return sum(array.any(1).astype(int) for array in vectors)


def run(bundle, kernels, threads=1):
    """Probabilities, text vectors and similarities of texts in one padded batch."""
    files, classifier = read_bundle(bundle), Classifier.load(bundle)
    session = open_session(files.model, files.manifest.graph, "here", longest=64, threads=threads, kernels=kernels)
    return lambda texts, pad_to=None: session.run(feeds_of(classifier, texts, pad_to))


def test_every_kind_gives_the_same_bits(bundle):
    """On a processor with VNNI this compares its instructions with plain ones."""
    texts = [*TEXTS, *tiny_log(60)]
    fast, plain = (Classifier.load(bundle, kernels=kernels) for kernels in ("auto", "plain"))
    assert fast.kernels == (fast_kernels().name or "portable")
    if fast.kernels != "portable":
        assert (fast.predict_proba(texts) == plain.predict_proba(texts)).all()
        for found, expected in zip(run(bundle, "fast")(texts), run(bundle, "plain")(texts), strict=True):
            assert (found == expected).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_text_has_the_same_bits_alone_in_a_batch_and_padded(bundle, threads):
    texts = [*TEXTS, *tiny_log(25)]  # more than 128 tokens: several packs
    alone = Classifier.load(bundle, kernels="plain").predict_proba(texts, batch_size=1)
    kernels = fast_kernels().name and "fast"
    for choice in filter(None, ("plain", kernels)):
        for pad_to in (None, 40):
            assert (run(bundle, choice, threads)(texts, pad_to)[0] == alone).all()
        for batch_size in (2, 3, 7):
            other = Classifier.load(bundle, threads=threads, kernels=choice)
            assert (other.predict_proba(texts[::-1], batch_size=batch_size)[::-1] == alone).all()


def test_the_function_is_what_the_nodes_were(bundle):
    """onnxruntime inlines the function: the same bits as of the nodes in its place."""
    import onnxruntime

    files = read_bundle(bundle)
    assert files.manifest.graph.function == "Classify"
    model = onnx.load_from_string(files.model)
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    del flat.functions[:], flat.graph.node[:]
    flat.graph.node.extend(model.functions[0].node)
    feeds = feeds_of(Classifier.load(bundle), [*TEXTS, *tiny_log(60)])
    results = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
        for one in (model, flat)
    ]
    assert all((a == b).all() for a, b in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("ids", "mask", "reason"),
    [
        ([[5, 10**6, 6]], [[1, 1, 1]], "the id 1000000"),
        ([[5, -1, 6]], [[1, 1, 1]], "the id -1"),
        ([[5, 6, 7]], [[0, 0, 0]], "a text of 0 tokens"),
        ([[5, 6, 7, 8]], [[1, 1, 0, 1]], "a token after padding"),
        ([[5] * 600], [[1] * 600], "a text of 600 tokens"),
    ],
)
def test_ids_outside_of_the_tables(tiny_bundle_dir, ids, mask, reason):
    files = read_bundle(tiny_bundle_dir)
    session = open_session(files.model, files.manifest.graph, "here", longest=64, kernels="plain")
    with pytest.raises(BundleContentError, match=reason):
        session.run({"input_ids": np.array(ids), "attention_mask": np.array(mask)})


def test_choosing(tiny_bundle_dir, tiny_fp32_bundle_dir, monkeypatch):
    assert Classifier.load(tiny_fp32_bundle_dir).kernels == "portable"
    with pytest.raises(MissingExtraError) as caught:
        Classifier.load(tiny_fp32_bundle_dir, kernels="plain")
    assert str(caught.value) == ("kernels: the graph was built without them. Choose kernels=auto (--kernels auto).")
    with pytest.raises(ConfigError, match=r"kernels: found 'quick', expected one of auto, portable, fast, plain\."):
        Classifier.load(tiny_bundle_dir, kernels="quick")
    monkeypatch.setenv("CROSSTUNE_KERNELS", "portable")
    assert Classifier.load(tiny_bundle_dir).kernels == "portable"
    assert Classifier.load(tiny_bundle_dir, kernels="plain").kernels == "plain"
    monkeypatch.setenv("CROSSTUNE_KERNELS", "quick")
    with pytest.raises(ConfigError, match="CROSSTUNE_KERNELS: found 'quick'"):
        Classifier.load(tiny_bundle_dir)


def test_a_bundle_says_why_the_fast_kernels_do_not_run_it(tiny_fp32_bundle_dir):
    with_function, with_exits = (REPO_ROOT / "tests" / "golden" / f"format-1.{minor}.bundle.zip" for minor in (2, 3))
    assert inspect_bundle(with_function)["kernels_reason"] is None
    assert Classifier.load(with_function, kernels="portable").kernels_reason == "the portable kernels were chosen"
    assert Classifier.load(with_function).kernels_reason == fast_kernels().reason
    reason = "the graph was built without them"
    for bundle in (with_exits, tiny_fp32_bundle_dir):
        found = inspect_bundle(bundle)
        assert (found["kernels"], found["kernels_reason"]) == ("portable", reason)
        assert Classifier.load(bundle).kernels_reason == reason


def test_constants_that_are_equal(tiny_exits_bundle_dir):
    """onnxruntime would merge them, under names of its own."""
    files, classifier = read_bundle(tiny_exits_bundle_dir), Classifier.load(tiny_exits_bundle_dir)
    model = onnx.load_from_string(without_exits(files.model))
    steps = [tensor for tensor in model.graph.initializer if tensor.name.endswith(".step")]
    for step in steps[1:]:
        step.raw_data = steps[0].raw_data
    session = open_session(model.SerializeToString(), files.manifest.graph, "here", longest=64, kernels="plain")
    assert session.run(feeds_of(classifier, TEXTS))[1].any(1).all()


def test_kernels_of_an_older_release(tiny_bundle_dir, monkeypatch):
    """They know no early exits."""
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.1.9" if name == "crosstune-kernels" else installed(name))
    fast_kernels.cache_clear()
    try:
        assert Classifier.load(tiny_bundle_dir).kernels == "portable"
        with pytest.raises(
            MissingExtraError,
            match=r"^kernels: crosstune-kernels 0\.1\.9 is installed, expected 0\.2 or later\. Run: pip",
        ):
            Classifier.load(tiny_bundle_dir, kernels="plain")
    finally:
        monkeypatch.undo()
        fast_kernels.cache_clear()


@pytest.mark.slow
def test_without_the_library(tiny_bundle_dir, tiny_checkpoint_dir, tmp_path, monkeypatch):
    """Everything runs without it, and a build leaves the graph as nodes."""
    expected = [answer.label for answer in Classifier.load(tiny_bundle_dir).classify(TEXTS)]
    monkeypatch.setitem(sys.modules, "crosstune_kernels", None)
    fast_kernels.cache_clear()
    try:
        classifier = Classifier.load(tiny_bundle_dir)
        assert classifier.kernels == "portable"
        assert [answer.label for answer in classifier.classify(TEXTS)] == expected
        with pytest.raises(MissingExtraError, match=r"crosstune-kernels is not installed\. Run: pip install"):
            Classifier.load(tiny_bundle_dir, kernels="fast")
        built = build(tiny_checkpoint_dir, tmp_path / "b", BuildConfig(precision="int8"))
        assert built.manifest.graph.function is None
    finally:
        monkeypatch.undo()
        fast_kernels.cache_clear()


def test_labels_added_later(tiny_bundle_dir, tmp_path):
    bundle = shutil.copytree(tiny_bundle_dir, tmp_path / "b")
    add_label(bundle, "greeting", ["the customer says hello"])
    portable, fast = (Classifier.load(bundle, kernels=kernels) for kernels in ("portable", "plain"))
    assert fast.kernels == "plain" and fast.labels[-1] == "greeting"
    assert np.abs(portable.predict_proba(TEXTS) - fast.predict_proba(TEXTS)).max() < 0.02


def test_both_are_judged(tiny_bundle_dir):
    quality = Classifier.load(tiny_bundle_dir).manifest.quality_facts
    assert quality.kernels_to_fp32 is not None and quality.to_fp32 is not None
    truncated = quality.to_fp32_truncated.texts if quality.to_fp32_truncated else 0
    assert quality.kernels_to_fp32.texts == quality.to_fp32.texts + truncated
