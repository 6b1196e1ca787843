from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune.core.labels import Label
from crosstune.core.token_layout import TokenLayout
from crosstune_export import BundleContentError, BundleIntegrityError, BundleVersionError
from crosstune_export.bundle.manifest import (
    SIZE_LIMITS,
    BundleManifest,
    FileEntry,
    GraphFacts,
    digest_of,
    manifest_bytes,
    parse_manifest,
)

MANIFEST = BundleManifest(
    name="small",
    producer={"crosstune-export": "0.1.0"},
    labels=(Label("a", ("one",)), Label("b", ("two", "deux"))),
    text_pair=False,
    tokens=TokenLayout(16, (2,), (3,), (3,), 0),
    graph=GraphFacts(("input_ids", "attention_mask"), ("probs", "text_vector"), "fp32", 18, 10, "1.20.0", (), 8),
    threshold=None,
    backbone={"name": "tiny"},
    head={"kind": "default"},
    training={"examples": 4},
    quality={},
    files={name: FileEntry("0" * 64, 1) for name in sorted(set(SIZE_LIMITS) - {"manifest.json"})},
)


@pytest.fixture(scope="module")
def schema(repo_root):
    return json.loads((repo_root / "crosstune_export" / "bundle" / "manifest.schema.json").read_text("utf-8"))


def signed(body: dict) -> bytes:
    """Bytes with a right digest, as an attacker or a careless editor would make them."""
    rest = json.dumps({key: value for key, value in body.items() if key != "digest"})
    data = b'{\n  "digest": "' + b"0" * 64 + b'",\n' + rest[1:].encode() + b"\n"
    return data.replace(b"0" * 64, digest_of(data).encode(), 1)


def body() -> dict:
    return json.loads(manifest_bytes(MANIFEST))


def test_bytes_and_back():
    again = parse_manifest(manifest_bytes(MANIFEST), "here")
    assert again == MANIFEST
    assert again.digest == body()["digest"]
    assert again.label_names == ("a", "b")


def test_digest_is_what_the_specification_says():
    data = manifest_bytes(MANIFEST)
    assert data.startswith(b'{\n  "digest": "')
    zeroed = re.sub(rb"[0-9a-f]{64}", b"0" * 64, data, count=1)
    assert hashlib.sha256(zeroed).hexdigest() == json.loads(data)["digest"]


@given(
    st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True),
    st.text(),
    st.one_of(st.none(), st.floats(0, 1)),
)
def test_any_names_survive(names, description, threshold):
    names = [*names, "__proto__", "null"] if not {"__proto__", "null"} & set(names) else names
    labels = tuple(Label(name, (description,)) for name in names)
    manifest = replace(MANIFEST, labels=labels, threshold=threshold)
    assert parse_manifest(manifest_bytes(manifest), "here") == manifest


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    "name", ["__proto__", "constructor", "", " ", "\x00", "\U0001f600", "a" * 100_000, "\u202e", "null", '"']
)
def test_odd_names_survive(name):
    manifest = replace(MANIFEST, labels=(Label(name, (name,)), Label("another", ("x",))))
    assert parse_manifest(manifest_bytes(manifest), "here").label_names == (name, "another")


@pytest.mark.fault("G1")
def test_every_flipped_bit_is_seen():
    data = manifest_bytes(MANIFEST)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises(BundleIntegrityError):
                parse_manifest(bytes(flipped), "here")


@pytest.mark.fault("G2")
def test_every_truncation_and_a_trailing_byte_are_seen():
    data = manifest_bytes(MANIFEST)
    for changed in [data[:length] for length in range(len(data))] + [data + b"\n"]:
        with pytest.raises(BundleIntegrityError) as caught:
            parse_manifest(changed, "here")
    assert str(caught.value) == (
        "here: the digest does not match the contents, expected the file as it was built. Copy or build the bundle again."
    )


@pytest.mark.fault("G10")
def test_newer_format():
    with pytest.raises(BundleVersionError) as caught:
        parse_manifest(manifest_bytes(replace(MANIFEST, format_version="2.0")), "here")
    assert str(caught.value) == "here: bundle format 2.0, this reader knows 1.4. Upgrade crosstune-export."
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("version", ["1", "1.", "1.x", "1.0.0", "1.0\n", " 1.0", "one", "\u0661.0"])
def test_versions_that_are_none(version, schema):
    changed = body() | {"format_version": version}
    if version != "1.0\n":  # in Python, unlike JSON Schema, "$" also matches before a final line feed
        assert not jsonschema.Draft202012Validator(schema).is_valid(changed)
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(signed(changed), "here")
    assert str(caught.value) == (
        f'here: format_version is {version!r}, expected a string "major.minor". Build the bundle again.'
    )


def test_another_format():
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(signed(body() | {"format": "zip"}), "here")
    assert str(caught.value) == (
        "here: format is 'zip', expected 'crosstune-bundle'. Give a folder that crosstune-export built."
    )


