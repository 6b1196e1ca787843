"""An evaluation as one HTML page: how good, where not, how honest its probabilities are, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosstune.core.reports.page import figure, html_page, legend, plain, short, table
from crosstune.core.reports.plot import Axis, Bar, Plot, bars, matrix
from crosstune.data.examples import Example
from crosstune.evaluation.metrics import ECE_BINS, Evaluation, evaluate, reliability, risk_coverage, wilson

#: Rows of the tables of mistakes, and characters of a text in them.
SHOWN, CHARACTERS = 25, 500


@dataclass(frozen=True)
class Answers:
    """What a classifier says of N labelled texts.

    Attributes:
        examples: N texts with their labels.
        labels: L names, in the order of the columns.
        probs: float32 (N, L), rows sum to 1.
        threshold: Probability below which no label is given, or None.
        scope: float32 (N,), cosine to the nearest label, or None.
        scope_threshold: Scope below which no label is given, or None.
    """

    examples: Sequence[Example]
    labels: Sequence[str]
    probs: npt.NDArray[np.float32]
    threshold: float | None = None
    scope: npt.NDArray[np.float32] | None = None
    scope_threshold: float | None = None

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """The known labels, int64 (N,)."""
        index = {name: at for at, name in enumerate(self.labels)}
        return np.array([index[example.label] for example in self.examples], np.int64)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether the most probable label is the known one, (N,)."""
        return np.asarray(self.probs.argmax(1) == self.truth)

    @property
    def answered(self) -> npt.NDArray[np.bool_]:
        """Whether a label is given, (N,)."""
        given = np.ones(len(self.probs), bool)
        if self.threshold is not None:
            given &= self.probs.max(1).astype(np.float64) >= self.threshold
        if self.scope is not None and self.scope_threshold is not None:
            given &= self.scope.astype(np.float64) >= self.scope_threshold
        return given

    @property
    def coverage(self) -> float | None:
        """Share of the texts that get a label, in [0, 1]; None where there is no threshold, and all do."""
        if self.threshold is None and self.scope_threshold is None:
            return None
        return float(self.answered.mean())

    @property
    def accuracy_answered(self) -> float | None:
        """Share of the texts that get a label that get the right one, in [0, 1]; None where none does."""
        given = self.answered
        return float(self.right[given].mean()) if given.any() else None


def report_page(answers: Answers, name: str, model: str) -> str:
    """The page.

    Args:
        answers: At least one.
        name: Of the file of texts.
        model: What was evaluated, for people.
    """
    result = evaluate(answers.probs, answers.truth.tolist(), answers.labels)
    low, high = wilson(int(answers.right.sum()), result.n)
    return html_page(
        f"{name}: evaluation",
        [
            f"<h1>{100 * result.accuracy:.1f} % of {result.n} texts right</h1>",
            f'<p class="faint">{plain(name)}, by {plain(model)}</p>',
            f"<p>95 % interval of the accuracy {100 * low:.1f} to {100 * high:.1f} %; macro-F1 <b>{100 * result.macro_f1:.1f} %</b>; "
            f"expected calibration error <b>{result.ece:.3f}</b>; {len(answers.labels)} labels.</p>",
            "<h2>By label</h2>",
            *_labels(result),
            "<h2>What is taken for what</h2>",
            figure(
                matrix("confusion matrix", answers.labels, result.confusion.tolist()),
                "Rows are the true labels. The stronger the colour, the larger the share of the row; blue is right.",
            ),
            _confused(result),
            "<h2>Do the probabilities mean what they say?</h2>",
            _reliability(answers, result),
            "<h2>What abstaining buys</h2>",
            *_risk(answers),
            "<h2>Most confident mistakes</h2>",
            _mistakes(answers),
        ],
    )


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
        legend([("F1, %", 0), ("precision", 1), ("recall", 2)]),
        figure(bars("F1, precision and recall of each label", rows, full=1.0), "The weakest label first."),
        table(["label", "precision, %", "recall, %", "F1, %", "texts"], figures, numbers=range(1, 5)),
    ]


