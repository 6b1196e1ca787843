"""The noise filter (the "switch" of the paper): which generated texts to learn from.

1. Checks without a model drop copies, echoes, refusals and placeholders (``screening``).
2. A teacher, fitted to the real shots only, must find the requested label of a text twice as likely right as wrong. The
   share of wrong labels is estimated from the teacher's probabilities of all texts.
3. A gate for each label lets generated texts enter only where the loss on held-out *real* shots does not rise by more than luck
   explains. A generated text is held out together with the shot that it resembles most, since it may be a paraphrase of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crosstune.augmentation.endpoint import REMOVED
from crosstune.augmentation.prompts import canary, instructions
from crosstune.augmentation.screening import Screen
from crosstune.backbone.configured import load_backbone
from crosstune.backbone.frozen import Backbone
from crosstune.config import TrainConfig
from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, StepProgress, no_progress
from crosstune.data.examples import Example
from crosstune.data.task import Task
from crosstune.features.encoding import EncodedTask, Rows, encode
from crosstune.filter.label_gate import GateResult, Measure, accuracy, open_gate
from crosstune.filter.result import DISAGREES, GATED, UNSURE, FilterResult, Judged
from crosstune.filter.teacher import NO_ROWS, Fit, Folds, HeadFit, Probs, fit_by_rows
from crosstune.heads.feature_plan import encoding_plan
from crosstune.heads.shares import log_expected, shot_weights

#: How much likelier right than wrong the label of a kept text must be. Chosen by hand; not ablated.
ODDS = 2.0
#: The estimated share of wrong labels is at least this, and at most the rest, so that no text can be believed blindly.
LEAST_NOISE = 0.01


def filter_generated(
    generated: Sequence[Example],
    shots: Sequence[Example],
    labels: LabelSet,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
    cache_path: Path | None = None,
    teacher: Fit | None = None,
    gate: bool = True,
    progress: Progress = no_progress,
    where: str = "generated",
) -> FilterResult:
    """Judge generated texts against real shots.

    Examples:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> shots = [Example(f"where is parcel {i}", "ship") for i in "abcd"]
        >>> shots += [Example(f"thank you, {who}", "praise") for who in ("Ann", "Bob", "Cy", "Di")]
        >>> generated = [Example("where is my parcel?", "ship"), Example("where is my box?", "praise")]
        >>> result = filter_generated(generated, shots, labels, gate=False)
        >>> [item.reason for item in result.judged]
        [None, 'teacher disagrees']

    Args:
        generated: Texts with the labels that were requested; texts may be repeated.
        shots: Real texts, at least two labels of them with two or more.
        labels: The labels.
        config: Settings of the head, also for the gate; the defaults when None.
        backbone: A loaded backbone; loaded by ``config.backbone`` when None.
        device: ``auto``, ``cpu`` or ``cuda``, for a backbone that is loaded here.
        cache_path: File of cached features; the user's own when None.
        teacher: A function of shots and texts that gives probabilities; the head itself when None.
        gate: Whether labels have to pass the gate.
        progress: Called with the stage, the steps done and their total.
        where: What to call the generated texts in messages.

    Raises:
        DataError: A label is unknown, a field cannot be used, a shot has two labels, there are too few shots, or pairs and
            single texts are mixed.
        BackboneError: The backbone cannot be loaded.
    """
    config = config or TrainConfig()
    task = Task(labels, shots, generated, where="shots", generated_where=where)
    check_enough_shots(task.shots, where)
    backbone = backbone or load_backbone(config, device)
    encoded = encode(task, backbone, encoding_plan(config, backbone), cache_path=cache_path, progress=progress)
    return judge_generated(encoded, config, teacher=teacher, gate=gate, progress=progress)


def judge_generated(
    task: EncodedTask,
    config: TrainConfig,
    *,
    teacher: Fit | None = None,
    gate: bool = True,
    progress: Progress = no_progress,
) -> FilterResult:
    """Judge the generated texts of an encoded task; arguments as of ``filter_generated``."""
    labels, generated = task.labels, task.examples[task.shots :]
    targets = np.array(labels.indices(task.examples), np.int64)
    truth, requested = targets[: task.shots], targets[task.shots :]
    of_shots = task.targets[: task.shots]
    counted = shot_weights(of_shots, log_expected(config.expected_shares, labels, of_shots)).cpu().numpy()
    rows = np.arange(task.shots, len(task.examples))
    head = HeadFit(task, config)
    without, probs = head.judge(NO_ROWS, rows, partial(progress, "teacher"))  # (N, L), (M, L)
    teacher_of_shots = without
    if teacher is not None:
        folds = Folds.assign(task.examples[: task.shots], config.seed)
        fit = fit_by_rows(teacher, task.examples)
        teacher_of_shots, probs = (each.mean(0) for each in folds.held_out(fit, rows, partial(progress, "teacher")))
    label_probs = probs[np.arange(len(requested)), requested]  # (M,)

    reasons = _screen(task)
    screened = np.flatnonzero([reason is None for reason in reasons])
    noise = share_of_wrong(label_probs[screened], len(labels))
    threshold = least_probability(noise, len(labels))
    for i in screened:
        if label_probs[i] < threshold:
            reasons[i] = UNSURE if probs[i].argmax() == requested[i] else DISAGREES

    opened = GateResult(frozenset(labels.names), (), without, 0.0)
    if gate and None in reasons:
        believed = rows[[reason is None for reason in reasons]]
        counts = Counter(task.examples[row].label for row in believed)
        opened = open_gate(_measure(head, believed), labels.names, counts, without, truth, counted, progress)
    return FilterResult(
        judged=tuple(
            Judged(
                item,
                GATED if reason is None and item.label not in opened.entering else reason,
                labels.names[int(row.argmax())],
                float(row.max()),
                float(row[index]),
            )
            for item, reason, row, index in zip(generated, reasons, probs, requested, strict=True)
        ),
        gates=opened.gates,
        noise=noise,
        threshold=threshold,
        teacher_accuracy=accuracy(teacher_of_shots, truth, counted),
        accuracy_without=accuracy(without, truth, counted),
        accuracy_with=accuracy(opened.held_out, truth, counted) if gate else None,
        evidence=opened.evidence,
    )


def check_enough_shots(shots: Sequence[Example], where: str) -> None:
    """Refuse to filter with too few shots to fit a teacher and to hold some out.

    Raises:
        DataError: Fewer than two labels have two shots.
    """
    counts = Counter(shot.label for shot in shots)
    if sum(n >= 2 for n in counts.values()) < 2:
        raise DataError(
            f"{where}: the real examples have {len(counts)} labels with {len(shots)} texts, expected two labels with two texts "
            "or more. Label a few more."
        )


def _screen(task: EncodedTask) -> list[str | None]:
    """Why each generated text is dropped without a model, None where it is not."""
    prompt_texts = [
        *instructions(),
        *task.labels.names,
        *(text for label in task.labels for text in label.descriptions),
    ]
    shots, generated = (
        [" ".join(item.parts) for item in part] for part in (task.examples[: task.shots], task.examples[task.shots :])
    )
    screen = Screen(shots, prompt_texts, (canary(), REMOVED))
    return [screen.reason(text) for text in generated]


def _measure(head: HeadFit, believed: Rows) -> Measure:
    """Held-out answers on the shots by heads that also learn those of some generated texts that have certain labels."""
    names = np.array([head.task.examples[row].label for row in believed])

    def measure(entering: frozenset[str], step: StepProgress) -> Probs:
        return head.judge(believed[np.isin(names, list(entering))], progress=step)[0]

    return measure


def share_of_wrong(label_probs: npt.NDArray[np.float32], labels: int) -> float:
    """The maximum-likelihood share of mislabelled texts, given the teacher's probabilities of the requested labels.

    A text of label y is assumed to be requested as y with probability 1 − ε, and as any other label with ε / (L − 1). Then
    the likelihood of ε is ``Π_m (1 − ε) p_m + ε / (L − 1) · (1 − p_m)``. Its logarithm is concave: the slope is bisected.

    Args:
        label_probs: float32 (M,), the teacher's probabilities of the requested labels; M may be 0.
        labels: L, at least 2.

    Returns:
        ε, in [0.01, 0.99].
    """
    right = label_probs.astype(np.float64)
    wrong = (1 - right) / (labels - 1)
    low, high = LEAST_NOISE, 1 - LEAST_NOISE
    for _ in range(20):  # to a millionth
        noise = (low + high) / 2
        if ((wrong - right) / ((1 - noise) * right + noise * wrong)).sum() > 0:
            low = noise
        else:
            high = noise
    return low


def least_probability(noise: float, labels: int) -> float:
    """The probability from which on a text's label is ``ODDS`` times as likely right as wrong.

    Examples:
        >>> round(least_probability(0.3, 2), 2), round(least_probability(0.3, 6), 2)
        (0.46, 0.15)

    Args:
        noise: ε, the share of texts under a wrong label, in (0, 1).
        labels: L, at least 2.

    Returns:
        In (0, 1): ``o ε / (o ε + (1 − ε) (L − 1))`` with the odds o.
    """
    return ODDS * noise / (ODDS * noise + (1 - noise) * (labels - 1))
