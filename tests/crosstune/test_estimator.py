"""The scikit-learn estimator: the same training behind sklearn's own protocol."""

import inspect
import pickle  # noqa: TID251 - of an estimator, as joblib makes one; no checkpoint is
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone, is_classifier
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from crosstune import CrossTuneClassifier, CrossTuneWarning, DataError, load_checkpoint, train
from crosstune.checkpoint import predict_proba
from crosstune.config import TrainConfig
from crosstune.core.errors import BackboneError, ConfigError, OutputExistsError
from tests.conftest import make_tiny_backbone
from tests.tolerances import ROW_SUM


@pytest.fixture(scope="module")
def texts(tiny_examples):
    return [example.text for example in tiny_examples]


@pytest.fixture(scope="module")
def names(tiny_examples):
    return [example.label for example in tiny_examples]


@pytest.fixture(scope="module")
def descriptions(tiny_labels):
    return {label.name: label.descriptions[0] for label in tiny_labels}


@pytest.fixture(scope="module")
def fitted(tiny_backbone_dir, texts, names, descriptions):
    return CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu").fit(texts, names, descriptions)


def test_parameters_are_those_of_the_constructor(tiny_backbone_dir):
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), head="paper", random_state=5, max_length_tokens=16)
    assert sorted(model.get_params()) == sorted(list(inspect.signature(CrossTuneClassifier.__init__).parameters)[1:])
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy is not model
    assert model.set_params(random_state=6).random_state == 6
    assert is_classifier(model)


def test_it_is_the_same_training(
    fitted, tiny_backbone, tiny_backbone_dir, tiny_examples, tiny_labels, tiny_other_texts
):
    checkpoint = train(tiny_examples, tiny_labels, TrainConfig(backbone=str(tiny_backbone_dir)), backbone=tiny_backbone)
    expected = predict_proba(checkpoint, tiny_backbone, tiny_other_texts)
    columns = [checkpoint.labels.names.index(name) for name in fitted.classes_]
    np.testing.assert_array_equal(fitted.predict_proba(tiny_other_texts), expected[:, columns])
    assert fitted.checkpoint_.examples == checkpoint.examples


def test_predictions_are_names(fitted, texts, names):
    probs = fitted.predict_proba(texts)
    assert probs.shape == (18, 3)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, rtol=0, atol=ROW_SUM)
    answers = fitted.predict(np.array(texts))
    assert answers.tolist() == [fitted.classes_[row.argmax()] for row in probs]
    assert fitted.classes_.tolist() == ["billing", "praise", "shipping"]  # sorted, though the descriptions are not
    assert fitted.score(texts, names) == np.mean(answers == np.array(names))
    assert fitted.score(texts, names) > 0.7  # chance is 0.33, and the backbone is random


def test_no_texts_give_no_rows(fitted):
    assert fitted.predict_proba([]).shape == (0, 3)
    assert fitted.predict([]).shape == (0,)


def test_without_descriptions_the_names_describe(tiny_backbone_dir, texts):
    names = ["kind_words" if i % 2 else "late box" for i in range(len(texts))]
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper").fit(texts, names)
    assert [(label.name, label.descriptions) for label in model.checkpoint_.labels] == [
        ("kind_words", ("kind words",)),
        ("late box", ("late box",)),
    ]


def test_several_descriptions_a_label(tiny_backbone_dir, texts, names, descriptions):
    several = {name: [sentence, f"more {sentence}"] for name, sentence in descriptions.items()}
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper").fit(texts, names, several)
    assert model.checkpoint_.labels.labels[0].descriptions == tuple(several["shipping"])


def test_a_label_that_only_has_a_description(tiny_backbone_dir, texts, names, descriptions):
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu")
    with pytest.warns(CrossTuneWarning, match="^fit: no example of 'refund'; known by description only"):
        model.fit(texts, names, {**descriptions, "refund": "please send the money back"})
    assert model.predict_proba(["x"]).shape == (1, 4)


def test_pairs(tiny_backbone_dir, tiny_pair_examples):
    rows = [example.content for example in tiny_pair_examples]
    names = [example.label for example in tiny_pair_examples]
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper").fit(rows, names)
    assert model.checkpoint_.text_pair
    assert model.predict(rows).shape == (18,)


def test_cross_validation_works(tiny_backbone_dir, texts, names):
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper")
    scores = cross_val_score(model, np.array(texts), np.array(names), cv=2)
    assert scores.shape == (2,)


def test_a_pickle_holds_no_backbone_and_answers_the_same(fitted, tiny_other_texts):
    """As joblib makes one of every estimator that it sends to or gets back from a process."""
    data = pickle.dumps(fitted)
    assert len(data) < 400_000
    np.testing.assert_array_equal(
        pickle.loads(data).predict_proba(tiny_other_texts),
        fitted.predict_proba(tiny_other_texts),
    )
    assert not hasattr(pickle.loads(pickle.dumps(CrossTuneClassifier())), "checkpoint_")


