"""What is refused of examples, and what is only warned of: repeated texts, two labels, leaks."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune import ConfigError, CrossTuneWarning, DataError, Example, read_examples
from crosstune.data.checks import check_fields, check_held_out, measured_rows, without_duplicates
from crosstune.data.examples import example_line

visible = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zs", "Zl", "Zp")), min_size=1, max_size=12
).filter(lambda text: text.strip())


def write(path, rows):
    path.write_text("".join(map(example_line, rows)), "utf-8")
    return path


def refused(path):
    with pytest.raises(DataError) as caught:
        read_examples(path)
    return str(caught.value)


@pytest.mark.fault("A5", "H3")
@pytest.mark.parametrize("name", ["text", "label", "text_pair"])
@pytest.mark.parametrize(
    ("character", "what"),
    [("\0", "control character U+0000"), ("\x7f", "control character U+007F"), ("\ud800", "unpaired surrogate U+D800"),
     ("\udfff", "unpaired surrogate U+DFFF")],
)  # fmt: skip
def test_characters_that_no_field_may_hold_are_named_by_their_kind(name, character, what):
    fields = {"text": "a", "label": "x", "text_pair": "b"} | {name: f"ab{character}"}
    good = Example("a", "x", "b", 1)
    with pytest.raises(DataError) as caught:
        check_fields([good, Example(**fields, line=2)], "here")
    assert str(caught.value) == f"here:2: {name} has the {what} at position 2. Remove it."


@pytest.mark.fault("A11")
def test_repeated_examples_are_kept_once_with_a_warning(tmp_path):
    one, two = Example("where is my parcel", "shipping"), Example('she said "now", then left', "praise")
    path = write(tmp_path / "x.jsonl", [one, two, one, one])
    with pytest.warns(CrossTuneWarning) as caught:
        assert read_examples(path) == (one, two)
    assert [str(item.message) for item in caught] == [f"{path}: 2 repeated examples, each kept once."]


@pytest.mark.fault("A12", "L3")
def test_texts_under_several_labels_are_refused_and_all_listed(tmp_path):
    path = write(
        tmp_path / "x.jsonl",
        [
            Example("x" * 61, "a"),
            Example("same", "a"),
            Example("x" * 61, "b"),
            Example("same", "c"),
            Example("same", "a"),
        ],
    )
    assert refused(path) == (
        f"{path}: 2 texts have more than one label: '{'x' * 57}...' ('a' in line 1, 'b' in line 3); "
        "'same' ('a' in line 2 and 5, 'c' in line 4). Keep one label for each text, or pass --on-conflict drop or majority."
    )
    many = [Example(f"text {i}", label, line=i) for i in range(25) for label in "ab"]
    with pytest.raises(DataError) as caught:
        without_duplicates(many, "here")
    assert str(caught.value).startswith("here: 25 texts have more than one label: 'text 0' (")
    assert "'text 19'" in str(caught.value) and "'text 20'" not in str(caught.value)
    assert "; and 5 more. Keep" in str(caught.value)


@pytest.mark.fault("A12", "L3")
def test_what_is_done_with_texts_under_several_labels():
    rows = [Example("same", "a"), Example("tie", "a"), Example("same", "b"), Example("tie", "b"), Example("same", "b")]
    rows.append(Example("other", "a"))
    with pytest.warns(CrossTuneWarning, match="2 texts have more than one label; 0 kept .*, 2 dropped: 'same' "):
        assert without_duplicates(rows, "here", "drop") == (Example("other", "a"),)
    with pytest.warns(CrossTuneWarning, match="2 texts have more than one label; 1 kept .*, 1 dropped: 'same' "):
        assert without_duplicates(rows, "here", "majority") == (Example("same", "b"), Example("other", "a"))
    with pytest.raises(ConfigError, match="--on-conflict: found 'first', expected one of fail, drop, majority"):
        without_duplicates(rows, "here", "first")


@pytest.mark.fault("L2")
def test_rows_are_measured_as_they_stand_without_those_that_were_trained_on():
    train = [Example("Known", "a")]
    rows = [
        Example("new", "a", line=1),
        Example(" known", "b", line=2),
        Example("new", "b", line=3),
        Example("new", "a", line=4),
    ]
    kept, notes = measured_rows(train, rows, "test.csv")
    assert kept == (rows[0], rows[2], rows[3])
    assert notes == [
        "test.csv: 1 row is a training text and not measured.",
        "test.csv: 3 rows contradict each other (one text under several labels), all measured: "
        "'new' ('a' in line 1 and 4, 'b' in line 3).",
        "test.csv: 1 row repeats an earlier one, all measured.",
    ]
    with pytest.raises(DataError, match=r"^test\.csv:2: the text ' known' is also a training text \(1 such rows\)\."):
        measured_rows(train, rows, "test.csv", strict=True)
    with pytest.raises(DataError, match=r"^test\.csv: all 1 rows are training texts"):
        measured_rows(train, rows[1:2], "test.csv")


def test_pairs_are_the_same_only_when_both_texts_are():
    pairs = [Example("a", "x", "b"), Example("a", "y", "c"), Example("b", "y", "a")]
    assert without_duplicates(pairs, "here") == tuple(pairs)


@pytest.mark.fault("A13")
@pytest.mark.parametrize(
    "other", ["Caf\u00e9 am  Eck", "Cafe\u0301 am Eck", "CAFÉ AM ECK", " café\tam\n eck ", "cafÉ am eck"]
)
@pytest.mark.fault("A13")
def test_a_leak_is_seen_through_case_white_space_and_composition(other):
    train = [Example("unrelated", "x"), Example("Café am Eck", "x")]
    with pytest.raises(DataError) as caught:
        check_held_out(train, [Example("fine", "x", line=1), Example(other, "y", line=2)], "test.jsonl")
    assert str(caught.value) == (
        f"test.jsonl:2: the text {other!r} is also a training text (1 such rows). Remove them from one of the files."
    )


def test_other_texts_are_no_leak():
    train = [Example("a b", "x"), Example("p", "x", "q"), Example("step 1", "x")]
    check_held_out(
        train, [Example("ab", "x"), Example("q", "x", "p"), Example("p", "x"), Example("step ①", "x")], "test"
    )


def test_texts_of_another_kind_are_refused():
    single, pair = [Example("a b", "x", line=1)], [Example("c d", "x", "e", line=3)]
    for train, other, message in [
        (single, pair, "dev:3: a pair, expected single texts as in training. Give the same kind."),
        (pair, single, "dev:1: a single text, expected pairs as in training. Give the same kind."),
    ]:
        with pytest.raises(DataError) as caught:
            check_held_out(train, other, "dev")
        assert str(caught.value) == message
        check_held_out([], other, "dev")


@pytest.mark.fault("A13")
@given(texts=st.lists(visible, min_size=1, max_size=8), other=st.lists(visible, min_size=1, max_size=8))
def test_the_leak_check_counts_like_a_plain_comparison(texts, other):
    def plain(text):
        return " ".join(unicodedata.normalize("NFC", text).casefold().split())

    leaked = [text for text in other if plain(text) in {plain(text) for text in texts}]
    rows = [Example(text, "x", line=line) for line, text in enumerate(other, 1)]
    if not leaked:
        check_held_out([Example(text, "x") for text in texts], rows, "test")
        return
    with pytest.raises(DataError) as caught:
        check_held_out([Example(text, "x") for text in texts], rows, "test")
    assert str(caught.value) == (
        f"test:{other.index(leaked[0]) + 1}: the text {leaked[0]!r} is also a training text ({len(leaked)} such rows). "
        "Remove them from one of the files."
    )


@pytest.mark.parametrize(("length", "shown"), [(59, "x" * 59), (60, "x" * 60), (61, "x" * 57 + "...")])
def test_texts_of_up_to_60_characters_are_shown_whole(length, shown):
    text = Example("x" * length, "a", line=1)
    with pytest.raises(DataError) as caught:
        check_held_out([text], [text], "test.jsonl")
    assert f"the text '{shown}' is also" in str(caught.value)
