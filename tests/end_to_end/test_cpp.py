"""The bundle of the quickstart, with MiniLM, in the C++ runtime: the answers of Python."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crosstune import read_examples
from crosstune_export import Classifier
from tests.runtime_cpp.conftest import built, library  # noqa: F401
from tests.tolerances import CPP_TO_PYTHON

pytestmark = pytest.mark.slow


def test_answers_and_ids_are_pythons(library, quickstart, support_desk):  # noqa: F811
    path = quickstart[0] / "support.bundle"
    cpp, python = library.load(path), Classifier.load(path)
    texts = [example.text for example in read_examples(support_desk.test)]
    expected = python.classify(texts, batch_size=1)
    for text, answer, ids in zip(texts, expected, python.token_ids(texts), strict=True):
        found = cpp.classify(text.encode())
        assert found.label == answer.label
        assert np.abs(np.array(found.probs) - answer.probs).max() <= CPP_TO_PYTHON
        assert cpp.tokenize(text.encode()) == (list(ids), answer.truncated)
    report = cpp.selftest()
    assert (report.samples, report.wrong_ids) == (python.selftest().samples, 0)


def test_the_program_prints_what_pythons_prints(quickstart, environment, support_desk):
    from tests.end_to_end.conftest import run

    path = quickstart[0] / "support.bundle"
    python = f"crosstune-export classify {path} {support_desk.new_texts} --batch-size 1"
    cpp = f"{built('crosstune-classify')} {path} {support_desk.new_texts}"
    found, expected = (
        [json.loads(line) for line in run(command, path.parent, environment).splitlines()] for command in (cpp, python)
    )
    assert [list(row) for row in found] == [list(row) for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(np.subtract(list(ours["probs"].values()), list(theirs["probs"].values()))).max() <= CPP_TO_PYTHON
        assert {key: ours[key] for key in ("text", "label", "truncated")} == {
            key: theirs[key] for key in ("text", "label", "truncated")
        }