@pytest.mark.fault("G10")
def test_newer_minor_version_and_unknown_fields_load():
    changed = body() | {"format_version": "1.7", "invented_later": {"x": 1}}
    assert parse_manifest(signed(changed), "here").format_version == "1.7"


@pytest.mark.fault("G11")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'{"a": 1, "a": 2}', "key 'a' twice"),
        (b'{"a": NaN}', "number NaN"),
        (b"[1, -Infinity]", "number -Infinity"),
        (b"-1e999", "number -1e999"),
        (b"[" * 100_000 + b"]" * 100_000, "maximum recursion depth exceeded.*"),
        (b"9" * 5000, "number 9{40}"),
        (b'"\xff"', "'utf-8' codec can't decode byte 0xff.*"),
        (b'"', "(Invalid control character|Unterminated string).*"),
    ],
)
def test_bad_json_with_a_right_digest(text, reason):
    data = b'{\n  "digest": "' + b"0" * 64 + b'",\n "x": ' + text + b"}\n"
    data = data.replace(b"0" * 64, digest_of(data).encode(), 1)
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(data, "here")
    assert re.fullmatch(rf"here: not valid JSON \({reason}\)\. Build the bundle again\.", str(caught.value))


def required_places(schema, path=()):
    for key in schema.get("required", ()):
        yield (*path, key)
        inner = schema["properties"][key]
        if inner.get("$ref") == "#/$defs/file":
            yield from ((*path, key, name) for name in ("sha256", "size_bytes"))
        yield from required_places(inner, (*path, key))
        if inner.get("items", {}).get("type") == "object":
            yield from required_places(inner["items"], (*path, key, 0))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def test_schema_and_reader_accept_what_is_written(schema, tiny_bundle_dir, tiny_fp32_bundle_dir):
    for data in (
        manifest_bytes(MANIFEST),
        (tiny_bundle_dir / "manifest.json").read_bytes(),
        (tiny_fp32_bundle_dir / "manifest.json").read_bytes(),
    ):
        jsonschema.validate(json.loads(data), schema)
        parse_manifest(data, "here")


@pytest.mark.fault("G11")
def test_schema_and_reader_refuse_a_missing_field_alike(schema):
    places = [place for place in required_places(schema) if place != ("digest",)]
    assert len(places) == 14 + 7 + 8 + 1 + 4 + 4 * 2 + 2  # top, tokens, graph, decision, files, their entries, a label
    for place in places:
        changed = body()
        del at(changed, place[:-1])[place[-1]]
        assert not jsonschema.Draft202012Validator(schema).is_valid(changed), place
        with pytest.raises(BundleContentError) as caught:
            parse_manifest(signed(changed), "here")
        assert str(place[-1]) in str(caught.value)


@pytest.mark.fault("G11")
def test_schema_and_reader_refuse_a_wrong_type_alike(schema):
    for place in required_places(schema):
        if place == ("digest",):
            continue
        changed = body()
        at(changed, place[:-1])[place[-1]] = [[1.5]] if place != ("decision", "threshold") else "high"
        assert not jsonschema.Draft202012Validator(schema).is_valid(changed), place
        with pytest.raises(BundleContentError) as caught:
            parse_manifest(signed(changed), "here")
        assert str(place[-1]) in str(caught.value)


@pytest.mark.fault("G4", "G6", "G11")
@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("labels",), [{"name": "a", "descriptions": ["x"]}]),
        (("labels", 0, "descriptions"), []),
        (("tokens", "max_length_tokens"), 7),
        (("tokens", "max_length_tokens"), True),
        (("tokens", "prefix_ids"), [-1]),
        (("tokens", "second_type_id"), 256),
        (("graph", "inputs"), ["input_ids"]),
        (("graph", "outputs"), ["text_vector", "probs"]),
        (("graph", "precision"), "int4"),
        (("decision", "threshold"), 1.5),
        (("decision", "threshold"), True),
        (("files", "model.onnx", "sha256"), "00"),
        (("files", "extra.bin"), {"sha256": "0" * 64, "size_bytes": 1}),
        (("producer",), {"x": 1}),
        (("graph", "inputs"), ["input_ids", "attention_mask", "token_type_ids"]),  # no pairs: no types
        (("graph", "inputs"), ["attention_mask", "input_ids"]),
        (("graph", "inputs"), ["input_ids", "attention_mask", "input_ids"]),
        (("graph", "outputs"), ["probs"]),
        (("graph", "opset"), 0),
        *(
            (("graph", "min_onnxruntime"), value)
            for value in ("1" * 5000, "1.\u00b20.0", "", "1", "1..0", "1.20.0.0", "1.x")
        ),
        (("graph", "text_vector_size"), 0),
        (("release",), -1),
        (("release",), "2"),
        (("tokens", "pad_id"), 1 << 31),
        (("tokens", "max_text_bytes"), 10**400),
        (("decision", "threshold"), -0.1),
        (("files", "model.onnx", "sha256"), "A" * 64),
        *((("files", name, "size_bytes"), limit + 1) for name, limit in SIZE_LIMITS.items() if name != "manifest.json"),
        (("files", "model.onnx", "size_bytes"), -1),
    ],
)
def test_schema_and_reader_refuse_a_wrong_value_alike(schema, place, value):
    changed = body()
    at(changed, place[:-1])[place[-1]] = value
    assert not jsonschema.Draft202012Validator(schema).is_valid(changed)
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(signed(changed), "here")
    assert str(caught.value).startswith("here: ") and str(caught.value).endswith(". Build the bundle again.")


