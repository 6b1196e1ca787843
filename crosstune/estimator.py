"""The same training as a scikit-learn estimator."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from crosstune.backbone.frozen import Backbone
from crosstune.checkpoint import Checkpoint
from crosstune.config import DEFAULT_BACKBONE, DEFAULT_HEAD, DEFAULT_SEED, validated
from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.texts import as_list, refuse_control_characters
from crosstune.core.token_layout import Text
from crosstune.data.examples import Example
from crosstune.training import train

Label = str | int


class CrossTuneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Few-shot text classifier on a frozen backbone.

    A pickle of it holds no backbone, which is loaded again when it is used; ``save`` writes what a build takes.

    Example:
        >>> model = CrossTuneClassifier(backbone="minilm")
        >>> _ = model.fit(
        ...     ["where is my parcel", "still not here", "lovely, thanks", "great service"],
        ...     ["shipping", "shipping", "praise", "praise"],
        ...     label_descriptions={"shipping": "a parcel on its way", "praise": "thanks and compliments"},
        ... )
        >>> model.predict(["when will the package arrive?"]).tolist()
        ['shipping']

    Attributes:
        classes_: Labels, (L,), sorted as scikit-learn wants them, of the kind that ``fit`` got; columns of ``predict_proba``.
        checkpoint_: What was trained; ``save`` writes it.
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        head: str = DEFAULT_HEAD,
        seed: int = DEFAULT_SEED,
        max_length_tokens: int | None = None,
        device: str = "auto",
        cache_path: str | None = None,
        expected_shares: str | dict[Label, float] = "uniform",
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.seed = seed
        self.max_length_tokens = max_length_tokens
        self.device = device
        self.cache_path = cache_path
        self.expected_shares = expected_shares

    def fit(
        self,
        X: Iterable[Text],
        y: Iterable[Label],
        label_descriptions: Mapping[Label, str | Sequence[str]] | None = None,
    ) -> CrossTuneClassifier:
        """Train on N texts.

        Args:
            X: N texts, or N pairs of texts.
            y: N labels: names, or integers, which a checkpoint has as digits.
            label_descriptions: Label to its description or descriptions; the names themselves when None.

        Raises:
            DataError: The lengths differ, a label has no description, or a text is empty or stands under two labels.
            ConfigError: A setting is out of range.
            BackboneError: The backbone cannot be loaded.
        """
        X = as_list(X, "fit: texts")
        y = [label.item() if isinstance(label, np.generic) else label for label in as_list(y, "fit: labels")]
        if len(X) != len(y):
            raise DataError(f"fit: {len(X)} texts and {len(y)} labels, expected as many of each.")
        kind = int if y and type(y[0]) is int else str
        for i, (text, label) in enumerate(zip(X, y, strict=True)):
            if not isinstance(label, kind) or not (isinstance(text, str) or _is_pair(text)):
                expected = "strings" if kind is str else "a string and an integer, as the labels before it are"
                raise DataError(f"fit: item {i} is {text!r:.40} labelled {label!r:.40}, expected {expected}.")
        given = label_descriptions or {label: str(label).replace("_", " ") for label in sorted(set(y))}
        described = {str(label): sentences for label, sentences in given.items()}
        if kind is int and (odd := [label for label in described if not label.removeprefix("-").isdecimal()]):
            raise DataError(f"fit: a description of {odd[0]!r}, expected integers, as the labels of the texts are.")
        config = validated(
            {
                "backbone": self.backbone,
                "head": self.head,
                "seed": self.seed,
                "max_length_tokens": self.max_length_tokens,
                "expected_shares": self.expected_shares
                if isinstance(self.expected_shares, str)
                else {str(label): share for label, share in self.expected_shares.items()},
            },
            "CrossTuneClassifier",
        )
        examples = [
            Example(text, label, line=i) if isinstance(text, str) else Example(text[0], label, text[1], line=i)
            for i, (text, label) in enumerate(zip(X, map(str, y), strict=True), 1)
        ]
        backbone = Backbone.load(self.backbone, device=self.device, max_length_tokens=self.max_length_tokens)
        self.checkpoint_: Checkpoint = train(
            examples,
            LabelSet.from_mapping(described),
            config,
            backbone=backbone,
            cache_path=Path(self.cache_path) if self.cache_path else None,
            where="fit",
        )
        self._backbone: Backbone | None = backbone
        names = self.checkpoint_.labels.names
        classes = [kind(name) for name in names]
        self._columns = sorted(range(len(names)), key=classes.__getitem__)
        self.classes_ = np.array(sorted(classes))
        return self

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

    def predict(self, X: Iterable[Text]) -> npt.NDArray[np.str_ | np.int64]:
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


def _is_pair(text: object) -> bool:
    return isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(part, str) for part in text)
