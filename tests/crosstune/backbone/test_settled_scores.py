"""A tokenizer's file states the scores that its own library reads from it."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models

from crosstune.backbone.settled_scores import with_settled_scores
from tests.fixtures.subword_tokenizers import BPE, UNIGRAM, tokenizer_of


def scores(tokenizer: Tokenizer) -> list[float]:
    return [score for _, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


@pytest.mark.parametrize("name", UNIGRAM)
def test_the_file_says_what_is_read_from_it(name):
    settled = with_settled_scores(tokenizer_of(name))
    assert settled.to_str() == Tokenizer.from_str(settled.to_str()).to_str()
    assert scores(settled) == pytest.approx(scores(tokenizer_of(name)), rel=1e-15)


def test_a_score_that_is_read_as_the_number_next_to_it():
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), (",", -3.8704807852497956)], unk_id=0))
    assert scores(Tokenizer.from_str(tokenizer.to_str())) != scores(tokenizer)
    settled = with_settled_scores(tokenizer)
    assert scores(Tokenizer.from_str(settled.to_str())) == scores(settled)


def test_other_tokenizers_stay_as_they_are():
    tokenizer = tokenizer_of(next(iter(BPE)))
    assert with_settled_scores(tokenizer) is tokenizer