def test_a_fit_that_fails_leaves_the_one_before(tmp_path, tiny_backbone_dir, texts, names, descriptions):
    """A head must not meet the hidden states of another backbone."""
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper")
    before = model.fit(texts, names, descriptions).predict_proba(texts)
    model.set_params(backbone=str(make_tiny_backbone(tmp_path / "other", seed=7)))
    with pytest.raises(DataError, match="'unknown'"):
        model.fit([*texts, "new"], [*names, "unknown"], descriptions)
    np.testing.assert_array_equal(model.predict_proba(texts), before)


def test_it_saves_the_checkpoint(tmp_path, fitted, tiny_other_texts):
    fitted.save(tmp_path / "c")
    checkpoint = load_checkpoint(tmp_path / "c")
    probs = predict_proba(checkpoint, checkpoint.load_backbone(device="cpu"), tiny_other_texts)
    columns = [checkpoint.labels.names.index(name) for name in fitted.classes_]
    np.testing.assert_array_equal(probs[:, columns], fitted.predict_proba(tiny_other_texts))
    with pytest.raises(OutputExistsError, match=re.escape(f"{tmp_path / 'c'}: is already there.")):
        fitted.save(tmp_path / "c")
    fitted.save(tmp_path / "c", force=True)


def test_features_are_cached_where_it_is_told(tmp_path, tiny_backbone_dir, texts, names):
    path = tmp_path / "cache" / "f.sqlite"
    CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper", cache_path=str(path)).fit(
        texts, names
    )
    assert path.is_file()


def test_one_string_is_not_taken_for_many_texts(fitted):
    with pytest.raises(DataError) as caught:
        fitted.predict("where is it")
    assert str(caught.value) == "predict: texts: found one string, expected a list of strings. Put it into a list."


def test_texts_may_come_one_by_one(fitted, tiny_other_texts):
    assert list(fitted.predict(iter(tiny_other_texts))) == list(fitted.predict(tiny_other_texts))


@pytest.mark.parametrize(("item", "shown"), [(None, "None"), (3, "3"), (("a", "b"), "('a', 'b')"), (b"a", "b'a'")])
def test_what_is_no_text_is_refused(fitted, item, shown):
    with pytest.raises(DataError) as caught:
        fitted.predict(["a", item])
    assert str(caught.value) == f"predict: item 1 is {shown}, expected a string."


@pytest.mark.parametrize("call", ["predict", "predict_proba", "save"])
def test_it_must_be_fitted_first(tmp_path, call):
    with pytest.raises(NotFittedError):
        getattr(CrossTuneClassifier(), call)(tmp_path / "x")


def refused(error_class, X, y, described=None, **parameters):
    with pytest.raises(error_class) as caught:
        CrossTuneClassifier(**({"backbone": "/nowhere"} | parameters)).fit(X, y, described)
    return str(caught.value)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (["a", "b"], ["x"], "fit: 2 texts and 1 labels, expected as many of each."),
        ("ab", "xy", "fit: texts: found one string, expected a list of strings. Put it into a list."),
        (["a", 3], ["x", "y"], "fit: item 1 is 3 labelled 'y', expected strings."),
        (["a", None], ["x", "y"], "fit: item 1 is None labelled 'y', expected strings."),
        (["a", "b"], ["x", 1], "fit: item 1 is 'b' labelled 1, expected strings."),
        (
            ["a", "b"],
            [1, "x"],
            "fit: item 1 is 'b' labelled 'x', expected a string and an integer, as the labels before it are.",
        ),
        (
            ["a", "b"],
            [True, 1],
            "fit: item 1 is 'b' labelled 1, expected a string and a boolean, as the labels before it are.",
        ),
        (["a", ("b",)], ["x", "y"], "fit: item 1 is ('b',) labelled 'y', expected strings."),
        (["a", ()], ["x", "y"], "fit: item 1 is () labelled 'y', expected strings."),
        ([("a", "b", "c")], ["x"], "fit: item 0 is ('a', 'b', 'c') labelled 'x', expected strings."),
        ([("a", 3)], ["x"], "fit: item 0 is ('a', 3) labelled 'x', expected strings."),
        (["a", "b\ud83d"], ["x", "y"], "fit:2: text has the unpaired surrogate U+D83D at position 1. Remove it."),
        (["a", " "], ["x", "y"], "fit:2: text is empty, expected visible characters. Remove the row or fill it in."),
        (["a", "b"], ["x", "x"], "labels: 1 labels, expected at least 2. Add labels with descriptions."),
    ],
)
def test_wrong_inputs_are_refused(X, y, message, tiny_backbone_dir):
    assert refused(DataError, X, y, backbone=str(tiny_backbone_dir), device="cpu") == message