def _confused(result: Evaluation) -> str:
    names = [score.label for score in result.per_label]
    wrong = result.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [(int(at // len(names)), int(at % len(names))) for at in order if wrong.flat[at]]
    if not pairs:
        return "<p>Nothing was taken for anything else.</p>"
    rows = [[names[i], names[j], f"{wrong[i, j]} of {result.per_label[i].support}"] for i, j in pairs]
    return table(["true label", "answered as", "texts"], rows, numbers=(2,))


def _reliability(answers: Answers, result: Evaluation) -> str:
    plot = Plot(
        "reliability diagram",
        Axis("probability of the answer", 0, 1, percent=True),
        Axis("share that is right", 0, 1, percent=True),
        height=380,
    )
    bins = reliability(answers.probs.max(1), answers.right)
    most = max(one.texts for one in bins)
    for one in bins:
        plot.bar(one.low, one.low + 1 / ECE_BINS, 0, 0.2 * one.texts / most, 5, title=f"{one.texts} texts")
    plot.line([(0, 0), (1, 1)], 5, dashed=True)
    plot.line([(one.confidence, one.accuracy) for one in bins], 0)
    for one in bins:
        low, high = wilson(round(one.accuracy * one.texts), one.texts)
        plot.line([(one.confidence, low), (one.confidence, high)], 0)
        note = f"{one.texts} texts: said {100 * one.confidence:.1f} %, right {100 * one.accuracy:.1f} %"
        plot.dot(one.confidence, one.accuracy, 0, title=note)
    return figure(
        plot.svg(),
        "On the dashed line a probability of 80 % is right in 80 % of the texts; below it the classifier is too sure. Vertical "
        f"lines are 95 % intervals, grey bars at the foot the numbers of texts. Expected calibration error {result.ece:.3f}.",
    )


def _risk(answers: Answers) -> list[str]:
    curves = [("surest first", answers.probs.max(1), answers.threshold, "probability", 0)]
    if answers.scope is not None:
        curves.append(("nearest to a label first", answers.scope, answers.scope_threshold, "scope", 1))
    rightly = answers.right
    found = [risk_coverage(scores, rightly) for _, scores, *_ in curves]
    highest = max(float(risk[coverage >= 0.05].max()) for coverage, risk in found)
    plot = Plot(
        "risk and coverage",
        Axis("share of texts answered", 0, 1, percent=True),
        Axis("share of answers that is wrong", 0, max(1.15 * highest, 0.01), percent=True),
    )
    notes = []
    for (title, scores, threshold, kind, colour), (coverage, risk) in zip(curves, found, strict=True):
        inside = risk <= plot.y.high
        plot.line([(x, y) for x, y, show in zip(coverage, risk, inside, strict=True) if show], colour)
        notes.append(
            f"{title}: mean risk {100 * float(np.interp(np.linspace(0, 1, 101), coverage, risk).mean()):.1f} %"
        )
        if threshold is not None:
            plot.rule(float((scores.astype(np.float64) >= threshold).mean()), f"{kind} {threshold:.2f}")
    scope_note = ""
    if answers.scope is not None:
        scope_note = " Scope is for texts that belong to no label; all of these belong to one."
    share, right = answers.coverage, answers.accuracy_answered
    if share is None:
        verdict = "This classifier has no threshold: it always gives a label. Train with --abstain-at to set one."
    elif right is None or share == 1:
        verdict = f"With its thresholds the classifier answers {'all' if share else 'none'} of these texts."
    else:
        plot.dot(share, min(1 - right, plot.y.high), 4, radius=6, title=f"{100 * (1 - right):.1f} % wrong")
        verdict = (
            f"With its thresholds the classifier answers {100 * share:.1f} % of the texts (red dot) and is right in "
            f"{100 * right:.1f} % of them."
        )
    return [
        f"<p>{plain(verdict)}</p>",
        legend([(title, colour) for title, *_, colour in curves]),
        figure(plot.svg(), "From left to right more of the texts are answered. " + "; ".join(notes) + "." + scope_note),
    ]


def _mistakes(answers: Answers) -> str:
    wrong = np.flatnonzero(~answers.right)
    if not len(wrong):
        return "<p>None.</p>"
    top, answered = answers.probs.max(1), answers.answered
    order = wrong[np.argsort(-top[wrong], kind="stable")][:SHOWN]
    rows = []
    for at in order:
        example = answers.examples[at]
        text = short(" | ".join(example.parts), CHARACTERS)
        said = answers.labels[int(answers.probs[at].argmax())]
        gave = answers.probs[at, answers.labels.index(example.label)]
        rows.append([text, example.label, said, f"{top[at]:.2f}", f"{gave:.2f}", "" if answered[at] else "yes"])
    head = ["text", "true label", "answered as", "with", "true label got", "abstains"]
    left = "" if len(wrong) <= SHOWN else f'<p class="faint">{SHOWN} of {len(wrong)} mistakes.</p>'
    return table(head, rows, numbers=(3, 4)) + left
