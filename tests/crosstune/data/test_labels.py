"""Labels and their descriptions: formats, clashes, odd names."""

import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune import CrossTuneWarning, DataError, Example, Label, LabelSet, read_labels
from crosstune.data.labels import check_labels

TWO = {"shipping": "a parcel on its way", "praise": "thanks"}


def write(path, mapping):
    path.write_text(json.dumps(mapping), "utf-8")
    return path


def refused(path):
    with pytest.raises(DataError) as caught:
        read_labels(path)
    return str(caught.value)


def test_json_and_toml_say_the_same(tmp_path):
    (tmp_path / "l.toml").write_text('shipping = "a parcel on its way"\npraise = ["thanks", "well done"]\n')
    expected = LabelSet((Label("shipping", ("a parcel on its way",)), Label("praise", ("thanks", "well done"))))
    assert read_labels(tmp_path / "l.toml") == expected
    path = write(tmp_path / "l.json", {"shipping": "a parcel on its way", "praise": ["thanks", "well done"]})
    assert read_labels(path) == expected
    assert LabelSet.from_mapping({"shipping": "a parcel on its way", "praise": ["thanks", "well done"]}) == expected


def test_the_order_of_the_file_is_the_class_index(tmp_path):
    labels = read_labels(write(tmp_path / "l.json", {"z": "last letter", "a": "first letter", "m": "middle"}))
    assert labels.names == ("z", "a", "m")
    assert [labels.index(name) for name in ("z", "a", "m")] == [0, 1, 2]
    assert labels.indices([Example("t", "m"), Example("t", "z")]) == [2, 0]
    assert len(labels) == 3
    assert [label.name for label in labels] == ["z", "a", "m"]


def test_an_unknown_label_has_no_index():
    with pytest.raises(ValueError, match=r"^tuple.index\(x\): x not in tuple$"):
        LabelSet.from_mapping(TWO).index("nope")


@pytest.mark.fault("B1")
@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_labels_are_refused(tmp_path, count):
    path = write(tmp_path / "l.json", dict(list(TWO.items())[:count]))
    assert refused(path) == f"{path}: {count} labels, expected at least 2. Add labels with descriptions."


@pytest.mark.fault("B4")
@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u00a0"])
def test_an_empty_name_is_refused(tmp_path, name):
    path = write(tmp_path / "l.json", {name: "a description", **TWO})
    assert refused(path) == f"{path}: a label's name is {name!r}, expected visible characters. Name it."


@pytest.mark.parametrize("description", ["", "  ", ["fine", " "], "\u200b"])
def test_an_empty_description_is_refused(tmp_path, description):
    path = write(tmp_path / "l.json", {**TWO, "other": description})
    assert refused(path) == f"{path}: the description of 'other' is empty, expected a sentence. Write one."


@pytest.mark.parametrize("description", [None, 3, True, [], ["fine", 3], {"text": "x"}, [["nested"]]])
def test_a_description_that_is_no_sentence_is_refused(tmp_path, description):
    path = write(tmp_path / "l.json", {**TWO, "other": description})
    problem = f"the description of 'other' is {description!r}, expected a sentence or a list of them. Correct it."
    assert refused(path) == f"{path}: {problem}"
    with pytest.raises(DataError) as caught:
        LabelSet.from_mapping({**TWO, "other": description})
    assert str(caught.value) == f"labels: {problem}"


def test_a_name_that_is_a_number_is_refused():
    with pytest.raises(DataError) as caught:
        LabelSet.from_mapping({**TWO, 1: "a description"})
    assert str(caught.value) == "labels: a label's name is 1, expected visible characters. Name it."


def test_a_file_that_holds_no_object_is_refused(tmp_path):
    path = write(tmp_path / "l.json", ["shipping", "praise"])
    assert refused(path) == f"{path}: found list, expected an object of label and description. Correct it."


@pytest.mark.fault("B5")
def test_a_label_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "l.json"
    path.write_text('{"a": "one", "b": "two", "a": "three"}')
    assert refused(path) == f"{path}: not valid JSON (key 'a' twice). Correct the line."
    path = tmp_path / "l.toml"
    path.write_text('a = "one"\na = "two"\n')
    assert refused(path) == f"{path}: not valid TOML (Cannot overwrite a value (at line 2, column 10)). Correct it."


@pytest.mark.fault("B6")
@pytest.mark.parametrize(
    ("one", "other", "points"),
    [
        ("Caf\u00e9", "Cafe\u0301", ("U+0043 U+0061 U+0066 U+00E9", "U+0043 U+0061 U+0066 U+0065 U+0301")),
        ("A", "a", ("U+0041", "U+0061")),
        ("stra\u00dfe", "STRASSE", ("U+0073 U+0074 U+0072 U+0061 U+00DF U+0065", "U+0053 U+0054 U+0052 U+0041 U+0053 U+0053 U+0045")),
        ("a", " a", ("U+0061", "U+0020 U+0061")),
    ],
)  # fmt: skip
def test_names_that_read_alike_are_refused_with_their_code_points(tmp_path, one, other, points):
    path = write(tmp_path / "l.json", {one: "first", other: "second"})
    assert refused(path) == (
        f"{path}: labels {one!r} ({points[0]}) and {other!r} ({points[1]}) read alike. Rename one."
    )


@pytest.mark.fault("B11")
def test_the_same_description_twice_is_a_warning_given_once(tmp_path):
    path = write(tmp_path / "l.json", {"a": "same words", "b": "other words", "c": "same words"})
    with pytest.warns(CrossTuneWarning) as caught:
        read_labels(path)
    assert [str(item.message) for item in caught] == [
        f"{path}: labels 'a' and 'c' have the same description and are indistinguishable by it."
    ]


