"""Labels of a finished bundle: the graph's bytes are exchanged field by field, with the onnx package as the judge."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from crosstune_export import BundleContentError, Classifier, DataError
from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.label_bank import LabelBank, read_bank, with_bank, with_metadata
from crosstune_export.bundle.onnx_wire import bytes_field, fields, number_field
from crosstune_export.edit.labels import add_label, describe_label, remove_label, rename_label
from tests import tolerances
from tests.fixtures.traced_once import traced_once

TEXTS = ["where is my parcel", "the invoice is wrong", "thanks, great work", "", "parcel " * 100, "box"]


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.one_of(st.integers(0, 2**63 - 1), st.binary(max_size=300)))))
def test_fields_come_back_as_they_went(parts):
    message = b"".join(
        bytes_field(number, value) if isinstance(value, bytes) else number_field(number, value)
        for number, value in parts
    )
    assert [(field.number, field.value) for field in fields(message)] == parts
    assert b"".join(field.raw for field in fields(message)) == message


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_an_error(data):
    with contextlib.suppress(ValueError):
        assert b"".join(field.raw for field in fields(data)) == data


def initializers(model: bytes) -> dict[str, np.ndarray]:
    graph = onnx.load_from_string(model).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


@pytest.mark.parametrize("heads", ["tiny_bundle_dir", "paper_bundle_dir"])
def test_only_the_bank_changes(heads, request):
    model = (request.getfixturevalue(heads) / "model.onnx").read_bytes()
    bank = read_bank(model, 3, "here")
    before = initializers(model)
    assert np.array_equal(bank.keys.reshape(before["label_keys"].shape), before["label_keys"])
    assert np.array_equal(bank.bias.reshape(-1), before["label_bias"])
    assert with_bank(model, bank) == model
    larger = LabelBank(np.concatenate([bank.keys, bank.keys], 1), np.concatenate([bank.bias, bank.bias], 1), bank.prior)
    after = onnx.load_from_string(with_bank(model, larger))
    onnx.checker.check_model(after)
    assert [dim.dim_value for dim in after.graph.output[0].type.tensor_type.shape.dim][1] == 6
    changed = initializers(with_bank(model, larger))
    for name, array in before.items():
        if not name.startswith("label_"):
            assert np.array_equal(changed[name], array), name
    assert [node.SerializeToString() for node in after.graph.node] == [
        node.SerializeToString() for node in onnx.load_from_string(model).graph.node
    ]


@pytest.fixture(scope="module")
def paper_bundle_dir(tmp_path_factory, tiny_paper_checkpoint_dir):
    with traced_once():
        return build(tiny_paper_checkpoint_dir, tmp_path_factory.mktemp("p") / "p.bundle", BuildConfig("fp32")).path


def test_metadata():
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    found = onnx.load_from_string(with_metadata(model.SerializeToString(), {"b": "2", "a": "1"}))
    assert [(entry.key, entry.value) for entry in found.metadata_props] == [("a", "1"), ("b", "2")]


def test_no_bank():
    model = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])).SerializeToString()
    with pytest.raises(BundleContentError) as caught:
        read_bank(model, 3, "here")
    assert str(caught.value) == "here: no label bank in the graph (KeyError('label_keys')). Build the bundle again."


@pytest.fixture
def bundle(tmp_path, tiny_fp32_bundle_dir):
    return shutil.copytree(tiny_fp32_bundle_dir, tmp_path / "x.bundle")


def logits(folder) -> np.ndarray:
    probs = Classifier.load(folder).predict_proba(TEXTS).astype(np.float64)
    return np.log(np.maximum(probs, 1e-30))


def test_the_prior_map_gives_what_the_descriptions_gave(bundle, tiny_checkpoint_dir):
    """For the description of a label, the map returns the key that training computed for its pooled part."""
    from crosstune import load_checkpoint

    classifier = Classifier.load(bundle)
    bank = read_bank((bundle / "model.onnx").read_bytes(), 3, "here")
    head = load_checkpoint(tiny_checkpoint_dir).head
    scale, shift = head.prior_scale.numpy(), head.prior_shift.numpy()
    for entry in classifier.manifest.labels:
        described = classifier.text_vectors(list(entry.descriptions)).mean(0)
        found, bias = bank.prior.key(described)
        assert np.array_equal(found, scale * (described - shift))
        assert bias == pytest.approx(-float(found @ head.prior_centre.numpy()), abs=1e-2)


def greatest_similarity(bundle: Path, text: str) -> float:
    """That of a text like its label's key: 1, and what its length adds."""
    offsets = next(
        (
            numpy_helper.to_array(tensor)
            for tensor in onnx.load(bundle / "model.onnx").graph.initializer
            if tensor.name == "scope_offsets"
        ),
        np.zeros(1),
    )
    (ids,) = Classifier.load(bundle).token_ids([text])
    return 1 + float(offsets[min(len(ids), len(offsets) - 1)])


