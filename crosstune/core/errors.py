"""All errors of the two packages, one class per kind of failure.

Every message is one line, ``where: found, expected. Next step.``, and every class has the exit code of the command line::

    CrossTuneError                   1   base class, never raised itself
    ├── ConfigError                  2   a setting, argument or option
    │   ├── MissingExtraError            a package of an optional extra
    │   ├── OutputExistsError            an output that already exists
    │   └── ProviderError                an execution provider that is not available
    ├── DataError                    3   examples, labels, texts or rows; also a ValueError
    ├── GenerationError              4   the LLM server failed
    ├── AnswerCacheError             5   an invalid cache of LLM answers
    ├── BackboneError                5   an invalid backbone
    ├── CheckpointError              5   an invalid checkpoint
    ├── BundleError                  5   an invalid bundle
    │   ├── BundleIntegrityError         files that changed since the build
    │   ├── BundleVersionError           a newer format, or a runtime that is too old
    │   ├── BundleContentError           contents that no build writes
    │   └── SignatureError               a missing or wrong signature
    ├── TrainingError                6   training without finite weights as a result
    ├── RefusedLabelError            6   an LLM that refuses all texts of a label
    ├── SelfTestError                6   a bundle with other results on this machine than at the build
    ├── GateError                    6   a build that differs from its checkpoint, or exceeds a budget
    └── ResourceError                7   disk, memory or network
"""

from __future__ import annotations


class CrossTuneError(Exception):
    """Base class of all errors of both packages; never raised itself.

    Attributes:
        exit_code: Exit code of the command line (see the table in the README).
    """

    exit_code = 1


class ConfigError(CrossTuneError):
    """A setting, argument or option is invalid."""

    exit_code = 2


class MissingExtraError(ConfigError):
    """A package of an optional extra is not installed; the message contains the pip command."""


class OutputExistsError(ConfigError):
    """The output already exists and must not be replaced."""


class ProviderError(ConfigError):
    """The requested execution provider is not available."""


class DataError(CrossTuneError, ValueError):
    """Examples, labels, texts or rows are invalid."""

    exit_code = 3


class GenerationError(CrossTuneError):
    """The LLM server failed; all answers so far are in the cache."""

    exit_code = 4


class AnswerCacheError(CrossTuneError):
    """The file is not a cache of LLM answers, or of a newer version."""

    exit_code = 5


class BackboneError(CrossTuneError):
    """The backbone cannot be loaded, or differs from the expected one."""

    exit_code = 5


class CheckpointError(CrossTuneError):
    """The checkpoint is invalid."""

    exit_code = 5


class BundleError(CrossTuneError):
    """The bundle is invalid."""

    exit_code = 5


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing, unexpected, or changed since the build."""


class BundleVersionError(BundleError):
    """The bundle has a newer format, or needs a newer onnxruntime."""


class BundleContentError(BundleError):
    """The hashes are correct, but the contents are not a valid bundle."""


class SignatureError(BundleError):
    """A required signature is missing, by another key, or for other contents; or the release is too old."""


class TrainingError(CrossTuneError):
    """Training did not result in finite, usable weights."""

    exit_code = 6


class RefusedLabelError(CrossTuneError):
    """The LLM refused all texts of a label."""

    exit_code = 6


class SelfTestError(CrossTuneError):
    """The self-test gives other results on this machine than at the build."""

    exit_code = 6


class GateError(CrossTuneError):
    """The built graph differs too much from the checkpoint, or exceeds a budget."""

    exit_code = 6


class ResourceError(CrossTuneError):
    """The disk or the memory is full, a process died of it, or a model hub cannot be reached."""

    exit_code = 7


class CrossTuneWarning(UserWarning):
    """A likely mistake that does not prevent the work."""