@pytest.mark.fault("B7")
@pytest.mark.parametrize(("character", "point"), [("\u200b", "U+200B"), ("\u202e", "U+202E"), ("\x07", "U+0007")])
def test_an_invisible_character_in_a_name_is_a_warning(character, point):
    name = f"a{character}b"
    with pytest.warns(CrossTuneWarning) as caught:
        LabelSet.from_mapping({**TWO, name: "odd"})
    assert [str(item.message) for item in caught] == [f"labels: label {name!r} contains the invisible {point}."]


@pytest.mark.parametrize("mapping", [{"a\\ud800": "x", "b": "y"}, {"a": "x", "b": ["y", "z\\udfff"]}])
def test_an_unpaired_surrogate_is_refused(tmp_path, mapping):
    path = tmp_path / "l.json"
    path.write_text(json.dumps(mapping).replace("\\\\u", "\\u"))
    name, point = ("'a\\ud800'", "U+D800") if "b" in mapping and isinstance(mapping["b"], str) else ("'b'", "U+DFFF")
    assert refused(path) == f"{path}: label {name} has the unpaired surrogate {point}. Remove it."


def test_a_nul_in_a_name_is_refused(tmp_path):
    """The C++ runtime, whose strings end at one, refuses such labels."""
    path = write(tmp_path / "l.json", {"a\0b": "x", "c": "y"})
    assert refused(path) == f"{path}: label 'a\\x00b' has a NUL in its name. Remove it."


ODD_NAMES = (
    "__proto__",
    "constructor",
    "null",
    "nan",
    "true",
    "1",
    "../x",
    "-rf",
    "a b",
    "商品",
    "label: value",
    "'\"",
)


@pytest.mark.fault("B9")
def test_odd_names_are_only_names(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = read_labels(write(tmp_path / "l.json", {name: f"what {name} means" for name in ODD_NAMES}))
    assert labels.names == ODD_NAMES


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = \n", "Invalid value (at line 1, column 5)"),
    ],
    ids=["deep", "no value"],
)
def test_bad_toml_is_refused(tmp_path, text, reason):
    path = tmp_path / "l.toml"
    path.write_text(text)
    assert refused(path) == f"{path}: not valid TOML ({reason}). Correct it."


def test_a_toml_number_of_5000_digits_is_refused(tmp_path):
    path = tmp_path / "l.toml"
    path.write_text("a = " + "7" * 5000)
    assert refused(path).startswith(f"{path}: not valid TOML (Exceeds the limit (4300")


def test_toml_values_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "l.toml"
    path.write_text('a = "fine"\n[b]\nc = 1\n')
    assert refused(path) == (
        f"{path}: the description of 'b' is {{'c': 1}}, expected a sentence or a list of them. Correct it."
    )


@pytest.mark.fault("B8")
def test_a_label_of_the_data_that_the_label_file_lacks_is_refused_with_line_and_count():
    rows = [Example("a", "praise", line=1), Example("b", "refund", line=3), Example("c", "other", line=4)]
    with pytest.raises(DataError) as caught:
        check_labels(rows, LabelSet.from_mapping(TWO), "train.jsonl")
    assert str(caught.value) == (
        "train.jsonl:3: label 'refund' is not one of 'shipping', 'praise' (2 such rows). "
        "Describe that label too, or correct the rows."
    )


def test_the_message_lists_eight_labels_at_most():
    labels = LabelSet.from_mapping({f"l{i}": f"d{i}" for i in range(11)})
    with pytest.raises(DataError) as caught:
        check_labels([Example("a", "x", line=1)], labels, "f")
    assert "is not one of 'l0', 'l1', 'l2', 'l3', 'l4', 'l5', 'l6', 'l7' and 3 more (1 such rows)" in str(caught.value)


@pytest.mark.fault("B2")
def test_a_label_without_examples_is_a_warning_where_every_label_is_expected():
    labels = LabelSet.from_mapping({**TWO, "other": "anything else"})
    rows = [Example("a", "praise")]
    check_labels(rows, labels, "train.jsonl")
    with pytest.warns(CrossTuneWarning) as caught:
        check_labels(rows, labels, "train.jsonl", expect_every_label=True)
    assert [str(item.message) for item in caught] == [
        "train.jsonl: no example of 'shipping', 'other'; known by description only."
    ]


names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=8)


@given(st.dictionaries(names, st.lists(names, min_size=1, max_size=3), min_size=2, max_size=8))
def test_what_is_accepted_comes_back_in_order_and_what_is_not_names_a_clash(mapping):
    import unicodedata

    folded = [unicodedata.normalize("NFC", name).casefold().strip() for name in mapping]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CrossTuneWarning)
        if len(set(folded)) < len(folded):
            with pytest.raises(DataError, match=r"read alike. Rename one\.$"):
                LabelSet.from_mapping(mapping)
            return
        labels = LabelSet.from_mapping(mapping)
    assert {label.name: list(label.descriptions) for label in labels} == mapping
    assert labels.names == tuple(mapping)


def test_the_example_labels_read(support_desk):
    assert len(read_labels(support_desk.labels)) == 8


@pytest.mark.fault("L8")
def test_a_description_with_a_control_character_is_refused():
    with pytest.raises(DataError) as caught:
        LabelSet.from_mapping({"a": "first", "b": ["second", "third\0"]})
    assert str(caught.value) == (
        "labels: the description of 'b' has the control character U+0000 at position 5. Remove it."
    )
