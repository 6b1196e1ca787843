"""What is refused of examples, and what is only warned of: repeated texts, two labels, leaks."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstune import CrossTuneWarning, DataError, Example, read_examples
from crosstune.data.checks import check_held_out, without_duplicates
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


@pytest.mark.fault("A11")
def test_repeated_examples_are_kept_once_with_a_warning(tmp_path):
    one, two = Example("where is my parcel", "shipping"), Example('she said "now", then left', "praise")
    path = write(tmp_path / "x.jsonl", [one, two, one, one])
    with pytest.warns(CrossTuneWarning) as caught:
        assert read_examples(path) == (one, two)
    assert [str(item.message) for item in caught] == [f"{path}: 2 repeated examples, each kept once."]


@pytest.mark.fault("A12")
def test_one_text_under_two_labels_is_refused(tmp_path):
    long = "x" * 61
    path = write(tmp_path / "x.jsonl", [Example("same", "a"), Example("same", "b")])
    assert refused(path) == (
        f"{path}:2: the text 'same' is labelled 'b' here and 'a' in line 1. Keep one label for each text."
    )
    path = write(
        tmp_path / "y.jsonl", [Example(long, "a"), Example("same", "a"), Example(long, "b"), Example("same", "c")]
    )
    assert refused(path) == (
        f"{path}:3: the text '{'x' * 57}...' is labelled 'b' here and 'a' in line 1 and 1 more. Keep one label for each text."
    )


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
