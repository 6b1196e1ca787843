"""Bundles that all runtimes must refuse for the same field, or all must accept."""

from __future__ import annotations

import json
import re

import onnx
import pytest

from crosstune_export.builder.pipeline import BuildConfig, build
from crosstune_export.bundle.files import read_bundle
from crosstune_export.bundle.graph_check import check_graph
from tests.fixtures.edited_bundle import drop, edited, put, with_digest
from tests.fixtures.traced_once import traced_once
from tests.runtimes.every_runtime import Refused

AGAIN = "Build the bundle again."


def refusal(runtime, path) -> str:
    with pytest.raises(Refused) as caught:
        runtime.load(path).selftest_passes()
    assert caught.value.code == 5
    assert (caught.value.kind or "Bundle").startswith("Bundle")
    return caught.value.message


def both(*edits):
    return lambda body: [edit(body) for edit in edits]


WITH_TYPES = ["input_ids", "attention_mask", "token_type_ids"]
WITHOUT_SCOPE = both(put("graph", "outputs", ["probs", "text_vector"]), put("decision", "scope_threshold", 0.5))


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("field", "edit"),
    [
        *((name, drop(name)) for name in ("name", "producer", "backbone", "head", "training", "quality", "labels")),
        *(("format_version", put("format_version", value)) for value in ("1", "1.", "1.0.0", "one", " 1.0", "1.x", ".1")),
        *(("release", put("release", value)) for value in (-1, None, "2", 1 << 31)),
        ("producer.x", put("producer", {"x": 1})),
        ("quality", put("quality", [])),
        ("labels", put("labels", 3)),
        ("labels", put("labels", [{"name": "a", "descriptions": ["a"]}])),
        ("labels", put("labels", 1, "name", "shipping")),
        (r"labels(\[1\])?", put("labels", 1, 5)),
        (r"labels\[0\].descriptions", put("labels", 0, "descriptions", [])),
        (r"labels\[0\].descriptions", put("labels", 0, "descriptions", "x")),
        ("text_pair", put("text_pair", 0)),
        ("tokens.suffix_ids", drop("tokens", "suffix_ids")),
        ("tokens.prefix_ids", put("tokens", "prefix_ids", [-1])),
        ("tokens.prefix_ids", put("tokens", "prefix_ids", [1 << 31])),
        *(("tokens.pad_id", put("tokens", "pad_id", value)) for value in (-1, 1 << 31, None)),
        *(("tokens.max_length_tokens", put("tokens", "max_length_tokens", value)) for value in (7, 8.5, True, 10**30)),
        ("tokens.max_length_tokens", put("tokens", "prefix_ids", [1] * 70)),
        ("tokens.max_text_bytes", put("tokens", "max_text_bytes", 1023)),
        ("tokens.second_type_id", put("tokens", "second_type_id", 256)),
        ("graph.inputs", put("graph", "inputs", ["attention_mask", "input_ids"])),
        ("graph.inputs", put("graph", "inputs", WITH_TYPES)),  # only with pairs
        ("graph.outputs", put("graph", "outputs", ["probs"])),
        ("graph.outputs", put("graph", "outputs", ["probs", "text_vector", "scope", "novelty"])),
        ("graph.precision", put("graph", "precision", "fp8")),
        ("graph.opset", put("graph", "opset", 0)),
        *(
            ("graph.min_onnxruntime", put("graph", "min_onnxruntime", value))
            for value in ("1" * 5000, "1.\u00b20.0", "1.20.0\n", "", "1", "1..0", ".1.20", "1.20.", "1.20.0.0", "1.x")
        ),
        ("graph.text_vector_size", put("graph", "text_vector_size", 0)),
        ("graph.disabled_optimizers", put("graph", "disabled_optimizers", [1])),
        ("decision.threshold", drop("decision", "threshold")),
        *(("decision.threshold", put("decision", "threshold", value)) for value in (1.5, -0.1, True, "x", [])),
        *(("decision.scope_threshold", put("decision", "scope_threshold", value)) for value in (1.5, -1.5, True, "x")),
        ("decision.scope_threshold", WITHOUT_SCOPE),
        ("files", drop("files", "README.md")),
        ("files", put("files", "x", {})),
        ("files.model.onnx.sha256", put("files", "model.onnx", "sha256", "ab")),
        ("files.model.onnx.sha256", put("files", "model.onnx", "sha256", "A" * 64)),
        ("files.README.md.size_bytes", put("files", "README.md", "size_bytes", 1 << 21)),
    ],
)  # fmt: skip
def test_the_message_names_a_bad_field(runtime, tiny_fp32_bundle_dir, tmp_path, field, edit):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    expected = rf"{re.escape(str(path))}/manifest\.json: {field} is .+, expected .+\. {re.escape(AGAIN)}"
    assert re.fullmatch(expected, refusal(runtime, path))


