"""A task is checked once, when it is made."""

import pytest

from crosstune import ConfigError, CrossTuneWarning, DataError, Example
from crosstune.data.task import Task


def refused(labels, shots, generated=()):
    with pytest.raises(DataError) as caught:
        Task(labels, shots, generated, where="train.jsonl", generated_where="more.jsonl")
    return str(caught.value)


def test_a_task_is_what_it_was_made_of(tiny_labels, tiny_examples):
    task = Task(tiny_labels, list(tiny_examples), [tiny_examples[0], tiny_examples[0]])
    assert task.shots == tiny_examples
    assert task.generated == (tiny_examples[0], tiny_examples[0])


def test_a_repeated_shot_is_kept_once(tiny_labels, tiny_examples):
    with pytest.warns(CrossTuneWarning, match=r"^train\.jsonl: 1 repeated examples, each kept once\.$"):
        task = Task(tiny_labels, [*tiny_examples, tiny_examples[0]], where="train.jsonl")
    assert task.shots == tiny_examples


def test_labels_without_a_shot_are_a_warning_where_they_are_expected(tiny_labels, tiny_examples):
    Task(tiny_labels, tiny_examples[:6])
    with pytest.warns(CrossTuneWarning, match="no example of 'billing', 'praise'; known by description only"):
        Task(tiny_labels, tiny_examples[:6], expect_every_label=True)


@pytest.mark.parametrize(
    ("shots", "generated", "message"),
    [
        (
            [Example("a\x00b", "praise", line=4)],
            (),
            "train.jsonl:4: text has the control character U+0000 at position 1.",
        ),
        ([Example("", "praise", line=4)], (), "train.jsonl:4: text is empty, expected visible characters."),
        ((), [Example(" ", "praise", line=2)], "more.jsonl:2: text is empty, expected visible characters."),
        ([Example("a", "x", line=4)], (), "train.jsonl:4: label 'x' is not one of 'shipping', 'billing', 'praise'"),
        ((), [Example("a", "x", line=2)], "more.jsonl:2: label 'x' is not one of 'shipping', 'billing', 'praise'"),
        (
            [Example("a", "praise"), Example("a", "billing", line=2)],
            (),
            "train.jsonl: 1 text has more than one label: 'a'",
        ),
        ([Example("a", "praise"), Example("b", "billing", "c")], (), "train.jsonl: some examples have a text_pair"),
        ([Example("a", "praise")], [Example("b", "billing", "c")], "more.jsonl: pairs and single texts are mixed with"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tiny_labels, shots, generated, message):
    assert refused(tiny_labels, shots, generated).startswith(message)


def test_shots_are_drawn_for_each_label(tiny_labels, tiny_examples):
    task = Task(tiny_labels, tiny_examples, tiny_examples[:1]).draw(2, 13)
    assert sorted(shot.label for shot in task.shots) == ["billing"] * 2 + ["praise"] * 2 + ["shipping"] * 2
    assert task.generated == tiny_examples[:1]
    with pytest.raises(ConfigError, match=r"^shots: found 0, expected at least 1"):
        task.draw(0, 13)
