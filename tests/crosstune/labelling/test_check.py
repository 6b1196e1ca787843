"""What ``check_examples`` finds in examples with known mistakes."""

import json
from dataclasses import replace

import pytest

from crosstune import Example, LabelSet, check_examples
from crosstune.data.similar_texts import SimilarTexts
from crosstune.labelling.check_report import report_page


@pytest.fixture
def check(tiny_backbone, tiny_labels, tmp_path):
    def call(examples, labels=tiny_labels):
        return check_examples(examples, labels, backbone=tiny_backbone, cache_path=tmp_path / "features.sqlite")

    return call


def test_a_wrong_label_among_right_ones_is_the_most_suspect(tiny_examples, tiny_labels, tmp_path):
    """On MiniLM: the tiny backbone knows too little to doubt a label."""
    swapped = {"where is my parcel": "praise", "i was charged twice": "shipping"}
    examples = [replace(example, label=swapped.get(example.text, example.label)) for example in tiny_examples]
    found = check_examples(examples, tiny_labels, cache_path=tmp_path / "features.sqlite")
    first = {suspect.example.text: suspect.suggested for suspect in found.suspects[:2]}
    assert first == {"where is my parcel": "shipping", "i was charged twice": "billing"}
    assert len(found.suspects) <= 4, "at most a fifth of the examples"
    for suspect in found.suspects:
        assert suspect.suggested != suspect.example.label and suspect.suggested_prob > suspect.label_prob
    assert found.held_out_accuracy is not None and not found.conflicts and not found.few


def test_all_texts_under_two_labels_are_listed(check, tiny_examples):
    rows = [
        *tiny_examples,
        Example("Where is my parcel?", "billing", line=90),
        Example("where is my parcel", "praise", line=91),
        Example("i was charged twice", "billing", line=92),  # the same label again is no conflict
        Example("please send the money back!!", "praise", line=93),
        Example("please sendd the money back", "shipping", line=94),
    ]
    found = check(rows)
    pairs = {(frozenset((c.one.text, c.other.text)), c.is_exact) for c in found.conflicts}
    assert (frozenset(("where is my parcel", "Where is my parcel?")), True) in pairs
    assert (frozenset(("please send the money back", "please send the money back!!")), True) in pairs
    assert (frozenset(("please send the money back", "please sendd the money back")), False) in pairs
    assert len(found.conflicts) == 6
    kinds = [conflict.is_exact for conflict in found.conflicts]
    assert kinds == sorted(kinds, reverse=True)


def test_labels_with_one_description_cannot_be_told_apart(check, tiny_examples):
    same = "a charge or an invoice"
    with pytest.warns(UserWarning, match="indistinguishable"):
        labels = LabelSet.from_mapping({"shipping": "where a parcel is", "billing": same, "praise": same})
    pairs = {(pair.one, pair.other): pair.auc for pair in check(tiny_examples, labels).confusable}
    assert pairs["billing", "praise"] == 0.5


def test_labels_with_few_examples_are_counted(check, tiny_examples):
    rows = [example for example in tiny_examples if example.label != "praise"]
    found = check([*rows, Example("thanks a lot", "praise")])
    assert found.few == (("praise", 1),)
    assert check([rows[0]]).suspects == () and check([rows[0]]).held_out_accuracy is None


def test_the_page_and_the_file_have_every_finding(check, tiny_examples):
    found = check([*tiny_examples, Example("<b>where is my parcel</b>", "billing", line=90)])
    page, rows = report_page(found, "train <1>.jsonl"), json.loads(json.dumps(found.to_json()))
    assert "train &lt;1&gt;.jsonl" in page and "&lt;b&gt;where is my parcel" in page
    assert rows["conflicts"][0]["rows"][1] == {"line": 90, "text": "<b>where is my parcel</b>", "label": "billing"}
    assert len(rows["suspects"]) == len(found.suspects)


def test_near_duplicates_are_found_by_number():
    texts = SimilarTexts()
    for text in ("where is my parcel today", "thank you so much", "Where is my parcel, today?"):
        texts.add(text)
    assert texts.near("where is my parcel today!").tolist() == [0, 2]
    assert texts.near("where").tolist() == []
    assert not SimilarTexts().contains("anything")