def test_the_similarity_knows_an_added_label(bundle):
    text = "rain and sun and how warm it is"
    before = Classifier.load(bundle).classify([text])[0].similarity
    add_label(bundle, "weather", [text])
    classifier = Classifier.load(bundle)
    assert before < 1 - 1e-3
    assert classifier.classify([text])[0].similarity == pytest.approx(greatest_similarity(bundle, text), abs=1e-3)
    remove_label(bundle, "weather")
    assert Classifier.load(bundle).classify([text])[0].similarity == pytest.approx(before, abs=1e-6)


@pytest.mark.parametrize("fixture", ["tiny_fp32_bundle_dir", "tiny_bundle_dir"])
def test_the_similarity_follows_the_description_of_a_label_without_shots(tmp_path, request, fixture):
    bundle = shutil.copytree(request.getfixturevalue(fixture), tmp_path / "x.bundle")
    text = "rain and sun and how warm it is"
    add_label(bundle, "weather", ["who paid this invoice"])
    before = read_bank((bundle / "model.onnx").read_bytes(), 4, "here").scope_keys
    assert Classifier.load(bundle).classify([text])[0].similarity < 1 - 1e-3
    describe_label(bundle, "weather", [text])
    similarity = Classifier.load(bundle).classify([text])[0].similarity
    assert similarity == pytest.approx(greatest_similarity(bundle, text), abs=1e-3)
    describe_label(bundle, "praise", [text])  # it has shots, and they stay
    after = read_bank((bundle / "model.onnx").read_bytes(), 4, "here").scope_keys
    assert np.array_equal(after[:, :3], before[:, :3])


def test_add_leaves_the_others_alone(bundle):
    before = logits(bundle)
    manifest = add_label(bundle, "weather", ["rain and sun", "how warm it is"])
    assert manifest.label_names == ("shipping", "billing", "praise", "weather")
    classifier = Classifier.load(bundle)
    assert classifier.selftest().passed
    after = logits(bundle)
    shift = after[:, :3] - before  # the same for every old label: only the softmax's sum has changed
    assert np.abs(shift - shift.mean(1, keepdims=True)).max() <= 1e-5
    assert classifier.manifest.labels[3].descriptions == ("rain and sun", "how warm it is")
    assert classifier.manifest.head["edits"] == ["add weather"]
    assert "| weather | rain and sun / how warm it is |" in (bundle / "README.md").read_text("utf-8")


def test_add_and_remove_is_as_before(bundle):
    model = (bundle / "model.onnx").read_bytes()
    before = Classifier.load(bundle).predict_proba(TEXTS)
    add_label(bundle, "weather", ["rain and sun"])
    remove_label(bundle, "weather")
    assert np.array_equal(Classifier.load(bundle).predict_proba(TEXTS), before)
    assert initializers((bundle / "model.onnx").read_bytes()).keys() == initializers(model).keys()
    assert Classifier.load(bundle).manifest.head["edits"] == ["add weather", "remove weather"]


def test_numbers_in_half_stay_in_half(tmp_path, tiny_bundle_dir):
    """An int8 bundle keeps its label constants in float16: the other labels' bytes must not change by an edit."""
    bundle = shutil.copytree(tiny_bundle_dir, tmp_path / "x.bundle")
    before, first = logits(bundle), initializers((bundle / "model.onnx").read_bytes())
    assert {name for name, array in first.items() if array.dtype == np.float16} == {
        "label_keys",
        "label_queries_0",
        "label_queries_1",
        "label_queries_2",
        "scope_keys",
    }
    add_label(bundle, "weather", ["rain and sun"])
    second = initializers((bundle / "model.onnx").read_bytes())
    assert {name: array.dtype for name, array in second.items()} == {name: array.dtype for name, array in first.items()}
    assert np.array_equal(second["label_keys"][:3], first["label_keys"])
    assert np.array_equal(second["scope_keys"][:, :3], first["scope_keys"])
    onnx.checker.check_model(onnx.load(bundle / "model.onnx"))
    shift = logits(bundle)[:, :3] - before
    assert np.abs(shift - shift.mean(1, keepdims=True)).max() <= 1e-5
    assert Classifier.load(bundle).selftest().passed


def test_describe_moves_the_key_by_the_description_only(bundle):
    before = Classifier.load(bundle).predict_proba(TEXTS)
    old = Classifier.load(bundle).manifest.labels[1].descriptions
    describe_label(bundle, "billing", ["rain and sun"])
    moved = Classifier.load(bundle)
    assert np.abs(moved.predict_proba(TEXTS) - before).max() > 1e-3
    assert moved.manifest.labels[1].descriptions == ("rain and sun",)
    describe_label(bundle, "billing", list(old))
    back = Classifier.load(bundle).predict_proba(TEXTS)
    assert np.abs(back - before).max() <= tolerances.FP32_GRAPH_TO_TORCH