@pytest.mark.fault("L1")
def test_frames_are_their_column_or_refused(tiny_backbone_dir, tiny_examples):
    texts, labels = [example.text for example in tiny_examples], [example.label for example in tiny_examples]
    frame = pd.DataFrame({"text": texts, "label": labels})
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu")
    expected = model.fit(texts, labels).predict_proba(texts)
    again = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu")
    again.fit(frame[["text"]], frame["label"])
    assert np.array_equal(again.predict_proba(pl.DataFrame({"text": texts})), expected)
    for method in (
        lambda: again.fit(frame, labels),
        lambda: again.predict(frame),
        lambda: again.predict({"text": texts}),
    ):
        with pytest.raises(DataError, match=r"texts: found a (table with the columns 'text', 'label'|mapping)"):
            method()


def test_a_label_without_description_is_refused(tiny_backbone_dir):
    assert (
        refused(
            DataError, ["a", "b"], ["x", "z"], {"x": "one", "y": "two"}, backbone=str(tiny_backbone_dir), device="cpu"
        )
        == "fit:2: label 'z' is not one of 'x', 'y' (1 such rows). Describe that label too, or correct the rows."
    )


def test_bad_settings_are_refused():
    assert refused(ConfigError, ["a", "b"], ["x", "y"], head="linear") == (
        "CrossTuneClassifier: head is 'linear', input should be 'default' or 'paper'. Correct the setting."
    )
    assert refused(ConfigError, ["a", "b"], ["x", "y"], random_state=-1) == (
        "CrossTuneClassifier: seed is -1, input should be greater than or equal to 0. Correct the setting."
    )
    assert refused(ConfigError, ["a", "b"], ["x", "y"], device="tpu") == (
        "device: found 'tpu', expected auto, cpu or cuda."
    )
    assert refused(BackboneError, ["a", "b"], ["x", "y"]) == (
        "backbone: /nowhere is not a folder, expected 'minilm', a folder with config.json, or a hub id. Check the path."
    )


def test_scorers_of_scikit_learn_read_the_right_columns(fitted, texts, names):
    probs = fitted.predict_proba(texts)
    own = probs[np.arange(len(names)), [fitted.classes_.tolist().index(name) for name in names]]
    assert get_scorer("neg_log_loss")(fitted, texts, names) == pytest.approx(float(np.log(own).mean()), rel=1e-5)


def test_integers_are_labels_too(tiny_backbone_dir, texts, names, descriptions):
    numbers = [[10, -2, 9][list(descriptions).index(name)] for name in names]
    described = dict(zip((10, -2, 9), descriptions.values(), strict=True))
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu").fit(texts, np.array(numbers), described)
    assert model.classes_.tolist() == [-2, 9, 10]
    assert model.checkpoint_.labels.names == ("10", "-2", "9")
    assert np.mean(model.predict(texts) == numbers) == model.score(texts, numbers) > 0.7
    with pytest.raises(DataError) as caught:
        model.fit(texts, numbers, {**described, "x": "else"})
    assert str(caught.value) == "fit: a description of 'x', expected integers, as the labels of the texts are."


def test_probabilities_out_of_fold(tiny_backbone_dir, texts, names):
    """scikit-learn numbers the labels for this."""
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper")
    probs = cross_val_predict(model, np.array(texts), np.array(names), cv=2, method="predict_proba")
    np.testing.assert_allclose(probs.sum(1), 1, rtol=0, atol=ROW_SUM)
    voting = VotingClassifier([("a", model)]).fit(texts, names)
    assert set(voting.predict(texts)) <= set(names)


def test_texts_and_labels_to_learn_from_may_come_one_by_one(tiny_backbone_dir, texts, names, fitted):
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", head="paper").fit(
        iter(texts), iter(names)
    )
    assert model.classes_.tolist() == fitted.classes_.tolist()


def test_every_setting_of_a_training_run_is_a_parameter():
    settings = {"random_state" if name == "seed" else name for name in TrainConfig.model_fields}
    parameters = inspect.signature(CrossTuneClassifier).parameters
    assert settings <= set(parameters)
    for name, field in TrainConfig.model_fields.items():
        assert parameters["random_state" if name == "seed" else name].default == field.default


def test_descriptions_survive_clone_and_grids(tiny_backbone_dir, texts, names, descriptions):
    model = CrossTuneClassifier(backbone=str(tiny_backbone_dir), device="cpu", label_descriptions=descriptions)
    search = GridSearchCV(model, {"layers": [1, None]}, cv=2).fit(texts, names)
    assert search.best_estimator_.checkpoint_.labels.labels[0].descriptions == (descriptions["shipping"],)
    assert clone(model).fit(texts, names).checkpoint_.labels.names == tuple(descriptions)


