"""Which runtimes read a tokenizer, by its parts."""

from __future__ import annotations

import json

import pytest

from crosstune.core.tokenizer_rules import RUNTIMES, needs_python, runtimes


@pytest.fixture
def bert(tiny_backbone):
    return json.loads(tiny_backbone.tokenizer_json)


def test_the_tokenizer_of_bert_is_read_everywhere(bert):
    assert needs_python(bert) is None
    assert runtimes(bert) == RUNTIMES == ("python", "cpp", "web", "mobile")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "BPE"}}, "its model is BPE, expected WordPiece"),
        ({"normalizer": None}, "its normalizer is missing, expected BertNormalizer"),
        ({"pre_tokenizer": {"type": "ByteLevel"}}, "its pre_tokenizer is ByteLevel, expected BertPreTokenizer"),
        (
            {"added_tokens": [{"id": 0, "content": "(:", "special": False}]},
            "it adds the token '(:', which is not special",
        ),
    ],
)
def test_every_other_one_only_by_python(bert, change, reason):
    assert needs_python(bert | change) == reason
    assert runtimes(bert | change) == ("python",)