def test_a_label_may_be_renamed_to_what_reads_like_its_old_name(bundle):
    assert rename_label(bundle, "praise", "Praise").label_names == ("shipping", "billing", "Praise")


def test_rename_changes_the_name_only(bundle, tiny_fp32_bundle_dir):
    before = Classifier.load(bundle).predict_proba(TEXTS)
    assert rename_label(bundle, "praise", "thanks").label_names == ("shipping", "billing", "thanks")
    assert np.array_equal(Classifier.load(bundle).predict_proba(TEXTS), before)
    assert (bundle / "model.onnx").read_bytes() == (tiny_fp32_bundle_dir / "model.onnx").read_bytes()


def test_equal_edits_give_equal_bytes(tmp_path, tiny_bundle_dir):
    for place in ("one", "two"):
        add_label(shutil.copytree(tiny_bundle_dir, tmp_path / place / "x.bundle"), "weather", ["rain and sun"])
    for path in (tmp_path / "one" / "x.bundle").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "x.bundle" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda path: add_label(path, "praise", ["x"]),
            "label: 'praise' is already in the bundle. Choose another name.",
        ),
        *(
            (
                lambda path, edit=edit, name=name: edit(path, name),
                f"{{}}: a label's name is {name!r}, expected visible characters. Name it.",
            )
            for name in ("", " ", "\u200b")
            for edit in (
                lambda path, name: add_label(path, name, ["x"]),
                lambda path, name: rename_label(path, "praise", name),
            )
        ),
        *(
            (
                lambda path, texts=texts, edit=edit: edit(path, "praise" if edit is describe_label else "new", texts),
                f"{{}}: the description of {'praise' if edit is describe_label else 'new'!r} is empty, expected a sentence. "
                "Write one.",
            )
            for texts in ([], ["x", " "], ["\u200b"])
            for edit in (add_label, describe_label)
        ),
        (
            lambda path: add_label(path, "new", ["caf\udce9"]),
            "{}: label 'new' has the unpaired surrogate U+DCE9. Remove it.",
        ),
        (
            lambda path: rename_label(path, "praise", "caf\udce9"),
            "{}: label 'caf\\udce9' has the unpaired surrogate U+DCE9. Remove it.",
        ),
        (
            lambda path: rename_label(path, "billing", "Praise "),
            "{}: labels 'praise' (U+0070 U+0072 U+0061 U+0069 U+0073 U+0065) and 'Praise ' "
            "(U+0050 U+0072 U+0061 U+0069 U+0073 U+0065 U+0020) read alike. Rename one.",
        ),
        (lambda path: add_label(path, "a\0b", ["x"]), "{}: label 'a\\x00b' has a NUL in its name. Remove it."),
        (
            lambda path: describe_label(path, "new", ["x"]),
            "label: 'new' is not in the bundle, which has shipping, billing, praise. Check the name.",
        ),
        (
            lambda path: rename_label(path, "praise", "billing"),
            "label: 'billing' is already in the bundle. Choose another name.",
        ),
    ],
)
def test_refused_edits_change_nothing(bundle, edit, message):
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with pytest.raises(DataError) as caught:
        edit(bundle)
    assert str(caught.value) == message.format(bundle)
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_two_labels_must_stay(bundle):
    remove_label(bundle, "praise")
    with pytest.raises(DataError) as caught:
        remove_label(bundle, "billing")
    assert (
        str(caught.value)
        == "label: 'billing' is one of only two labels, expected at least 2 to remain. Add another label first."
    )


def test_a_head_without_a_prior(tmp_path, paper_bundle_dir):
    bundle = shutil.copytree(paper_bundle_dir, tmp_path / "p.bundle")
    with pytest.raises(DataError) as caught:
        add_label(bundle, "weather", ["rain"])
    assert str(caught.value) == (
        f"{bundle}: its head cannot add labels from descriptions, expected the default head. "
        "Train with --head default and build again."
    )
    assert remove_label(bundle, "praise").label_names == ("shipping", "billing")
    assert Classifier.load(bundle).selftest().passed


def test_edits_load_nothing_heavy(bundle):
    code = (
        "import sys\nfrom crosstune_export.edit.labels import add_label\nadd_label(sys.argv[1], 'weather', ['rain'])\n"
        "print(sorted({'torch', 'onnx', 'onnxscript', 'transformers', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, bundle], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", ["scope_keys"])
def test_a_bank_for_another_number_of_labels(tiny_fp32_bundle_dir, name):
    model = onnx.load(tiny_fp32_bundle_dir / "model.onnx")
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array[:, :-1]), name))
    with pytest.raises(BundleContentError, match=f"no label bank in the graph .*{name}"):
        read_bank(model.SerializeToString(), array.shape[1], "here")
