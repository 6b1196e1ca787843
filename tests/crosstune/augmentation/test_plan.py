"""Prompts and plans."""

from __future__ import annotations

import json

import hypothesis
import pytest
from hypothesis import strategies as st

from crosstune.augmentation.plan import SHOTS_PER_PROMPT, TEXTS_PER_REQUEST, plan_requests
from crosstune.augmentation.prompts import PROMPT_VERSION, build_messages, canary, instructions
from crosstune.core.errors import ConfigError, DataError
from crosstune.core.labels import Label
from crosstune.data.examples import Example

WILD = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80)


@pytest.mark.fault("D14")
@hypothesis.given(WILD, st.lists(WILD, min_size=1, max_size=3), st.lists(WILD, max_size=5), st.integers(1, 9))
def test_data_stands_in_a_prompt_as_json_strings_and_nowhere_else(name, descriptions, shots, count):
    """No text can end its line or its quotes, and the instructions do not depend on it."""
    _, user = build_messages(Label(name, tuple(descriptions)), shots, count)
    lines = user.content.split("\n")
    head = lines[: 3 + len(descriptions) + max(1, len(shots))]
    assert json.loads(head[0].removeprefix("Name of the class, as a JSON string: ")) == name
    assert [json.loads(line) for line in head[2 : 2 + len(descriptions)]] == descriptions
    quoted = head[3 + len(descriptions) :]
    assert [json.loads(line) for line in quoted] == shots if shots else quoted == ["(none)"]
    _, other = build_messages(Label("a", ("b",)), (), count)
    assert lines[len(head) :] == other.content.split("\n")[5:]


def test_the_prompt_files_are_a_version_that_can_be_read(repo_root):
    folder = repo_root / "crosstune" / "augmentation" / "prompts" / PROMPT_VERSION
    assert sorted(path.name for path in folder.iterdir()) == ["system.txt", "user.txt"]
    assert canary() in instructions()[0]
    assert canary() not in instructions()[1]


def test_every_shot_stands_in_a_prompt_before_any_stands_in_two(tiny_labels):
    shots = [Example(f"text number {i}", "praise") for i in range(13)]
    plan = plan_requests(shots, tiny_labels, per_label=5 * TEXTS_PER_REQUEST, seed=1)
    chats = [request.messages[1].content for request in plan.requests if request.label == "praise"]
    counts = [sum(json.dumps(shot.text) in chat for chat in chats) for shot in shots]
    assert sum(counts) in (5 * SHOTS_PER_PROMPT, 5 * SHOTS_PER_PROMPT - 1)  # a text is not quoted twice in one prompt
    assert set(counts) <= {1, 2}
    assert plan.seed_texts == 13


def test_a_plan_is_decided_by_data_and_seed(tiny_examples, tiny_labels):
    one, same, other = (plan_requests(tiny_examples, tiny_labels, per_label=12, seed=seed) for seed in (7, 7, 8))
    assert one == same != other
    assert [request.count for request in one.requests] == [5, 5, 2] * 3
    keys = [request.cache_key("m", 1.0, "https://x/v1") for request in one.requests]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("per_label", "seed", "message"),
    [
        (0, 1, "per-label: found 0, expected 1 to 100000."),
        (10**9, 1, "per-label: found 1000000000, expected 1 to 100000."),
        (1, -1, "seed: found -1, expected 0 to 2147483647."),
        (1, 1 << 31, "seed: found 2147483648, expected 0 to 2147483647."),
    ],
)
def test_plans_that_are_refused(tiny_examples, tiny_labels, per_label, seed, message):
    with pytest.raises(ConfigError) as caught:
        plan_requests(tiny_examples, tiny_labels, per_label=per_label, seed=seed)
    assert str(caught.value) == message


def test_pairs_are_refused(tiny_pair_examples, tiny_labels):
    with pytest.raises(DataError) as caught:
        plan_requests(tiny_pair_examples, tiny_labels, per_label=5, seed=1)
    assert str(caught.value) == "augment: found pairs of texts, expected single texts. Write further pairs by hand."