@pytest.mark.parametrize("name", sorted(set(SIZE_LIMITS) - {"manifest.json"}))
def test_schema_and_reader_accept_a_file_at_its_limit(schema, name):
    changed = body()
    changed["files"][name]["size_bytes"] = SIZE_LIMITS[name]
    jsonschema.validate(changed, schema)
    assert parse_manifest(signed(changed), "here").files[name].size_bytes == SIZE_LIMITS[name]


def test_schema_and_reader_accept_token_types_of_pairs(schema):
    changed = body() | {"text_pair": True}
    for inputs in (["input_ids", "attention_mask"], ["input_ids", "attention_mask", "token_type_ids"]):
        changed["graph"]["inputs"] = inputs
        jsonschema.validate(changed, schema)
        assert parse_manifest(signed(changed), "here").graph.inputs == tuple(inputs)


def test_no_room_for_text():
    changed = body()
    changed["tokens"] |= {"max_length_tokens": 8, "prefix_ids": [2] * 5}
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(signed(changed), "here")
    assert str(caught.value) == (
        "here: tokens.max_length_tokens is 8, expected more than the 7 special ids. Build the bundle again."
    )


def test_the_place_of_a_bad_field_is_named():
    changed = body()
    changed["labels"][1]["descriptions"] = ["fine", None]
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(signed(changed), "here")
    assert str(caught.value) == (
        "here: labels[1].descriptions is ['fine', None], expected an array of strings. Build the bundle again."
    )


def test_one_name_twice_is_refused():
    changed = body()
    changed["labels"].append({"name": "a", "descriptions": ["again"]})
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(signed(changed), "here")
    assert str(caught.value) == (
        "here: labels is a list with a duplicate name, expected distinct names. Build the bundle again."
    )


def test_the_page_names_the_fields_of_the_schema(schema, repo_root):
    page = (repo_root / "docs" / "bundle_format.md").read_text("utf-8")

    def table_after(heading: str) -> set[str]:
        rows = page.split(heading, 1)[1].lstrip().split("\n\n")[0].splitlines()[2:]
        return {name for row in rows for name in re.findall(r"`([a-z_0-9]+)`", row.split("|")[1])}

    assert jsonschema.Draft202012Validator.check_schema(schema) is None
    assert (
        table_after("### Fields") == set(schema["properties"]) == {*schema["required"], "release", "runtimes", "exits"}
    )
    sizes = {
        name: int(number) * {"MiB": 1 << 20, "GiB - 1": 1 << 30}[unit] - (unit == "GiB - 1")
        for name, number, unit in re.findall(r"\| `([A-Za-z.]+)` \|.*\| (\d+) (MiB|GiB - 1) \|", page)
    }
    assert sizes == dict(SIZE_LIMITS)
    files = schema["properties"]["files"]["properties"]
    assert {name: files[name]["properties"]["size_bytes"]["maximum"] for name in files} == {
        name: limit for name, limit in sizes.items() if name != "manifest.json"
    }
    assert table_after("`tokens`:\n") == set(schema["properties"]["tokens"]["properties"])
    assert table_after("`exits`, as measured by the build on texts without labels:\n") == set(
        schema["properties"]["exits"]["properties"]
    )
    assert table_after("`graph`:\n") == set(schema["properties"]["graph"]["properties"])


@pytest.mark.fault("L22")
@pytest.mark.parametrize("digits", [310, 4000, 5000])
def test_a_number_of_thousands_of_digits_is_refused_as_what_it_is(digits):
    data = manifest_bytes(MANIFEST).replace(b'"examples": 4', b'"examples": ' + b"9" * digits)
    data = data.replace(json.loads(manifest_bytes(MANIFEST))["digest"].encode(), digest_of(data).encode())
    with pytest.raises(BundleContentError) as caught:
        parse_manifest(data, "here")
    assert str(caught.value) == f"here: not valid JSON (number {'9' * 40}). Build the bundle again."


def test_runtimes_are_optional():
    assert "runtimes" not in body()
    again = parse_manifest(manifest_bytes(replace(MANIFEST, runtimes=("python", "cpp"))), "here")
    assert again.runtimes == ("python", "cpp")
    with pytest.raises(BundleContentError, match=r"runtimes.* expected an array of strings"):
        parse_manifest(signed(body() | {"runtimes": "python"}), "here")
