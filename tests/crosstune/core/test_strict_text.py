"""Strict UTF-8 and strict JSON, against Python's own decoders."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune.core.errors import ConfigError, DataError
from crosstune.core.strict_text import parse_json, parse_toml, read_object, read_text

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
def test_json_comes_back(value):
    assert parse_json(json.dumps(value), "here") == value


@given(data=st.binary(max_size=40) | st.binary(max_size=20).map(lambda data: b"\xef\xbb\xbf" + data))
def test_bytes_are_text_exactly_when_they_are_utf_8(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "x"
    path.write_bytes(data)
    try:
        expected = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        mark = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # of UTF-16
        with pytest.raises(DataError) as caught:
            read_text(path)
        assert str(caught.value) == (
            f"{path}:{line}: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8. "
            f"Save the file as UTF-8, for example with: iconv -f {'utf-16' if mark else 'cp1252'} -t utf-8 {path}"
        )
        assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    else:
        assert read_text(path) == expected.removeprefix("\ufeff")


@pytest.mark.parametrize("text", ["", "{", "[1,]", "nul", '"\\x"', "{} {}", "01"])
def test_what_is_not_json_is_refused(text):
    with pytest.raises(json.JSONDecodeError) as plain:
        json.loads(text)
    with pytest.raises(DataError) as caught:
        parse_json(text, "here")
    assert str(caught.value) == (
        f"here: not valid JSON ({plain.value.msg} at column {plain.value.colno}). Correct the line."
    )


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_are_refused(name):
    with pytest.raises(DataError) as caught:
        parse_json(f"[{name}]", "here")
    assert str(caught.value) == f"here: not valid JSON (number {name}). Correct the line."


@pytest.mark.parametrize("error_class", [DataError, ConfigError])
def test_toml_errors_are_of_the_class_that_the_caller_wants(error_class):
    with pytest.raises(error_class) as caught:
        parse_toml("a", "here", error_class)
    assert type(caught.value) is error_class
    assert str(caught.value) == (
        "here: not valid TOML (Expected '=' after a key in a key/value pair (at end of document)). Correct it."
    )


def test_toml_is_parsed():
    assert parse_toml('a = 1\n[b]\nc = ["x", "y"]\n', "here", DataError) == {"a": 1, "b": {"c": ["x", "y"]}}


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", 'x = "y"'), ("a.TOML", 'x = "y"'), ("a.json", '{"x": "y"}'), ("a", '{"x": "y"}')]
)
def test_an_object_is_read_by_the_ending_of_its_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_object(tmp_path / name, "label and description") == {"x": "y"}
