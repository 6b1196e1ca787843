"""Reads a JSON file of a bundle strictly."""

from __future__ import annotations

import json
import re

from crosstune.core.errors import BundleContentError
from crosstune.core.strict_text import Json, parse_strictly

#: The escape of a surrogate, in a pair or without its other half.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def strict_json(data: bytes, where: str) -> Json:
    """Parse a JSON file of a bundle as ``crosstune.core.strict_text.parse_strictly`` does, and refuse unpaired surrogates.

    Args:
        data: Contents of the file.
        where: Name of the file in messages, usually its path.

    Raises:
        BundleContentError: The contents are not valid JSON.
    """
    try:
        body = parse_strictly(data.decode("utf-8"))
        if _SURROGATE.search(data):
            json.dumps(body, ensure_ascii=False).encode("utf-8")
        return body
    except UnicodeEncodeError as error:
        raise BundleContentError(f"{where}: not valid JSON (unpaired surrogate). Build the bundle again.") from error
    except (ValueError, RecursionError) as error:
        raise BundleContentError(f"{where}: not valid JSON ({error}). Build the bundle again.") from error