def test_random_state(tiny_backbone_dir, texts, names):
    def seed_of(random_state):
        model = CrossTuneClassifier(str(tiny_backbone_dir), "paper", epochs=1, random_state=random_state, device="cpu")
        return model.fit(texts, names).checkpoint_.config.seed

    assert seed_of(np.int64(7)) == 7
    assert seed_of(np.random.RandomState(1)) == seed_of(np.random.RandomState(1))
    assert seed_of(None) != seed_of(None)


def test_booleans_are_labels_too(tiny_backbone_dir, texts, names):
    late = [name == "shipping" for name in names]
    described = {True: "where a parcel is", False: "anything else"}
    model = CrossTuneClassifier(str(tiny_backbone_dir), device="cpu").fit(texts, np.array(late), described)
    assert model.classes_.tolist() == [False, True]
    assert model.predict(texts).dtype == bool
    assert model.score(texts, late) > 0.7


def test_a_saved_model_is_loaded(tmp_path, fitted, tiny_other_texts):
    fitted.save(tmp_path / "c")
    loaded = CrossTuneClassifier.load(tmp_path / "c", device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(tiny_other_texts), fitted.predict_proba(tiny_other_texts))
    assert loaded.get_params()["random_state"] == fitted.random_state
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert clone(loaded).label_descriptions == loaded.label_descriptions


def test_an_evaluation_and_its_report(tmp_path, fitted, texts, names):
    answers = fitted.evaluate(["where is the lamp", "the price is wrong"], ["shipping", "praise"])
    assert answers.trained_on == 0
    assert answers.accuracy == fitted.score(["where is the lamp", "the price is wrong"], ["shipping", "praise"])
    answers.report(tmp_path / "x.html")
    assert "Accuracy" in (tmp_path / "x.html").read_text("utf-8")
    with pytest.warns(
        CrossTuneWarning, match=r"^evaluate: 18 of 18 texts are training texts: the accuracy is too high\.$"
    ):
        assert fitted.evaluate(texts, names).trained_on == 18
    with pytest.raises(DataError, match="'refund'"):
        fitted.evaluate(["money back"], ["refund"])


def test_progress_is_told(tiny_backbone_dir, texts, names):
    stages = []
    CrossTuneClassifier(str(tiny_backbone_dir), device="cpu", progress=lambda stage, *_: stages.append(stage)).fit(
        texts, names
    )
    assert stages


#: Checks of scikit-learn that do not apply, by reason.
NOT_APPLICABLE = {
    "fits on a table of numbers, which is refused with a DataError that expects texts": (
        "check_fit_score_takes_y check_estimators_overwrite_params check_dont_overwrite_parameters "
        "check_estimators_fit_returns_self check_readonly_memmap_input check_n_features_in_after_fitting "
        "check_positive_only_tag_during_fit check_estimators_dtypes check_dtype_object check_pipeline_consistency "
        "check_estimators_pickle check_f_contiguous_array_estimator check_classifiers_classes check_classifiers_train "
        "check_supervised_y_2d check_methods_sample_order_invariance check_methods_subset_invariance check_dict_unchanged "
        "check_fit_idempotent check_fit_check_is_fitted check_n_features_in check_fit2d_predict1d "
        "check_classifier_data_not_an_array"
    ),
    "expects a message about the numbers of a table": (
        "check_complex_data check_estimators_empty_data_messages check_estimators_nan_inf check_estimator_sparse_array "
        "check_estimator_sparse_matrix check_estimator_sparse_tag check_fit2d_1sample check_fit2d_1feature "
        "check_classifiers_regression_target"
    ),
    "needs labels, and two of them": "check_requires_y_none check_classifiers_one_label",
    "skipped unless scipy is told to use array_api": "check_array_api_input",
}


class AsIfForNumbers(CrossTuneClassifier):
    """Makes scikit-learn run all its checks: those of an estimator of texts are six."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn(tiny_backbone_dir):
    reasons = {name: reason for reason, names in NOT_APPLICABLE.items() for name in names.split()}
    results = check_estimator(
        AsIfForNumbers(str(tiny_backbone_dir), device="cpu"), expected_failed_checks=reasons, on_fail=None
    )
    passed = {result["check_name"] for result in results if result["status"] == "passed"}
    assert {result["check_name"] for result in results} - passed == set(reasons)
    assert {"check_parameters_default_constructible", "check_set_params", "check_estimators_unfitted"} < passed
    assert len(passed) == 17
