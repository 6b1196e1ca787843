"""What users may rely on: the names of the two packages, and the parameters of what they call.

A change here is a change of the public interface: it goes into CHANGELOG.md.
"""

from __future__ import annotations

import inspect

import pytest

import crosstune
import crosstune_export

CROSSTUNE = [
    "AnswerCacheError",
    "AugmentConfig",
    "AugmentResult",
    "Backbone",
    "BackboneError",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "CrossTuneClassifier",
    "CrossTuneError",
    "CrossTuneWarning",
    "DataError",
    "Evaluation",
    "Example",
    "FilterResult",
    "GenerationError",
    "Label",
    "LabelCheck",
    "LabelSet",
    "MissingExtraError",
    "OutputExistsError",
    "ReadOptions",
    "RefusedLabelError",
    "ResourceError",
    "RoundGain",
    "Suggestion",
    "TrainConfig",
    "TrainingError",
    "__version__",
    "augment",
    "check_examples",
    "draw_shots",
    "evaluate",
    "filter_generated",
    "load_checkpoint",
    "load_config",
    "measure_round",
    "read_examples",
    "read_labels",
    "suggest_texts",
    "train",
]
CROSSTUNE_EXPORT = [
    "BuildConfig",
    "BuildResult",
    "BundleContentError",
    "BundleError",
    "BundleIntegrityError",
    "BundleManifest",
    "BundleVersionError",
    "Classifier",
    "ConfigError",
    "CrossTuneError",
    "DataError",
    "Explanation",
    "GateError",
    "MissingExtraError",
    "OutputExistsError",
    "Prediction",
    "ProviderError",
    "PulledBundle",
    "ResourceError",
    "SelfTestError",
    "SelfTestReport",
    "SignatureError",
    "Verification",
    "WordEvidence",
    "__version__",
    "add_label",
    "build",
    "describe_label",
    "evaluate_bundle",
    "inspect_bundle",
    "pack",
    "pull",
    "push",
    "remove_label",
    "rename_label",
    "sign",
    "unpack",
    "verify",
]

