"""The methods that ``accuracy.py`` compares: heads, ablations, baselines and SetFit, each on one split of one dataset."""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from crosstune import Checkpoint, LabelSet, TrainConfig, train
from crosstune.backbone.frozen import Backbone
from crosstune.data.examples import Example, example_line
from crosstune.data.task import Task
from crosstune.features.cache import FeatureCache, TextStates, default_cache_path
from crosstune.features.encoding import cached_features, encode
from crosstune.features.spec import Atom, FeatureSpec
from crosstune.heads.default import queries
from crosstune.heads.default.head import PriorHead
from crosstune.heads.default.mixing import select
from crosstune.heads.default.task import task_features
from crosstune.heads.feature_plan import attention_layers, default_views, encoding_plan, spec_of, text_pools

#: SetFit trains on all pairs of shots, with the rarer kind oversampled; runs with more steps than this are skipped.
SETFIT_STEPS = 1000
SETFIT_BATCH = 16

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """One split of one dataset; ``states`` are the cached states of the texts in ``test``."""

    backbone: Backbone
    labels: LabelSet
    shots: tuple[Example, ...]
    test: tuple[Example, ...]
    states: TextStates
    seed: int
    setfit_python: str | None


@dataclass(frozen=True)
class Outcome:
    """Predictions for the test texts.

    Attributes:
        probs: float32 (N, L).
        seconds: Of training, on cached features where there is a cache.
        similarity: float32 (N,), similarity to the training texts; the top probability for methods that have none.
    """

    probs: Floats
    seconds: float
    similarity: Floats


Method = Callable[[Split], "Outcome | None"]


def unsure(probs: Floats, seconds: float) -> Outcome:
    """An outcome whose similarity is the top probability."""
    return Outcome(probs, seconds, probs.max(1))


def head(task: Split, labels: LabelSet, shots: Sequence[Example], config: TrainConfig) -> Outcome:
    """Train one of our heads; seconds are those on cached states."""
    encode(Task(labels, shots), task.backbone, encoding_plan(config, task.backbone))
    started = time.perf_counter()
    checkpoint = train(shots, labels, config, backbone=task.backbone)
    return answers(task, checkpoint, time.perf_counter() - started)


def answers(task: Split, checkpoint: Checkpoint, seconds: float) -> Outcome:
    """Predictions of a trained head."""
    trained = checkpoint.head
    there = set(trained.spec.attention) <= set(task.states.layers)
    states = task.states if there else cached_states(task.backbone, task.test, trained.spec.attention)
    features = cached_features(states, trained.spec, trained.queries)
    probs = trained.probs(features).numpy()
    if isinstance(trained, PriorHead):
        rows = task.backbone.tokenize([example.content for example in task.test], checkpoint.tokens)
        tokens = torch.tensor([len(row.ids) for row in rows])
        return Outcome(probs, seconds, trained.similarity(features, tokens).numpy())
    return unsure(probs, seconds)


def default(**settings: object) -> Callable[[Split], TrainConfig]:
    """Settings of our head on a task."""
    return lambda task: TrainConfig.model_validate({"seed": task.seed, **settings})


def shuffled(labels: LabelSet, seed: int) -> LabelSet:
    """The same labels with each other's descriptions."""
    order = np.random.RandomState(seed).permutation(len(labels))
    turned = {int(a): int(b) for a, b in zip(order, np.roll(order, 1), strict=True)}
    return LabelSet.from_mapping({label.name: labels.labels[turned[i]].descriptions for i, label in enumerate(labels)})


def names_only(labels: LabelSet) -> LabelSet:
    """Label names in place of their descriptions."""
    return LabelSet.from_mapping({label.name: label.name.replace("_", " ") for label in labels})


def without(task: Split, *, prior: bool = True, with_queries: bool = True) -> Outcome:
    """The default head without a part: the prior from the descriptions, or the label queries."""
    depth = task.backbone.layer_count
    views = default_views(depth, task.backbone.pool)
    spec = spec_of(views, depth)
    encoded = encode(Task(task.labels, task.shots), task.backbone, encoding_plan(TrainConfig(), task.backbone))
    seen = task_features(encoded, spec)
    used = tuple(view for view in views if with_queries or view.atoms)
    started = time.perf_counter()
    own = seen.labels if prior else torch.zeros_like(seen.labels)
    chosen = select(
        used,
        spec,
        seen.texts,
        encoded.targets,
        own,
        task.backbone.hidden_size,
        task.seed,
        taught_features=seen.taught_features,
    )
    seconds = time.perf_counter() - started
    features = cached_features(task.states, spec, seen.queries)
    return unsure((features @ chosen.label_keys.t() + chosen.label_bias).softmax(1).numpy(), seconds)


