"""Settings: default, then TOML, then flag; everything unknown or out of range is refused by name."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from crosstune import CheckpointError, ConfigError, TrainConfig, load_checkpoint, load_config, read_labels


def refused(path, overrides=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides or {})
    return str(caught.value)


def toml(tmp_path, text):
    path = tmp_path / "train.toml"
    path.write_text(text, "utf-8")
    return path


def test_defaults_then_file_then_flags(tmp_path):
    path = toml(tmp_path, 'seed = 7\nhead = "paper"\nepochs = 3\nlearning_rate = 0.5\n')
    config = load_config(path, {"seed": 99, "epochs": None, "backbone": "other"})
    assert config == TrainConfig(seed=99, head="paper", epochs=3, learning_rate=0.5, backbone="other")
    assert config.heads == TrainConfig().heads == 8
    assert load_config(None, {}) == TrainConfig()
    assert load_config(None, {"shots": None}) == TrainConfig()


def test_an_empty_file_changes_nothing(tmp_path):
    assert load_config(toml(tmp_path, ""), {}) == TrainConfig()


def test_a_checkpoint_has_its_labels_and_settings(tmp_path, tiny_checkpoint_dir):
    checkpoint = load_checkpoint(tiny_checkpoint_dir)
    drawn = replace(checkpoint, config=checkpoint.config.model_copy(update={"shots": 2, "abstain_at": "coverage=0.9"}))
    drawn.save(tmp_path / "drawn.ckpt")
    expected = drawn.config.model_copy(update={"shots": None, "seed": 99})  # its examples are those that were drawn
    assert load_config(tmp_path / "drawn.ckpt", {"seed": 99}) == expected
    assert read_labels(tmp_path / "drawn.ckpt") == checkpoint.labels
    (tmp_path / "empty").mkdir()
    for read in (read_labels, lambda path: load_config(path, {})):
        with pytest.raises(CheckpointError, match=r"empty/SHA256SUMS: missing|empty/checkpoint.json: missing"):
            read(tmp_path / "empty")


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="Instance is frozen"):
        TrainConfig().seed = 3


def test_every_setting_survives_being_written_and_read():
    config = TrainConfig(head="paper", shots=3, feature="mask", template="{text} {mask}", max_length_tokens=32)
    assert TrainConfig.model_validate(config.model_dump()) == config


@pytest.mark.fault("C1")
@pytest.mark.parametrize(
    ("key", "near"), [("learnig_rate", "learning_rate"), ("sead", "seed"), ("epoch", "epochs"), ("max_length", "max_length_tokens")]
)  # fmt: skip
def test_an_unknown_key_names_the_nearest(tmp_path, key, near):
    path = toml(tmp_path, f"{key} = 1\n")
    assert refused(path) == f"{path}: unknown setting {key!r}, did you mean {near!r}?"


def test_an_unknown_key_that_is_near_nothing_lists_all(tmp_path):
    path = toml(tmp_path, "[zzz]\nseed = 1\n")
    assert refused(path) == (
        f"{path}: unknown setting 'zzz', expected some of backbone, head, shots, seed, layers, max_length_tokens, prefix, abstain_at, "
        "expected_shares, log_shares, feature, template, heads, epochs, learning_rate."
    )


@pytest.mark.fault("C2")
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("seed = -1", "seed is -1, input should be greater than or equal to 0"),
        ("seed = 4294967296", "seed is 4294967296, input should be less than 4294967296"),
        ("seed = 1.0", "seed is 1.0, input should be a valid integer"),
        ('seed = "1"', "seed is '1', input should be a valid integer"),
        ("seed = true", "seed is True, input should be a valid integer"),
        ("shots = 0", "shots is 0, input should be greater than or equal to 1"),
        ("heads = 65", "heads is 65, input should be less than or equal to 64"),
        ("heads = 0", "heads is 0, input should be greater than or equal to 1"),
        ("epochs = 0", "epochs is 0, input should be greater than or equal to 1"),
        ("epochs = 100001", "epochs is 100001, input should be less than or equal to 100000"),
        ("max_length_tokens = 7", "max_length_tokens is 7, input should be greater than or equal to 8"),
        ("learning_rate = 0", "learning_rate is 0, input should be greater than 0"),
        ("learning_rate = 1.0", "learning_rate is 1.0, input should be less than 1"),
        ("learning_rate = nan", "learning_rate is nan, input should be a finite number"),
        ("learning_rate = 1e400", "learning_rate is inf, input should be a finite number"),
        ('learning_rate = "0.1"', "learning_rate is '0.1', input should be a valid number"),
        ('head = "Paper"', "head is 'Paper', input should be 'default' or 'paper'"),
        ('feature = "sum"', "feature is 'sum', input should be 'mean', 'max' or 'mask'"),
        ('backbone = ""', "backbone is '', string should have at least 1 character"),
        ("backbone = 3", "backbone is 3, input should be a valid string"),
        ('feature = "mask"', "feature mask goes with head paper; the default head chooses its own"),
        ('feature = "max"', "feature max goes with head paper; the default head chooses its own"),
        ('template = "{text} {mask}"', "template goes with head paper and feature mask; nothing else reads it"),
        ('head = "paper"\ntemplate = "{text} {mask}"', "template goes with head paper and feature mask; nothing else reads it"),
        ('head = "paper"\nlayers = 3', "layers 3 goes with head default; the paper head has none"),
        ('head = "paper"\nlayers = "auto"', "layers auto goes with head default; the paper head has none"),
        ('head = "paper"\nabstain_at = "coverage=0.9"', "abstain_at coverage=0.9 goes with head default; the paper head has none"),
        *((f"layers = {value}", f"layers is {found}, expected auto or a number of layers, at least 1")
          for value, found in [("0", "0"), ("-1", "-1"), ("true", "True"), ("2.0", "2.0"), ('"two"', "'two'")]),
        *((f'abstain_at = "{value}"', f"abstain_at is '{value}', expected such as coverage=0.95 or precision=0.9, above 0 and at most 1")
          for value in [".95", "coverage=.95", "coverage=0", "coverage=0.00", "precision=1.1", "recall=0.9", "coverage=0.9 "]),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_or_range_is_refused(tmp_path, line, problem):
    path = toml(tmp_path, line)
    assert refused(path) == f"{path}: {problem}. Correct the setting."


@pytest.mark.fault("C2")
def test_a_flag_is_checked_too():
    assert refused(None, {"seed": -3}) == (
        "config: seed is -3, input should be greater than or equal to 0. Correct the setting."
    )


@pytest.mark.parametrize("feature", ["mean", "max", "mask"])
def test_every_feature_goes_with_the_paper_head(feature):
    assert load_config(None, {"head": "paper", "feature": feature}).feature == feature


@pytest.mark.fault("C3")
def test_a_file_that_is_not_there_or_not_toml_is_a_config_error(tmp_path):
    path = tmp_path / "none.toml"
    assert refused(path) == f"{path}: cannot be read (No such file or directory), expected a file. Check the path."
    path = toml(tmp_path, "seed: 3")
    assert refused(path) == (
        f"{path}: not valid TOML (Expected '=' after a key in a key/value pair (at line 1, column 5)). Correct it."
    )
    path = toml(tmp_path, "seed = 1\nseed = 2\n")
    assert refused(path) == f"{path}: not valid TOML (Cannot overwrite a value (at line 2, column 9)). Correct it."
    path = toml(tmp_path, "seed = " + "[" * 100_000)
    assert refused(path) == f"{path}: not valid TOML (nested too deeply). Correct it."


@given(seed=st.integers(), heads=st.integers(-5, 80), rate=st.floats())
def test_numbers_are_accepted_exactly_in_their_ranges(seed, heads, rate):
    good = 0 <= seed < 1 << 32 and 1 <= heads <= 64 and 0 < rate < 1
    try:
        config = load_config(None, {"seed": seed, "heads": heads, "learning_rate": rate})
    except ConfigError:
        assert not good
    else:
        assert good
        assert (config.seed, config.heads, config.learning_rate) == (seed, heads, rate)