#: Every public function, class and method that is not inherited, with its parameters; a star stands before keywords.
SIGNATURES = {
    "crosstune": {
        "AugmentConfig": "model temperature concurrency timeout_s max_wait_s max_cost price",
        "AugmentConfig.with_price": "self price max_cost",
        "AugmentResult": "kept dropped account",
        "Backbone": "name model tokenizer device max_length_tokens * pool prefix",
        "Backbone.batches": "self texts batch_size tokens",
        "Backbone.forward": "self rows",
        "Backbone.load": "name * device max_length_tokens prefix",
        "Backbone.pool_positions": "self tokens",
        "Backbone.tokenize": "self texts tokens",
        "Backbone.with_template": "self template",
        "Checkpoint": "head labels backbone tokens config examples facts",
        "Checkpoint.answers": "self examples * backbone batch_size progress where",
        "Checkpoint.check_examples": "self examples where",
        "Checkpoint.load": "path",
        "Checkpoint.load_backbone": "self * device name",
        "Checkpoint.predict_proba": "self texts * backbone batch_size progress",
        "Checkpoint.save": "self path * force",
        "CrossTuneClassifier": "backbone head shots random_state layers max_length_tokens prefix abstain_at feature template "
        "heads epochs learning_rate expected_shares log_shares label_descriptions device cache_path progress",
        "CrossTuneClassifier.evaluate": "self X y",
        "CrossTuneClassifier.load": "path * device",
        "CrossTuneClassifier.fit": "self X y label_descriptions unlabeled",
        "CrossTuneClassifier.predict": "self X",
        "CrossTuneClassifier.predict_proba": "self X",
        "CrossTuneClassifier.save": "self path * force",
        "Evaluation": "n accuracy macro_f1 ece per_label confusion",
        "Evaluation.to_json": "self",
        "Example": "text label text_pair line",
        "FilterResult": "judged gates noise threshold teacher_accuracy accuracy_without accuracy_with evidence",
        "FilterResult.to_json": "self",
        "Label": "name descriptions",
        "LabelCheck": "examples suspects conflicts confusable few held_out_accuracy",
        "LabelCheck.to_json": "self",
        "LabelSet": "labels",
        "LabelSet.from_mapping": "mapping",
        "LabelSet.index": "self name",
        "LabelSet.indices": "self examples",
        "ReadOptions": "text_column label_column pair_column delimiter encoding input_format",
        "RoundGain": "without with_round standard_error",
        "Suggestion": "text guess prob",
        "TrainConfig": "* backbone head shots seed layers max_length_tokens prefix abstain_at expected_shares log_shares "
        "feature template heads epochs learning_rate",
        "augment": "examples labels * base_url model per_label max_cost prices key_env seed cache_path progress",
        "check_examples": "examples labels config * backbone device cache_path progress where",
        "draw_shots": "pool shots_per_label seed",
        "evaluate": "probs gold labels",
        "filter_generated": "generated shots labels config * backbone device cache_path teacher gate progress where",
        "load_checkpoint": "path",
        "load_config": "path overrides",
        "measure_round": "examples rounds labels config * backbone device cache_path progress where",
        "read_examples": "path options * on_conflict",
        "read_labels": "path options",
        "suggest_texts": "checkpoint pool number * backbone progress",
        "train": "examples labels config * generated unlabeled backbone device cache_path progress where",
    },
    "crosstune_export": {
        "BuildConfig": "precision target calibration reading max_flips_percent max_size_mb max_latency_ms "
        "backbone name report onnxruntime exporter backbone_onnx release early_exit_percent",
        "BuildConfig.budgets": "self",
        "BuildConfig.check": "self",
        "BuildConfig.smaller_variants": "self",
        "BuildConfig.variants": "self",
        "BuildConfig.variants_on_fewer_layers": "self",
        "BuildResult": "path manifest trials size_bytes mobile",
        "BundleManifest": "name producer labels text_pair tokens graph threshold backbone head "
        "training quality files min_similarity format_version release runtimes exits digest",
        "Classifier": "files * threads providers allow_fallback kernels",
        "Classifier.classify": "self texts * batch_size threshold min_similarity",
        "Classifier.explain": "self text * batch_size threshold min_similarity",
        "Classifier.explain_tokens": "self text",
        "Classifier.from_pretrained": "repo * revision token digest threads providers allow_fallback kernels trusted",
        "Classifier.load": "path * threads providers allow_fallback kernels trusted signature",
        "Classifier.predict": "self texts * batch_size threshold min_similarity",
        "Prediction.top": "self k",
        "Classifier.predict_proba": "self texts * batch_size",
        "Classifier.selftest": "self * together",
        "Classifier.text_vectors": "self texts * batch_size",
        "Classifier.token_ids": "self texts",
        "Explanation": "prediction words text_pair",
        "Explanation.to_json": "self labels top_k",
        "Prediction": "label prob probs truncated similarity labels",
        "Prediction.shown": "self top_k",
        "Prediction.to_json": "self labels top_k",
        "SelfTestReport": "samples wrong_ids max_difference tolerance",
        "SelfTestReport.check": "self where",
        "Verification": "bundle digest precision files kernels signature selftest padded_selftest checkpoint "
        "comparison max_label_changes_percent",
        "Verification.check": "self",
        "WordEvidence": "word start end part evidence",
        "add_label": "path name descriptions",
        "build": "checkpoint output config * force progress",
        "describe_label": "path name descriptions",
        "evaluate_bundle": "classifier examples * batch_size progress where",
        "inspect_bundle": "bundle",
        "PulledBundle": "files commit signature",
        "pack": "bundle output * force",
        "pull": "repo output * revision token digest force",
        "push": "bundle repo * revision public token message",
        "remove_label": "path name",
        "rename_label": "path old new",
        "sign": "bundle key output * force",
        "unpack": "packed output * force",
        "verify": "bundle * data checkpoint reading max_label_changes_percent padded_batches "
        "require_signature signature min_release providers allow_fallback progress",
    },
}


def parameters(value) -> str:
    names = []
    starred = False
    for name, parameter in inspect.signature(value).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            names.append("*")
            starred = True
        assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL), f"{value}: {name}"
        names.append(name)
    return " ".join(names)


def signatures(module) -> dict[str, str]:
    found = {}
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, str) or (isinstance(value, type) and issubclass(value, BaseException)):
            continue
        found[name] = parameters(value)
        if isinstance(value, type):
            for method, body in vars(value).items():
                if not method.startswith("_") and method not in ("set_fit_request",) and _is_method(body):
                    found[f"{name}.{method}"] = parameters(getattr(value, method))
    return dict(sorted(found.items()))


def _is_method(body: object) -> bool:
    return inspect.isfunction(body) or isinstance(body, (classmethod, staticmethod))


@pytest.mark.parametrize(("module", "names"), [(crosstune, CROSSTUNE), (crosstune_export, CROSSTUNE_EXPORT)])
def test_the_public_names(module, names):
    assert module.__all__ == names
    for name in names:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("module", [crosstune, crosstune_export])
def test_the_public_parameters(module):
    assert signatures(module) == SIGNATURES[module.__name__]


@pytest.mark.parametrize("module", [crosstune, crosstune_export])
def test_a_name_that_is_not_there(module):
    with pytest.raises(AttributeError, match=rf"^module '{module.__name__}' has no attribute 'Trainer'$"):
        _ = module.Trainer


def test_one_version():
    from importlib import metadata

    assert crosstune.__version__ == crosstune_export.__version__ == metadata.version("crosstune-export")


def test_a_public_class_says_where_it_is_from():
    """Everything public is defined in its own package, or on the ground floor that both share."""
    for module in (crosstune, crosstune_export):
        for name in module.__all__:
            value = getattr(module, name)
            if not isinstance(value, str):
                assert value.__module__.startswith((f"{module.__name__}.", "crosstune.core.")), name