@pytest.mark.parametrize(
    "edit",
    [
        put("format_version", "1.7"),
        put("new_field", {"a": [1]}),
        put("tokens", "x", 1),
        put("graph", "session_config", {"session.optimized_model_filepath": "x"}),  # unknown fields have no effect
        put("release", 0),
        put("decision", {"threshold": None}),
        put("decision", {"threshold": 0, "scope_threshold": -1}),
        put("decision", {"threshold": 1.0, "scope_threshold": 1}),
        put("graph", "precision", "fp16"),
    ],
)
def test_accepted_manifests(runtime, tiny_fp32_bundle_dir, tmp_path, edit):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    assert runtime.load(path).selftest_passes()


@pytest.fixture(scope="module")
def half_precision(tmp_path_factory, tiny_checkpoint_dir):
    path = tmp_path_factory.mktemp("half") / "x.bundle"
    with traced_once():
        build(tiny_checkpoint_dir, path, BuildConfig(target="cuda", max_flips_percent=100))
    return path


def test_an_fp16_bundle(runtime, half_precision):
    """``build --target cuda`` writes an ordinary bundle."""
    loaded = runtime.load(half_precision)
    assert loaded.selftest_passes()
    assert loaded.answer("where is my parcel").label == "shipping"


@pytest.mark.fault("G11")
@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "selftest.json"])
@pytest.mark.parametrize("kind", ["a second value", "a NUL", "a NUL and a second value", "a byte order mark"])
def test_json_with_extra_bytes(runtime, tiny_fp32_bundle_dir, tmp_path, name, kind):
    data = (tiny_fp32_bundle_dir / name).read_bytes()
    extra = {
        "a second value": b"{}",
        "a NUL": b"\0",
        "a NUL and a second value": b"\0{}",
        "a byte order mark": b"",
    }
    changed = (b"\xef\xbb\xbf" if kind == "a byte order mark" else b"") + data + extra[kind]
    if name == "manifest.json":
        path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle")
        (path / name).write_bytes(changed if kind == "a byte order mark" else with_digest(changed))
    else:
        path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={name: changed})
    assert refusal(runtime, path).startswith(f"{path}/{name}: ")


def test_a_graph_that_differs_from_its_manifest(runtime, tiny_fp32_bundle_dir, tmp_path):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("graph", "outputs", ["probs", "text_vector"]))
    assert refusal(runtime, path) == (
        f"{runtime.graph_place(path)}: the graph has inputs ['input_ids', 'attention_mask'] and outputs "
        "['probs', 'text_vector', 'scope'] differ from the manifest, expected only what a build writes. "
        "Do not use it; build the bundle again."
    )


@pytest.mark.fault("G13")
def test_a_graph_with_other_labels(runtime, tiny_fp32_bundle_dir, tmp_path):
    edit = lambda body: body["labels"].append({"name": "x", "descriptions": ["x"]})  # noqa: E731
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit)
    where = runtime.graph_place(path)
    assert refusal(runtime, path) == f"{where}: probs has 3 columns, expected 4, one per label. {AGAIN}"


def test_a_graph_with_another_text_vector(runtime, tiny_fp32_bundle_dir, tmp_path):
    size = read_bundle(tiny_fp32_bundle_dir).manifest.graph.text_vector_size
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("graph", "text_vector_size", size + 1))
    where = runtime.graph_place(path)
    assert refusal(runtime, path) == f"{where}: text_vector has {size} columns, expected {size + 1}. {AGAIN}"


@pytest.mark.fault("G9")
def test_a_graph_for_a_newer_onnxruntime(runtime, tiny_fp32_bundle_dir, tmp_path):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", put("graph", "min_onnxruntime", "99.1"))
    assert refusal(runtime, path).startswith(f"{runtime.graph_place(path)}: needs onnxruntime >= 99.1")


