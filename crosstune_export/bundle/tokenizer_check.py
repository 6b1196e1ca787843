"""Refuses a tokenizer.json with parts that no build writes, before the tokenizers library reads it."""

from __future__ import annotations

from crosstune.core.errors import BundleContentError
from crosstune.core.tokenizer_rules import largest_id
from crosstune_export.bundle.strict_json import strict_json


def check_tokenizer(data: bytes, where: str) -> int:
    """Read a ``tokenizer.json`` and refuse it unless all its parts are on the lists.

    Args:
        data: Contents of the file.
        where: Name of the file in messages.

    Returns:
        The largest token id.

    Raises:
        BundleContentError: A part is not on the lists, or an id is invalid.
    """
    body = strict_json(data, where)
    try:
        return largest_id(body)
    except ValueError as error:
        raise BundleContentError(
            f"{where}: the tokenizer has {error}, expected only what a build writes. Do not use it; build the bundle again."
        ) from error
