"""The ways in which training can fail, one class each.

Every message is one line, ``where: found, expected. Next step.``, and every class carries the exit code
that the command line ends with.
"""

from __future__ import annotations


class CrossTuneError(Exception):
    """Root of all errors of this package; never raised itself.

    Attributes:
        exit_code: What the command line exits with (see the README's table).
    """

    exit_code = 1


class ConfigError(CrossTuneError):
    """A setting or argument that cannot be used as given."""

    exit_code = 2


class MissingExtraError(ConfigError):
    """A package of an optional extra is not installed; the message holds the pip line."""


class OutputExistsError(ConfigError):
    """The output is already there and was not to be replaced."""


class DataError(CrossTuneError):
    """Examples or labels that cannot be trained on or evaluated."""

    exit_code = 3


class GenerationError(CrossTuneError):
    """The LLM endpoint gave up; every answer that it gave is in the cache."""

    exit_code = 4


class AnswerCacheError(CrossTuneError):
    """A file that is no cache of answers, or one of a newer version."""

    exit_code = 5


class BackboneError(CrossTuneError):
    """A backbone that cannot be loaded, or is not the one that was pinned."""

    exit_code = 5


class CheckpointError(CrossTuneError):
    """A checkpoint that is refused."""

    exit_code = 5


class TrainingError(CrossTuneError):
    """Training that did not end in finite, usable weights."""

    exit_code = 6


class RefusedLabelError(CrossTuneError):
    """An LLM that refuses to write a single text of a label."""

    exit_code = 6


class ResourceError(CrossTuneError):
    """The disk or the memory is not enough."""

    exit_code = 7


class CrossTuneWarning(UserWarning):
    """Something that a person should know and that does not stop the work."""
