"""Panics of libraries that are written in Rust."""

from __future__ import annotations


def is_failure(error: BaseException) -> bool:
    """Whether an error is a failure of what was called: an ``Exception``, or a panic, whose class is none.

    Examples:
        >>> is_failure(ValueError()), is_failure(KeyboardInterrupt())
        (True, False)
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"
