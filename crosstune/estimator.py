"""The same training as a scikit-learn estimator."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from crosstune.backbone.configured import load_backbone
from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint
from crosstune.config import DEFAULT_BACKBONE, DEFAULT_HEAD, DEFAULT_SEED, DEFAULT_TEMPLATE, TrainConfig, validated
from crosstune.core.errors import CrossTuneWarning, DataError
from crosstune.core.labels import LabelSet
from crosstune.core.progress import Progress, no_progress
from crosstune.core.texts import as_list, refuse_control_characters
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.data.labels import check_labels
from crosstune.evaluation.answers import Answers
from crosstune.training import train

Label = str | int | bool
#: Names of the kinds of labels in messages, and how a checkpoint spells them.
_KINDS = {str: "strings", int: "integers", bool: "booleans"}
_ONE = {int: "an integer", bool: "a boolean"}
_PATTERNS = {str: re.compile("(?s:.*)"), int: re.compile(r"-?\d+"), bool: re.compile("True|False")}


class CrossTuneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Few-shot text classifier on a frozen backbone.

    A pickle of it holds no backbone, which is loaded again when it is used; ``save`` writes what a build takes.

    Examples:
        >>> model = CrossTuneClassifier(backbone="minilm")
        >>> _ = model.fit(
        ...     ["where is my parcel", "still not here", "lovely, thanks", "great service"],
        ...     ["shipping", "shipping", "praise", "praise"],
        ...     label_descriptions={"shipping": "a parcel on its way", "praise": "thanks and compliments"},
        ... )
        >>> model.predict(["when will the package arrive?"]).tolist()
        ['shipping']

    Args:
        backbone, head, shots, layers, max_length_tokens, prefix, abstain_at, feature, template, heads, epochs, learning_rate,
            expected_shares, log_shares: The settings of ``TrainConfig``.
        random_state: The setting ``seed``: an integer, a ``RandomState`` that draws one, or None for any.
        label_descriptions: Label to its description or descriptions; the names themselves when None. ``fit`` takes them too.
        device: ``auto``, ``cpu`` or ``cuda``.
        cache_path: File that keeps encoded texts between runs; None for the user's cache.
        progress: Called with the stage, the steps done and their number; None for nothing.

    Attributes:
        classes_: Labels, (L,), sorted as scikit-learn wants them, of the kind that ``fit`` got; columns of ``predict_proba``.
        checkpoint_: What was trained; ``save`` writes it.
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        head: str = DEFAULT_HEAD,
        shots: int | None = None,
        random_state: int | np.random.RandomState | None = DEFAULT_SEED,
        layers: int | str | None = None,
        max_length_tokens: int | None = None,
        prefix: str | None = None,
        abstain_at: str | None = None,
        feature: str = "mean",
        template: str = DEFAULT_TEMPLATE,
        heads: int = 8,
        epochs: int = 200,
        learning_rate: float = 1e-2,
        expected_shares: str | Mapping[Label, float] = "uniform",
        log_shares: str | Mapping[Label, float] = "shots",
        label_descriptions: Mapping[Label, str | Sequence[str]] | None = None,
        device: str = "auto",
        cache_path: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.shots = shots
        self.random_state = random_state
        self.layers = layers
        self.max_length_tokens = max_length_tokens
        self.prefix = prefix
        self.abstain_at = abstain_at
        self.feature = feature
        self.template = template
        self.heads = heads
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.expected_shares = expected_shares
        self.log_shares = log_shares
        self.label_descriptions = label_descriptions
        self.device = device
        self.cache_path = cache_path
        self.progress = progress

    def fit(
        self,
        X: Iterable[Text],
        y: Iterable[Label],
        label_descriptions: Mapping[Label, str | Sequence[str]] | None = None,
        unlabeled: Iterable[Text] = (),
    ) -> CrossTuneClassifier:
        """Train on N texts.

        Args:
            X: N texts, or N pairs of texts.
            y: N labels: names, integers or booleans, which a checkpoint has as their names.
            label_descriptions: Instead of those of the constructor.
            unlabeled: Texts of a log; with ``layers=N`` they teach the head on fewer layers the answers of the one on all layers,
                with ``abstain_at="coverage=..."`` they choose which texts get no label, and with
                ``log_shares="estimate"`` they show how frequent each label is where X comes from.

        Raises:
            DataError: The lengths differ, a label has no description, or a text is empty or stands under two labels.
            ConfigError: A setting is out of range.
            BackboneError: The backbone cannot be loaded.
        """
        X = as_list(X, "fit: texts")
        y = [label.item() if isinstance(label, np.generic) else label for label in as_list(y, "fit: labels")]
        if len(X) != len(y):
            raise DataError(f"fit: {len(X)} texts and {len(y)} labels, expected as many of each.")
        kind = _kind_of(y[0]) or str if y else str
        for i, (text, label) in enumerate(zip(X, y, strict=True)):
            if _kind_of(label) is not kind or not (isinstance(text, str) or _is_pair(text)):
                expected = "strings" if kind is str else f"a string and {_ONE[kind]}, as the labels before it are"
                raise DataError(f"fit: item {i} is {text!r:.40} labelled {label!r:.40}, expected {expected}.")
        given = (
            label_descriptions
            or self.label_descriptions
            or {label: str(label).replace("_", " ") for label in sorted(set(y))}
        )
        described = {str(label): sentences for label, sentences in given.items()}
        if odd := [label for label in described if not _PATTERNS[kind].fullmatch(label)]:
            raise DataError(
                f"fit: a description of {odd[0]!r}, expected {_KINDS[kind]}, as the labels of the texts are."
            )
        settings = {name: getattr(self, name) for name in TrainConfig.model_fields if name != "seed"}
        for name in ("expected_shares", "log_shares"):
            if not isinstance(shares := settings[name], str):
                settings[name] = {str(label): share for label, share in shares.items()}
        config = validated({**settings, "seed": self._seed()}, type(self).__name__)
        examples = [
            Example(text, label, line=i) if isinstance(text, str) else Example(text[0], label, text[1], line=i)
            for i, (text, label) in enumerate(zip(X, map(str, y), strict=True), 1)
        ]
        backbone = load_backbone(config, self.device)
        self.checkpoint_: Checkpoint = train(
            examples,
            LabelSet.from_mapping(described),
            config,
            unlabeled=as_list(unlabeled, "fit: unlabeled"),
            backbone=backbone,
            cache_path=Path(self.cache_path) if self.cache_path else None,
            progress=self.progress or no_progress,
            where="fit",
        )
        self._backbone: Backbone | None = backbone
        self._set_classes(kind)
        return self

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(1 << 31))

    def _set_classes(self, kind: type) -> None:
        names = self.checkpoint_.labels.names
        classes = [name == "True" if kind is bool else kind(name) for name in names]
        self._columns = sorted(range(len(names)), key=classes.__getitem__)
        self.classes_ = np.array(sorted(classes))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = False, True
        return tags

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_backbone": None}  # its hooks cannot be pickled, and it is large

    def predict_proba(self, X: Iterable[Text]) -> npt.NDArray[np.float32]:
        """Class probabilities of N texts, float32 (N, L).

        Raises:
            DataError: One string is given, whose characters would be taken for texts, or what is no text as in ``fit``.
        """
        check_is_fitted(self, "checkpoint_")
        pairs, texts = self.checkpoint_.text_pair, as_list(X, "predict: texts")
        refuse_control_characters(texts, "predict: texts")
        for i, text in enumerate(texts):
            if not (_is_pair(text) if pairs else isinstance(text, str)):
                raise DataError(
                    f"predict: item {i} is {text!r:.40}, expected a {'pair of strings' if pairs else 'string'}."
                )
        if self._backbone is None:
            self._backbone = self.checkpoint_.load_backbone(device=self.device)
        return self.checkpoint_.predict_proba(texts, backbone=self._backbone)[:, self._columns]

    def predict(self, X: Iterable[Text]) -> npt.NDArray[np.str_ | np.int64 | np.bool_]:
        """The most probable label of each of N texts, (N,)."""
        probs = self.predict_proba(X)
        return np.asarray(self.classes_[probs.argmax(1)])

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the checkpoint that ``crosstune-export build`` takes.

        Raises:
            OutputExistsError: ``path`` is there and ``force`` is off.
        """
        check_is_fitted(self, "checkpoint_")
        self.checkpoint_.save(path, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "auto") -> CrossTuneClassifier:
        """Read a checkpoint that ``save`` or ``crosstune train`` wrote; its labels are strings.

        Args:
            path: Checkpoint folder.
            device: ``auto``, ``cpu`` or ``cuda``.

        Raises:
            CheckpointError: A file is missing, foreign or changed.
        """
        checkpoint = Checkpoint.load(path)
        settings = checkpoint.config.model_dump()
        descriptions: dict[Label, str | Sequence[str]] = {
            label.name: list(label.descriptions) for label in checkpoint.labels
        }
        seed = settings.pop("seed")
        model = cls(**settings, random_state=seed, label_descriptions=descriptions, device=device)
        model.checkpoint_, model._backbone = checkpoint, None
        model._set_classes(str)
        return model

    def evaluate(self, X: Iterable[Text], y: Iterable[Label]) -> Answers:
        """Classify labelled texts; the result has the metrics, and its method ``report`` writes the report page.

        Texts that the model was trained on are measured too, with a warning, and the report says how many they are.

        Examples:
            >>> model = CrossTuneClassifier()
            >>> _ = model.fit(["where is it", "not here yet", "lovely", "great"], ["late", "late", "praise", "praise"])
            >>> model.evaluate(["it has not arrived"], ["late"]).evaluation.n
            1

        Args:
            X: N texts or pairs, at least one.
            y: N labels.

        Raises:
            DataError: The lengths differ, or an item is not a text or not a known label.
        """
        texts, labels = as_list(X, "evaluate: texts"), [str(label) for label in as_list(y, "evaluate: labels")]
        probs = self.predict_proba(texts)
        if len(texts) != len(labels) or not texts:
            raise DataError(f"evaluate: {len(texts)} texts and {len(labels)} labels, expected as many of each.")
        examples = [
            Example(text, label, line=i) if isinstance(text, str) else Example(text[0], label, text[1], line=i)
            for i, (text, label) in enumerate(zip(texts, labels, strict=True), 1)
        ]
        check_labels(examples, self.checkpoint_.labels, "evaluate")
        known = {example.content for example in self.checkpoint_.examples}
        trained_on = sum(example.content in known for example in examples)
        if trained_on:
            warnings.warn(
                CrossTuneWarning(
                    f"evaluate: {trained_on} of {len(texts)} texts are training texts: the accuracy is too high."
                ),
                stacklevel=2,
            )
        names = [str(label) for label in self.classes_.tolist()]
        return Answers(examples, names, probs, trained_on=trained_on, model=f"the {self.head} head")


def _kind_of(label: object) -> type | None:
    return next((kind for kind in (str, bool, int) if isinstance(label, kind)), None)


def _is_pair(text: object) -> bool:
    return isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text)
