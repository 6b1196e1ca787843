"""A training task: labels, shots, generated texts and a log, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, replace

from crosstune.core.errors import DataError
from crosstune.core.labels import LabelSet
from crosstune.core.token_layout import Text
from crosstune.data.checks import check_fields, without_duplicates
from crosstune.data.examples import Example
from crosstune.data.labels import check_labels
from crosstune.data.sampling import draw_shots


@dataclass(frozen=True)
class Task:
    """What a head is trained on.

    Examples:
        >>> labels = LabelSet.from_mapping({"ship": "a parcel on its way", "praise": "thanks and compliments"})
        >>> task = Task(labels, [Example("where is it", "ship"), Example("so happy", "praise")])
        >>> len(task.shots), task.generated
        (2, ())

    Args:
        labels: The classes and their descriptions.
        shots: Real examples; a repeated one is kept once, with a warning.
        generated: Texts by an LLM with the labels that were requested; texts may be repeated.
        unlabeled: Texts of a log.
        where: What to call the shots in messages.
        generated_where: What to call the generated texts in messages.
        expect_every_label: Warn of labels without a shot.

    Raises:
        DataError: A label is unknown, a field is empty, too long or holds what no file can, a text has two labels, or
            pairs and single texts are mixed.
    """

    labels: LabelSet
    shots: Sequence[Example]
    generated: Sequence[Example] = ()
    unlabeled: Sequence[Text] = ()
    where: InitVar[str] = "examples"
    generated_where: InitVar[str] = "generated"
    expect_every_label: InitVar[bool] = False

    def __post_init__(self, where: str, generated_where: str, expect_every_label: bool) -> None:
        check_fields(self.shots, where)
        check_fields(self.generated, generated_where)
        object.__setattr__(self, "shots", without_duplicates(self.shots, where))
        object.__setattr__(self, "generated", tuple(self.generated))
        check_labels(self.generated, self.labels, generated_where)
        check_labels(self.shots, self.labels, where, expect_every_label=expect_every_label)
        if len({shot.text_pair is None for shot in self.shots}) > 1:
            raise DataError(f"{where}: some examples have a text_pair and some have none. Give every row one, or none.")
        if self.shots and any(
            isinstance(text, str) is (self.shots[0].text_pair is not None) for text in self.unlabeled
        ):
            raise DataError(
                "unlabeled: pairs and single texts are mixed with the real examples. Give both the same kind."
            )
        if self.generated and len({item.text_pair is None for item in (*self.shots, *self.generated)}) > 1:
            raise DataError(
                f"{generated_where}: pairs and single texts are mixed with the real examples. Give both the same kind."
            )

    def draw(self, shots_per_label: int, seed: int) -> Task:
        """The task with so many shots of each label, drawn by ``sampling.draw_shots``.

        Raises:
            ConfigError: A number is out of range.
        """
        return replace(self, shots=draw_shots(self.shots, shots_per_label, seed))
