"""The ways in which building, loading and running a bundle can fail, one class each.

Every message is one line, ``where: found, expected. Next step.``, and every class carries the exit code
that the command line ends with.
"""

from __future__ import annotations


class ExportError(Exception):
    """Root of all errors of this package; never raised itself.

    Attributes:
        exit_code: What the command line exits with (see the README's table).
    """

    exit_code = 1


class UsageError(ExportError):
    """An argument or option that cannot be used as given."""

    exit_code = 2


class MissingExtraError(UsageError):
    """A package of an optional extra is not installed; the message holds the pip line."""


class OutputExistsError(UsageError):
    """The output is already there and was not to be replaced."""


class ProviderError(UsageError):
    """An execution provider was asked for and is not what the session runs on."""


class InputError(ExportError):
    """A text or a row that cannot be classified."""

    exit_code = 3


class BundleError(ExportError):
    """A bundle that is refused."""

    exit_code = 5


class BundleIntegrityError(BundleError):
    """A file of the bundle is missing, foreign, or not the bytes that were built."""


class BundleVersionError(BundleError):
    """The bundle is of a format, or needs a runtime, that is not here."""


class BundleContentError(BundleError):
    """The bytes are as built, and what they say is not a usable bundle."""


class SignatureError(BundleError):
    """A signature was asked for and is missing, of somebody else, or of other bytes; or the release is too old."""


class SelfTestError(ExportError):
    """The bundle's own samples do not come out as promised on this machine."""

    exit_code = 6


class GateError(ExportError):
    """A build whose graph does not answer as the checkpoint does, or a budget that is not met."""

    exit_code = 6


class ResourceError(ExportError):
    """Too little disk or memory, or a process that died of it."""

    exit_code = 7
