"""Every way in which the two packages can fail, one class each.

Every message is one line, ``where: found, expected. Next step.``, and every class carries the exit code that the command
line ends with::

    CrossTuneError                   1   root, never raised itself
    ├── ConfigError                  2   a setting, argument or option
    │   ├── MissingExtraError            a package of an optional extra
    │   ├── OutputExistsError            an output that is there already
    │   └── ProviderError                an execution provider that cannot be had
    ├── DataError                    3   examples, labels, texts or rows; also a ValueError
    ├── GenerationError              4   the LLM endpoint gave up
    ├── AnswerCacheError             5   a cache of LLM answers that is refused
    ├── BackboneError                5   a backbone that is refused
    ├── CheckpointError              5   a checkpoint that is refused
    ├── BundleError                  5   a bundle that is refused
    │   ├── BundleIntegrityError         not the bytes that were built
    │   ├── BundleVersionError           another format, or a runtime that is too old
    │   ├── BundleContentError           the bytes as built, and no usable bundle
    │   └── SignatureError               not signed by whom it should be
    ├── TrainingError                6   training that did not end in finite weights
    ├── RefusedLabelError            6   an LLM that writes no text of a label
    ├── SelfTestError                6   a bundle that does not answer as promised on this machine
    ├── GateError                    6   a build that does not answer as its checkpoint, or misses a budget
    └── ResourceError                7   disk or memory
"""

from __future__ import annotations


class CrossTuneError(Exception):
    """Root of all errors of both packages; never raised itself.

    Attributes:
        exit_code: What the command line exits with (see the README's table).
    """

    exit_code = 1


class ConfigError(CrossTuneError):
    """A setting, argument or option that cannot be used as given."""

    exit_code = 2


class MissingExtraError(ConfigError):
    """A package of an optional extra is not installed; the message holds the pip line."""


class OutputExistsError(ConfigError):
    """The output is already there and was not to be replaced."""


class ProviderError(ConfigError):
    """The execution provider that was asked for is not the one that the session runs on."""


class DataError(CrossTuneError, ValueError):
    """Examples, labels, texts or rows that cannot be trained on, evaluated or classified."""

    exit_code = 3


class GenerationError(CrossTuneError):
    """The LLM endpoint gave up; every answer that it gave is in the cache."""

    exit_code = 4


class AnswerCacheError(CrossTuneError):
    """A file that is not a cache of answers, or one of a newer version."""

    exit_code = 5


class BackboneError(CrossTuneError):
    """A backbone that cannot be loaded, or is not the one that was pinned."""

    exit_code = 5


class CheckpointError(CrossTuneError):
    """A checkpoint that is refused."""

    exit_code = 5


class BundleError(CrossTuneError):
    """A bundle that is refused."""

    exit_code = 5


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing, foreign, or not the bytes that were built."""


class BundleVersionError(BundleError):
    """The bundle has another format, or needs a newer runtime."""


class BundleContentError(BundleError):
    """The bytes are as built, but they do not make a usable bundle."""


class SignatureError(BundleError):
    """A required signature is missing, by somebody else, or of other bytes; or the release is too old."""


class TrainingError(CrossTuneError):
    """Training that did not end in finite, usable weights."""

    exit_code = 6


class RefusedLabelError(CrossTuneError):
    """The LLM refuses to write a single text of a label."""

    exit_code = 6


class SelfTestError(CrossTuneError):
    """The bundle's own samples do not come out as promised on this machine."""

    exit_code = 6


class GateError(CrossTuneError):
    """The built graph does not answer as the checkpoint does, or a budget is not met."""

    exit_code = 6


class ResourceError(CrossTuneError):
    """Too little disk or memory, or a process that died of it."""

    exit_code = 7


class CrossTuneWarning(UserWarning):
    """Something that the user should know and that does not stop the work."""