@pytest.mark.fault("G8")
@pytest.mark.parametrize("place", ["pad_id", "an added token", "a token"])
def test_ids_beyond_the_embedding_table(runtime, tiny_fp32_bundle_dir, tmp_path, place):
    files = read_bundle(tiny_fp32_bundle_dir)
    rows = check_graph(files.model, files.manifest.graph, "here")
    tokenizer, edit = json.loads(files.tokenizer), put("tokens", "pad_id", rows if place == "pad_id" else 0)
    if place == "an added token":
        tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": rows, "content": "[MORE]"})
    if place == "a token":
        tokenizer["model"]["vocab"]["zebra"] = rows
    data = {"tokenizer.json": json.dumps(tokenizer).encode()}
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", edit, data)
    end = f"has the id {rows}, expected ids below {rows}. {AGAIN}"
    assert refusal(runtime, path) == f"{path}/tokenizer.json: {end}"


@pytest.mark.parametrize(
    "edit",
    [
        put("tolerance", 2e-4),
        put("tolerance", -1e-9),
        put("tolerance", "x"),
        put("tolerance", True),
        put("samples", 3),
        put("samples", []),
        lambda body: body.update(samples=body["samples"][:1] * 4097),
        put("samples", 0, "text", 3),
        put("samples", 0, "text_pair", 3),
        put("samples", 0, "probs", ["x"]),
        drop("samples", 0, "text"),
        drop("samples", 0, "probs"),
    ],
)
def test_an_invalid_selftest(runtime, tiny_fp32_bundle_dir, tmp_path, edit):
    body = json.loads((tiny_fp32_bundle_dir / "selftest.json").read_bytes())
    edit(body)
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": json.dumps(body).encode()})
    message = refusal(runtime, path)
    assert message.startswith(f"{path}/selftest.json: ")
    assert message.endswith(AGAIN)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"null", b"no", b"", b'{"tolerance": 1, "samples": [{}]}'])
def test_a_selftest_of_another_shape(runtime, tiny_fp32_bundle_dir, tmp_path, content):
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"selftest.json": content})
    message = refusal(runtime, path)
    assert message.startswith(f"{path}/selftest.json: ")
    assert message.endswith(AGAIN)


def test_a_graph_that_onnxruntime_refuses(runtime, tiny_fp32_bundle_dir, tmp_path):
    model = onnx.load(tiny_fp32_bundle_dir / "model.onnx")
    model.graph.node.append(onnx.helper.make_node("Sqrt", ["probs"], ["x"], name="twice"))
    (output,) = (value for value in model.graph.output if value.name == "probs")
    output.type.tensor_type.elem_type = onnx.TensorProto.INT32
    path = edited(tiny_fp32_bundle_dir, tmp_path / "x.bundle", files={"model.onnx": model.SerializeToString()})
    message = refusal(runtime, path)
    assert message.startswith(f"{runtime.graph_place(path)}: onnxruntime refuses the graph (")
    assert message.endswith(f"). {AGAIN}")
    assert "\n" not in message


@pytest.mark.fault("G11", "L22")
@pytest.mark.parametrize("half", ["\ud800", "\udfff", "\ude00\ud83d"])
@pytest.mark.parametrize("file", ["manifest.json", "tokenizer.json", "selftest.json"])
def test_half_a_character_in_a_string(runtime, tmp_path, tiny_bundle_dir, file, half):
    """A label with one could be written to no Parquet file. Both halves, escaped one after the other, are a character."""

    for name, text in (("good", "\U0001f600"), ("bad", half)):
        files = {}
        if file != "manifest.json":
            body = json.loads((tiny_bundle_dir / file).read_bytes())
            unused = {"decoder": {"type": "WordPiece", "prefix": text, "cleanup": True}, "note": text}
            key = "decoder" if file == "tokenizer.json" else "note"
            files[file] = json.dumps(body | {key: unused[key]}).encode()
        edit = put("labels", 0, "name", text) if file == "manifest.json" else lambda body: None
        path = edited(tiny_bundle_dir, tmp_path / f"{name}.bundle", edit, files)
        if name == "good":
            assert runtime.load(path).selftest_passes()
        else:
            reason = r"not (valid JSON|a usable tokenizer|a self-test) \("
            assert re.match(re.escape(f"{path}/{file}: ") + reason, refusal(runtime, path))
