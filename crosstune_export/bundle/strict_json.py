"""Reads a JSON file of a bundle strictly."""

from __future__ import annotations

from crosstune.core.errors import BundleContentError
from crosstune.core.strict_text import Json, parse_strictly


def strict_json(data: bytes, where: str) -> Json:
    """Parse a JSON file of a bundle as ``crosstune.core.strict_text.parse_strictly`` does.

    Args:
        data: Contents of the file.
        where: Name of the file in messages, usually its path.

    Raises:
        BundleContentError: The contents are not valid JSON.
    """
    try:
        return parse_strictly(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleContentError(f"{where}: not valid JSON ({error}). Build the bundle again.") from error
