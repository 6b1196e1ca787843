"""Parsing the texts in an answer."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from crosstune.augmentation.answers import MAX_ANSWER_CHARACTERS, Answer, answer_from_body, texts_in

TEXTS = st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40), min_size=1, max_size=8)
PROSE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="[{"), max_size=60)


@hypothesis.given(TEXTS, PROSE, st.sampled_from(["%s", "```json\n%s\n```", "```\n%s\n```"]), PROSE, st.booleans())
def test_json_with_anything_around_it_is_read_back(texts, before, fence, after, as_object):
    """One list of strings, bare or in an object, comes back as it was."""
    body = json.dumps({"texts": texts} if as_object else texts)
    assert texts_in(before + fence % body + after) == texts


@hypothesis.given(TEXTS)
def test_a_list_that_is_cut_off_gives_its_whole_strings(texts):
    cut = json.dumps([*texts, "the last one"])[:-4]
    assert texts_in(cut) == texts


@pytest.mark.fault("D12")
@hypothesis.given(st.text(max_size=300))
def test_nothing_makes_it_fail(content):
    found = texts_in(content)
    assert all(isinstance(text, str) for text in found)


@pytest.mark.fault("D12")
@pytest.mark.parametrize(
    "content", ["[" * 10**6, '{"a":' * 10**5, '["' + '\\"' * 10**5, "['" + "'a" * 10**5, '["a' + '"b' * 10**5]
)
def test_hostile_answers_are_read_no_further_than_the_limit(content):
    assert len("".join(texts_in(content))) <= MAX_ANSWER_CHARACTERS


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("{'texts': ['it\\'s late', \"where is it\"]}", ["where is it"]),
        ("{'texts': ['it's late', 'where \"is\" it']}", ["it's late", 'where "is" it']),
        ('- one\n* two\n• three\n(4) four\n5) "five"\nsix', ["one", "two", "three", "four", "five"]),
        ('{"reviews": ["a", 3, null, {"text": "b"}]}', ["a", "", "", "b"]),
        ('{"a": ["x"], "b": ["y"]}', ["x"]),
        ("{}", []),
        ("[]", []),
        ("[1, 2]", []),
        ("", []),
    ],
)
def test_shapes(content, texts):
    assert texts_in(content) == texts


def test_an_answer_survives_the_cache():
    answer = Answer('é " \\ \n 商', "stop", True, 3, None)
    assert Answer.from_json(answer.to_json()) == answer


def choice(finish=None, **message):
    return [{"message": message, "finish_reason": finish}]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (None, None),
        ([], None),
        ({}, None),
        ({"choices": []}, Answer(None, "none", False, None, None)),
        ({"choices": [{"message": {"content": "a"}}], "usage": 7}, Answer("a", "stop", False, None, None)),
        (
            {"choices": choice("length", content="a"), "usage": {"prompt_tokens": -1, "completion_tokens": True}},
            Answer("a", "length", False, None, None),
        ),
        (
            {"choices": choice(content=3, refusal="no"), "usage": {"prompt_tokens": 5, "completion_tokens": 0}},
            Answer(None, "none", True, 5, 0),
        ),
    ],
)
def test_bodies(body, answer):
    assert answer_from_body(body) == answer
