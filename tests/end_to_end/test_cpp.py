"""The quickstart's bundle, with MiniLM, in the C++ runtime: its answers equal those of Python."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crosstune import read_examples
from crosstune_export import Classifier
from tests.runtime_cpp.conftest import built, library  # noqa: F401
from tests.tolerances import CPP_TO_PYTHON

pytestmark = pytest.mark.slow


def test_answers_and_ids_equal_pythons(library, quickstart, support_desk):  # noqa: F811
    path = quickstart[0] / "support.bundle"
    cpp, python = library.load(path), Classifier.load(path)
    texts = [example.text for example in read_examples(support_desk.test)]
    expected = python.classify(texts, batch_size=1)
    for text, answer, ids in zip(texts, expected, python.token_ids(texts), strict=True):
        prediction = cpp.classify(text.encode())
        assert prediction.label == answer.label
        assert np.abs(np.array(prediction.probs) - answer.probs).max() <= CPP_TO_PYTHON
        assert cpp.tokenize(text.encode()) == (list(ids), answer.truncated)
    report = cpp.selftest()
    assert (report.samples, report.wrong_ids) == (python.selftest().samples, 0)


def test_the_program_prints_what_crosstune_export_prints(quickstart, environment, support_desk):
    from tests.end_to_end.conftest import run

    path = quickstart[0] / "support.bundle"
    python = f"crosstune-export classify {path} {support_desk.new_texts} --batch-size 1"
    cpp = f"{built('crosstune-classify')} {path} {support_desk.new_texts}"
    cpp_rows, python_rows = (
        [json.loads(line) for line in run(command, path.parent, environment).splitlines()] for command in (cpp, python)
    )
    assert [list(row) for row in cpp_rows] == [list(row) for row in python_rows]
    for cpp_row, python_row in zip(cpp_rows, python_rows, strict=True):
        assert (
            np.abs(np.subtract(list(cpp_row["probs"].values()), list(python_row["probs"].values()))).max()
            <= CPP_TO_PYTHON
        )
        assert {key: cpp_row[key] for key in ("text", "label", "truncated")} == {
            key: python_row[key] for key in ("text", "label", "truncated")
        }
