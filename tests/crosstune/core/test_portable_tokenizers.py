"""Which runtimes read a tokenizer, by its parts."""

from __future__ import annotations

import json

import pytest

from crosstune.core.portable_tokenizers import RUNTIMES, needs_python, runtimes
from crosstune.core.tokenizer_rules import largest_id
from tests.fixtures.subword_tokenizers import BPE, UNIGRAM


@pytest.fixture
def bert(tiny_backbone):
    return json.loads(tiny_backbone.tokenizer_json)


def test_the_tokenizer_of_bert_is_read_everywhere(bert):
    assert needs_python(bert) is None
    assert runtimes(bert) == RUNTIMES == ("python", "cpp", "web", "mobile")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "WordLevel"}}, "its model is WordLevel, expected WordPiece, Unigram or byte-level BPE"),
        ({"normalizer": None}, "its normalizer is missing, expected BertNormalizer"),
        ({"pre_tokenizer": {"type": "ByteLevel"}}, "its pre_tokenizer is ByteLevel, expected BertPreTokenizer"),
        (
            {"added_tokens": [{"id": 0, "content": "(:", "special": False}]},
            'it adds the token "(:", which is not special, expected special ones only',
        ),
    ],
)
def test_what_the_runtimes_do_not_implement_is_read_by_python_only(bert, change, reason):
    assert needs_python(bert | change) == reason
    assert runtimes(bert | change) == ("python",)


@pytest.mark.parametrize("name", [*BPE, *UNIGRAM])
def test_the_tokenizers_of_published_encoders_are_read_everywhere(name):
    body = json.loads((BPE.get(name) or UNIGRAM[name])().to_str())
    largest_id(body)
    assert runtimes(body) == RUNTIMES
