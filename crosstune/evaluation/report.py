"""An evaluation as one HTML page: accuracy, confusion matrix, calibration, accuracy versus coverage, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crosstune.core.reports.page import figure, folded, html_page, legend, plain, short, table
from crosstune.core.reports.plot import Axis, Bar, Plot, bars, matrix
from crosstune.evaluation.metrics import ECE_BINS, Evaluation, rate_interval, reliability, risk_coverage

if TYPE_CHECKING:
    from crosstune.evaluation.answers import Answers

#: Confused pairs, mistakes of a pair that are not folded away, and characters of a text.
PAIRS, SHOWN, CHARACTERS = 20, 5, 500
#: Mistakes between two labels, and their share of the texts of both, from which on the labels themselves are in doubt; chosen by
#: hand.
_DOUBTFUL, _DOUBTFUL_SHARE = 3, 0.1


def report_page(answers: Answers) -> str:
    """The page for the answers, at least one."""
    result = answers.evaluation
    low, high = rate_interval(int(answers.right.sum()), result.n)
    return html_page(
        f"{answers.data}: evaluation",
        [
            f"<h1>Accuracy {100 * result.accuracy:.1f}% on {result.n} texts</h1>",
            f'<p class="faint">{plain(answers.data)}, by {plain(answers.model)}</p>',
            f"<p>95% interval of the accuracy {100 * low:.1f}% to {100 * high:.1f}%; macro-F1 <b>{100 * result.macro_f1:.1f}%</b>; "
            f"expected calibration error <b>{result.ece:.3f}</b>; {len(answers.labels)} labels.</p>",
            *_trained_on(answers),
            "<h2>By label</h2>",
            *_labels(result),
            "<h2>Confusion matrix</h2>",
            figure(
                matrix("confusion matrix", answers.labels, result.confusion.tolist()),
                "Rows are true labels, columns predicted labels. Stronger colours are larger shares of the row; blue is correct.",
            ),
            "<h2>Calibration</h2>",
            _reliability(answers, result),
            "<h2>Accuracy versus coverage</h2>",
            *_risk(answers),
            "<h2>Mistakes by confused pair</h2>",
            *_mistakes(answers, result),
        ],
    )


def _trained_on(answers: Answers) -> list[str]:
    if not answers.trained_on:
        return []
    return [
        f"<p><b>{answers.trained_on} of these {len(answers.examples)} texts are training texts, so the accuracy is too high.</b> "
        "Measure on texts that the classifier has not seen.</p>"
    ]


def _labels(result: Evaluation) -> list[str]:
    ordered = sorted(result.per_label, key=lambda score: score.f1)
    rows = [
        Bar(score.label, [(score.f1, 0)], f"{100 * score.f1:.1f}", [(score.precision, 1), (score.recall, 2)])
        for score in ordered
    ]
    figures = [
        [
            score.label,
            *(f"{100 * value:.1f}" for value in (score.precision, score.recall, score.f1)),
            str(score.support),
        ]
        for score in ordered
    ]
    return [
        legend([("F1", 0), ("precision", 1), ("recall", 2)]),
        figure(bars("F1, precision and recall for each label", rows, full=1.0), "Sorted by F1, lowest first."),
        table(["label", "precision (%)", "recall (%)", "F1 (%)", "texts"], figures, numbers=range(1, 5)),
    ]


def _reliability(answers: Answers, result: Evaluation) -> str:
    plot = Plot(
        "reliability diagram",
        Axis("probability of the predicted label", 0, 1, percent=True),
        Axis("accuracy", 0, 1, percent=True),
        height=380,
    )
    bins = reliability(answers.probs.max(1), answers.right)
    most = max(one.texts for one in bins)
    for one in bins:
        plot.bar(one.low, one.low + 1 / ECE_BINS, 0, 0.2 * one.texts / most, 5, title=f"{one.texts} texts")
    plot.line([(0, 0), (1, 1)], 5, dashed=True)
    plot.line([(one.confidence, one.accuracy) for one in bins], 0)
    for one in bins:
        low, high = rate_interval(round(one.accuracy * one.texts), one.texts)
        plot.line([(one.confidence, low), (one.confidence, high)], 0)
        note = f"{one.texts} texts: mean probability {100 * one.confidence:.1f}%, accuracy {100 * one.accuracy:.1f}%"
        plot.dot(one.confidence, one.accuracy, 0, title=note)
    return figure(
        plot.svg(),
        "A perfectly calibrated classifier is on the dashed line; below it probabilities are too high. Vertical lines are "
        f"95% intervals; grey bars show the number of texts. Expected calibration error {result.ece:.3f}.",
    )


def _risk(answers: Answers) -> list[str]:
    curves = [("most probable first", answers.probs.max(1), answers.threshold, "probability", 0)]
    if answers.similarity is not None:
        curves.append(("most similar first", answers.similarity, answers.min_similarity, "similarity", 1))
    right_answers = answers.right
    found = [risk_coverage(scores, right_answers) for _, scores, *_ in curves]
    highest = max(float(risk[coverage >= 0.05].max()) for coverage, risk in found)
    plot = Plot(
        "error rate versus coverage",
        Axis("coverage: share of texts that get a label", 0, 1, percent=True),
        Axis("error rate on these texts", 0, max(1.15 * highest, 0.01), percent=True),
    )
    notes = []
    for (title, scores, threshold, kind, colour), (coverage, risk) in zip(curves, found, strict=True):
        inside = risk <= plot.y.high
        plot.line([(x, y) for x, y, show in zip(coverage, risk, inside, strict=True) if show], colour)
        notes.append(
            f"{title}: mean error rate {100 * float(np.interp(np.linspace(0, 1, 101), coverage, risk).mean()):.1f}%"
        )
        if threshold is not None:
            plot.rule(float((scores.astype(np.float64) >= threshold).mean()), f"{kind} {threshold:.2f}")
    similarity_note = ""
    if answers.similarity is not None:
        similarity_note = " Similarity detects texts that belong to no label; all texts here belong to one."
    share, right = answers.coverage, answers.accuracy_answered
    if share is None:
        verdict = "This classifier has no threshold, so every text gets a label. Train with --abstain-at to set one."
    elif right is None or share == 1:
        verdict = f"With its thresholds {'all' if share else 'none'} of these texts get a label."
    else:
        plot.dot(share, min(1 - right, plot.y.high), 4, radius=6, title=f"error rate {100 * (1 - right):.1f}%")
        verdict = f"With its thresholds {100 * share:.1f}% of the texts get a label (red dot), and {100 * right:.1f}% of these are correct."
    return [
        f"<p>{plain(verdict)}</p>",
        _coverage_by_length(answers),
        legend([(title, colour) for title, *_, colour in curves]),
        figure(
            plot.svg(),
            "From left to right more texts get a label. " + "; ".join(notes).capitalize() + "." + similarity_note,
        ),
    ]


def _coverage_by_length(answers: Answers) -> str:
    """A table that shows whether short texts get fewer labels; empty without a threshold."""
    if answers.coverage is None:
        return ""
    rows = [
        [
            part.title,
            str(part.texts),
            f"{100 * part.coverage:.1f}",
            "" if part.accuracy is None else f"{100 * part.accuracy:.1f}",
        ]
        for part in answers.by_length
    ]
    return table(["length", "texts", "get a label (%)", "of these correct (%)"], rows, numbers=(1, 2, 3))


def _mistakes(answers: Answers, result: Evaluation) -> list[str]:
    """A part for each true label and the label that was predicted instead, the most frequent first."""
    wrong = np.flatnonzero(~answers.right)
    if not len(wrong):
        return ["<p>None.</p>"]
    top, truth, predicted = answers.probs.max(1), answers.truth, answers.probs.argmax(1)
    groups: dict[tuple[int, int], list[int]] = {}
    for at in wrong[np.argsort(-top[wrong], kind="stable")].tolist():
        groups.setdefault((int(truth[at]), int(predicted[at])), []).append(at)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    parts = ["<p>The most confident mistakes of each pair come first.</p>"]
    for (true, said), members in ordered[:PAIRS]:
        support = result.per_label[true].support
        parts.append(
            f"<h3>{plain(answers.labels[true])}, predicted as {plain(answers.labels[said])}: {len(members)} of {support}</h3>"
        )
        both = int(result.confusion[true, said] + result.confusion[said, true])
        texts = support + result.per_label[said].support
        if true < said or (said, true) not in groups:  # once for both directions
            parts.append(_advice(both, texts))
        parts.append(_mistake_table(answers, members[:SHOWN]))
        if len(members) > SHOWN:
            parts.append(folded(f"{len(members) - SHOWN} more", _mistake_table(answers, members[SHOWN:])))
    if len(ordered) > PAIRS:
        parts.append(f'<p class="faint">{PAIRS} of {len(ordered)} confused pairs.</p>')
    return parts


def _advice(mistakes: int, texts: int) -> str:
    if mistakes < _DOUBTFUL or mistakes < _DOUBTFUL_SHARE * texts:
        return ""
    return (
        f"<p>These two labels are mixed up in {mistakes} of their {texts} texts. Check whether people would tell them apart: "
        "merge them, describe again how they differ, or add examples near their border.</p>"
    )


def _mistake_table(answers: Answers, members: Sequence[int]) -> str:
    rows = []
    for at in members:
        example, probs = answers.examples[at], answers.probs[at]
        own = probs[answers.labels.index(example.label)]
        text = short(" | ".join(example.parts), CHARACTERS)
        rows.append([text, f"{probs.max():.2f}", f"{own:.2f}", "" if answers.answered[at] else "yes"])
    return table(["text", "probability", "of the true label", "no label given"], rows, numbers=(1, 2))
