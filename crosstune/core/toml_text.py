"""Reads TOML on every supported Python."""

from __future__ import annotations

import sys
from typing import cast

from crosstune.core.errors import CrossTuneError
from crosstune.core.strict_text import Json

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse_toml(text: str, where: str, error_class: type[CrossTuneError]) -> Json:
    """Parse TOML.

    Raises:
        CrossTuneError: As ``error_class``, when the text is not TOML.
    """
    try:
        return cast(Json, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise error_class(f"{where}: not valid TOML ({error}). Correct it.") from error
    except RecursionError as error:
        raise error_class(f"{where}: not valid TOML (nested too deeply). Correct it.") from error
    except ValueError as error:  # an integer of more digits than Python converts
        raise error_class(f"{where}: not valid TOML ({str(error)[:80]}). Correct it.") from error