def untaught(task: Split) -> Outcome:
    """The default head whose label queries stay as the descriptions have them."""
    with patch.object(queries, "WORK_BUDGET", 0):
        return without(task)


def control(task: Split, model: object, spec: FeatureSpec) -> Outcome:
    """Fit a scikit-learn classifier on cached features of the shots; a label without a probability counts as 1."""
    states = cached_states(task.backbone, task.shots)
    x, y = cached_features(states, spec).numpy(), np.array(task.labels.indices(task.shots))
    started = time.perf_counter()
    model.fit(x, y)  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started
    test = cached_features(task.states, spec).numpy()
    if hasattr(model, "predict_proba"):
        return unsure(model.predict_proba(test).astype(np.float32), seconds)
    sure = np.eye(len(task.labels), dtype=np.float32)[model.predict(test)]  # type: ignore[attr-defined]
    return unsure(sure, seconds)


def setfit(task: Split) -> Outcome | None:
    """SetFit fine-tunes the same backbone, in its own environment; None if it is not available or takes too long."""
    counts = Counter(shot.label for shot in task.shots).values()
    same = sum(math.comb(count + 1, 2) for count in counts)
    other = math.comb(len(task.shots), 2) - sum(math.comb(count, 2) for count in counts)
    if task.setfit_python is None or 2 * max(same, other) / SETFIT_BATCH > SETFIT_STEPS:
        return None
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in ("train", "test", "labels", "output")}
        paths["train"].write_text("".join(map(example_line, task.shots)), "utf-8")
        paths["test"].write_text("".join(map(example_line, task.test)), "utf-8")
        paths["labels"].write_text(json.dumps({label.name: "" for label in task.labels}), "utf-8")
        command = [task.setfit_python, str(Path(__file__).with_name("setfit_run.py"))]
        command += ["--model", str(task.backbone.model.config._name_or_path), "--seed", str(task.seed)]
        command += [part for name, path in paths.items() for part in (f"--{name}", str(path))]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        report = json.loads(done.stdout.splitlines()[-1])  # the lines above it are output of its trainer
        return unsure(np.load(paths["output"].with_suffix(".npy")), report["train_seconds"])


def last_layer(task: Split) -> FeatureSpec:
    """The features of sentence-transformers: the mean of the last layer."""
    return FeatureSpec((Atom("mean", task.backbone.layer_count),))


def our_features(task: Split) -> FeatureSpec:
    """Pooled states as the default head sees them."""
    depth = task.backbone.layer_count
    return FeatureSpec(spec_of(default_views(depth, task.backbone.pool), depth).atoms)


METHODS: dict[str, Method] = {
    "default": lambda task: head(task, task.labels, task.shots, default()(task)),
    "paper": lambda task: head(task, task.labels, task.shots, default(head="paper")(task)),
    "zero-shot": lambda task: head(task, task.labels, (), default()(task)),
    "names only": lambda task: head(task, names_only(task.labels), task.shots, default()(task)),
    "shuffled descriptions": lambda task: head(task, shuffled(task.labels, task.seed), task.shots, default()(task)),
    "logistic regression": lambda task: control(task, LogisticRegression(max_iter=1000, C=100), last_layer(task)),
    "logistic regression, our features": lambda task: control(
        task, LogisticRegression(max_iter=1000, C=10), our_features(task)
    ),
    "nearest prototype": lambda task: control(task, NearestCentroid(), last_layer(task)),
    "kNN": lambda task: control(task, KNeighborsClassifier(3, metric="cosine"), last_layer(task)),
    "setfit": setfit,
}

#: Ablations: one part removed or one setting changed.
ABLATIONS: dict[str, Method] = {
    "no prior": lambda task: without(task, prior=False),
    "queries not taught": untaught,
    "no label queries": lambda task: without(task, with_queries=False),
    "one layer less": lambda task: head(
        task, task.labels, task.shots, default(layers=task.backbone.layer_count - 1)(task)
    ),
    "two layers less": lambda task: head(
        task, task.labels, task.shots, default(layers=task.backbone.layer_count - 2)(task)
    ),
    "layers auto": lambda task: head(task, task.labels, task.shots, default(layers="auto")(task)),
    "paper, 1 head": lambda task: head(task, task.labels, task.shots, default(head="paper", heads=1)(task)),
    "paper, 32 heads": lambda task: head(task, task.labels, task.shots, default(head="paper", heads=32)(task)),
}


def cached_states(backbone: Backbone, examples: Sequence[Example], layers: Sequence[int] | None = None) -> TextStates:
    """States of all texts, by way of the user's cache; tokens of the layers that the default head looks at, or of others."""
    layers = attention_layers(backbone.layer_count) if layers is None else layers
    with FeatureCache(default_cache_path()) as cache:
        return cache.states(backbone, [example.content for example in examples], text_pools(backbone), layers)
