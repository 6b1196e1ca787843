"""Training, from examples and labels to a checkpoint: check, encode, filter, fit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from crosstune.backbone.configured import load_backbone
from crosstune.backbone.exportable import warn_if_not_exportable
from crosstune.backbone.frozen import Backbone
from crosstune.backbone.indistinguishable import check_indistinguishable
from crosstune.checkpoint import Checkpoint
from crosstune.config import TrainConfig
from crosstune.core.errors import ConfigError, CrossTuneWarning, DataError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress, stage_progress
from crosstune.core.texts import refuse_control_characters
from crosstune.core.token_layout import Text
from crosstune.core.training_facts import BackboneFacts, FilterFacts, HeadFacts, TrainingFacts
from crosstune.data.examples import Example
from crosstune.data.shares import check_shares
from crosstune.data.task import Task
from crosstune.evaluation.metrics import margins
from crosstune.features.cache import TextStates
from crosstune.features.encoding import EncodedTask, Rows, cached_features, encode
from crosstune.filter.noise_filter import check_enough_shots, judge_generated
from crosstune.filter.teacher import Probs
from crosstune.heads.default.teaching import Teacher
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.fit import fit_head

#: Texts of a log that are read at most: their mean and their similarities change little beyond. Chosen by hand; not ablated.
MOST_UNLABELED = 1000
#: Texts of a log beside examples, at least: of 100, only 5 decide which texts get no label.
LEAST_UNLABELED = 200
#: Share of a log that one label may have, by descriptions alone. Where one of two labels was ten times rarer, it had 73% and 78%
#: (sst2, cr), and accuracy on the log fell by 20 points; in balanced logs it had 53% and 57%.
MOST_OF_A_LABEL = 0.6
#: Held-out shots near a border that the estimate of label changes counts at most, and the least margin within which they are counted.
#: By hand: on pool texts of five datasets, 6 and 16 shots do about as well (experiments.md).
CLOSE_SHOTS, LEAST_CLOSE_MARGIN = 10, 0.05
#: Texts of a log that a label has at least, so that one that no text seems to have stays in the game.
LEAST_TEXTS_OF_A_LABEL = 0.5


def train(
    examples: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    generated: Sequence[Example] = (),
    unlabeled: Sequence[Text] = (),
    backbone: Backbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    progress: Progress = no_progress,
    where: str = "examples",
) -> Checkpoint:
    """Train a head.

    Examples:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> shots = [Example("where is it", "ship"), Example("so happy", "praise"), Example("late again", "ship")]
        >>> checkpoint = train(shots, labels)
        >>> checkpoint.head.kind, checkpoint.labels.names
        ('default', ('ship', 'praise'))

    Args:
        examples: Labelled texts to learn from; ``config.shots`` draws that many per label.
        labels: The classes and their descriptions; a class without examples is known by its description only.
        config: Settings, the defaults when None.
        generated: Texts by an LLM; those that the noise filter keeps are learned from too.
        unlabeled: Texts of a log, at most ``MOST_UNLABELED`` of which are read, evenly spaced. With ``layers=N``, the head on N layers
            learns to answer them as the head on all layers does; with ``abstain_at="coverage=..."``, they choose which texts get no
            label; for both they must be at least ``LEAST_UNLABELED`` texts that are no examples. With ``log_shares="estimate"``, they
            show how frequent each label is where the examples come from. In place of examples, descriptions alone tell the labels
            apart better with them, if all labels are about equally frequent in the log.
        backbone: A loaded backbone, to save time over several runs; loaded by ``config.backbone`` when None.
        device: ``auto``, ``cpu`` or ``cuda``, for a backbone that is loaded here.
        cache_path: File of cached features; the user's own when None.
        progress: Called with the stage, the steps done and their total.
        where: What to call the examples in messages.

    Raises:
        DataError: An example's label is unknown, a text has two labels or holds what no file can, pairs and single texts are
            mixed, all texts are the same to the backbone, ``config.expected_shares`` or ``config.log_shares`` lacks a label, or the log
            is too short.
        BackboneError: The backbone cannot be loaded.
        TrainingError: The head is not finite.
        ConfigError: More layers are asked for than the backbone has, or there are examples and a log, but neither fewer layers nor
            a share of its texts that is to get a label.
        ResourceError: The cache cannot be written.
    """
    config = config or TrainConfig()
    log = texts_of_log(unlabeled, examples)
    if config.log_shares == "estimate" and not (len(unlabeled) and examples):
        raise ConfigError(
            "log_shares: estimate, expected examples and the log that they come from. Give both, or leave it out."
        )
    if len(unlabeled) and examples:
        _check_log(len(log), len(examples), config)
    refuse_control_characters(log, "unlabeled")
    task = Task(labels, examples, generated, log, where=where, expect_every_label=not log)
    if config.shots is not None:
        task = task.draw(config.shots, config.seed)
    check_shares("expected_shares", config.expected_shares, labels)
    check_shares("log_shares", config.log_shares, labels)
    if task.generated:
        check_enough_shots(task.shots, "generated")
    if config.head == "paper" and not task.shots:
        raise DataError(f"{where}: 0 examples, expected at least one for the paper head. Use the default head.")
    backbone = backbone or load_backbone(config, device)
    warn_if_not_exportable(backbone)
    if isinstance(config.layers, int) and config.layers > backbone.layer_count:
        raise ConfigError(f"layers: found {config.layers}, expected 1 to {backbone.layer_count} for {backbone.name}.")
    check_indistinguishable(task.shots, backbone, where)

    teaches = bool(log and examples) and _teaches(config, backbone)
    depths = (backbone.layer_count, config.layers) if teaches and isinstance(config.layers, int) else None
    plan = encoding_plan(config, backbone, depths)
    encoded = encode(task, backbone, plan, cache_path=cache_path, progress=progress)
    log_states = encoded.unlabeled
    if examples and not _by_coverage(config):
        encoded = replace(encoded, unlabeled=None)
    rows = np.arange(encoded.shots)
    filtered = None
    if task.generated:
        result = judge_generated(encoded, config, progress=progress)
        rows = np.concatenate([rows, encoded.shots + result.kept_rows])
        filtered = result.facts
    if config.log_shares == "estimate":
        shares = _estimated_shares(replace(encoded, unlabeled=None), rows, log_states, config, frozenset(unlabeled))
        config = config.model_copy(update={"log_shares": shares})
    if encoded.unlabeled is not None and not task.shots:
        _warn_if_skewed(encoded, encoded.unlabeled, config)
    teacher = None
    if teaches and log_states is not None:
        whole = config.model_copy(update={"layers": None})
        by_all = fit_head(encoded, rows, whole, stage_progress(progress, "fit head of all layers"))
        teacher = Teacher(log_states, by_all.probs(log_states), backbone.layer_count, by_all.facts.threshold)
    return _checkpoint(encoded, rows, config, filtered, progress, teacher)


def texts_of_log(unlabeled: Sequence[Text], examples: Sequence[Example]) -> list[Text]:
    """Distinct texts of a log that are no examples, evenly spaced if they are more than ``MOST_UNLABELED``."""
    known = {example.content for example in examples}
    log = [text for text in dict.fromkeys(unlabeled) if text not in known]
    return log[:: max(1, math.ceil(len(log) / MOST_UNLABELED))]


def _estimated_shares(
    task: EncodedTask, rows: Rows, states: TextStates | None, config: TrainConfig, log: Collection[Text]
) -> dict[str, float]:
    """Shares of the labels in the log that the shots come from: those among them as labelled, other texts as a head answers.

    The head must not correct for the shares of the shots, since given the text, their labels have the shares of the log.
    """
    names = task.labels.names
    of_log = [names.index(shot.label) for shot in task.examples[: task.shots] if shot.content in log]
    texts = np.bincount(of_log, minlength=len(names)).astype(np.float64)
    if states is not None:
        plain = config.model_copy(update={"log_shares": "shots", "expected_shares": "shots", "abstain_at": None})
        texts += (len(log) - len(of_log)) * fit_head(task, rows, plain).probs(states).mean(0)
    return dict(zip(names, np.maximum(texts, LEAST_TEXTS_OF_A_LABEL).tolist(), strict=True))


def _by_coverage(config: TrainConfig) -> bool:
    """Whether a log chooses which texts get no label."""
    return (config.abstain_at or "").startswith("coverage=")


def _check_log(texts: int, examples: int, config: TrainConfig) -> None:
    """Refuse a log beside examples that is used for nothing, or is too short."""
    if not (_by_coverage(config) or isinstance(config.layers, int) or config.log_shares == "estimate"):
        raise ConfigError(
            f"unlabeled: given with {examples} examples, expected also a number of layers, abstain_at coverage or log_shares estimate: "
            "beside examples a log teaches a head on fewer layers, chooses which texts get no label, or shows how frequent labels are. "
            "Set --layers 3, --abstain-at coverage=0.95 or --log-shares estimate, or omit the log."
        )
    if texts < LEAST_UNLABELED and (_by_coverage(config) or isinstance(config.layers, int)):
        raise DataError(
            f"unlabeled: {texts} texts that are no examples, expected at least {LEAST_UNLABELED} to learn from or to choose which texts "
            "get no label. Give more, or omit the log: the examples alone then decide."
        )


def _teaches(config: TrainConfig, backbone: Backbone) -> bool:
    """Whether a log beside examples teaches a head on fewer layers.

    Raises:
        ConfigError: It would be used for nothing.
    """
    fewer = isinstance(config.layers, int) and config.layers < backbone.layer_count
    if not (fewer or _by_coverage(config) or config.log_shares == "estimate"):
        raise ConfigError(
            f"layers: found {config.layers} with a log, expected fewer than the {backbone.layer_count} of {backbone.name}: a log "
            "teaches a head on fewer layers. Lower --layers, or omit the log."
        )
    return fewer


def _warn_if_skewed(task: EncodedTask, log: TextStates, config: TrainConfig) -> None:
    """Warn if most texts of a log seem to have one label: its mean is then the mean of that label.

    Only descriptions alone can tell: answers that are measured from the mean of the log are about equally frequent in any log.
    """
    by_descriptions = fit_head(replace(task, unlabeled=None), np.arange(0), config)
    shares = np.bincount(by_descriptions.probs(log).argmax(1), minlength=len(task.labels)) / len(log.tokens)
    if shares.max() > MOST_OF_A_LABEL:
        name = task.labels.names[int(shares.argmax())]
        warnings.warn(
            CrossTuneWarning(
                f"unlabeled: descriptions alone give {name!r} to {100 * shares.max():.0f}% of {len(log.tokens)} texts, expected at "
                f"most {100 * MOST_OF_A_LABEL:.0f}%. If that label is so frequent, omit the log: it would make answers worse."
            ),
            stacklevel=3,
        )


def train_on_fewer_layers(
    trained: Checkpoint,
    backbone: Backbone,
    depths: Sequence[int],
    *,
    log: Sequence[Text] = (),
    cache_path: Path | None = None,
) -> Iterator[Checkpoint]:
    """Fit the default head of a checkpoint anew on its examples, once for each number of layers.

    Args:
        trained: A checkpoint with the default head.
        backbone: Its backbone.
        depths: Numbers of layers to use.
        log: Texts on which the new heads learn to answer as the checkpoint's does. If a log chose which texts get no label, these
            choose it anew.
        cache_path: File of cached features; the user's own when None.

    Raises:
        DataError: The examples cannot be trained on.
        ResourceError: The cache cannot be written.
    """
    shots, config = trained.facts.shots, trained.config
    task = Task(trained.labels, trained.examples[:shots], trained.examples[shots:], log)
    head, teacher = trained.head, None
    plan = encoding_plan(config, backbone, (*depths, head.spec.last_layer) if log else depths)
    encoded = encode(task, backbone, plan, cache_path=cache_path)
    if (states := encoded.unlabeled) is not None:
        probs = head.probs(cached_features(states, head.spec, head.queries)).numpy()
        teacher = Teacher(states, probs, head.spec.last_layer, trained.threshold)
        if not trained.facts.head.log_texts:
            encoded = replace(encoded, unlabeled=None)
    rows = np.arange(len(encoded.examples))
    for depth in depths:
        shallow = config.model_copy(update={"layers": depth})
        again = _checkpoint(encoded, rows, shallow, trained.facts.generated, no_progress, teacher)
        yield replace(again, config=config, backbone=trained.backbone)


def _checkpoint(
    task: EncodedTask,
    rows: Rows,
    config: TrainConfig,
    filtered: FilterFacts | None,
    progress: Progress,
    teacher: Teacher | None = None,
) -> Checkpoint:
    """Fit a head to some rows, and put it together with what is needed to use it."""
    fitted = fit_head(task, rows, config, stage_progress(progress, "fit head"), teacher)
    backbone, chosen = task.backbone, task.select(rows)
    return Checkpoint(
        head=fitted.head,
        labels=task.labels,
        backbone=BackboneFacts(backbone.name, backbone.digest, backbone.hidden_size, backbone.layer_count),
        tokens=task.layout,
        config=config,
        examples=chosen.examples,
        facts=TrainingFacts(chosen.shots, _with_close_shots(fitted.facts, fitted.held_out), filtered),
    )


def _with_close_shots(facts: HeadFacts, held_out: Probs) -> HeadFacts:
    """Count the held-out shots near a border: within 1, or nearer if more than ``CLOSE_SHOTS`` are.

    How frequent margins near 0 are is thus estimated from a fixed number of them (Loftsgaarden and Quesenberry 1965), because the
    margins of an unsure head are more frequent near 0 than at 1.
    """
    if not len(held_out):
        return facts
    ordered = np.sort(margins(held_out))
    within = 1.0
    if len(ordered) > CLOSE_SHOTS:
        within = float(np.clip(ordered[CLOSE_SHOTS], LEAST_CLOSE_MARGIN, 1))
    return replace(facts, close_shots=int((ordered < within).sum()), close_margin=within)
