"""Says before training whether a bundle may contain the tokenizer of a backbone."""

from __future__ import annotations

import warnings

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import CrossTuneWarning
from crosstune.core.strict_text import parse_strictly
from crosstune.core.tokenizer_rules import largest_id


def warn_if_not_exportable(backbone: Backbone) -> None:
    """Warn if no bundle can be built with a backbone, because its tokenizer has a part that bundles may not contain.

    Training and evaluation work nevertheless.

    Args:
        backbone: The backbone, before training.

    Warns:
        CrossTuneWarning: A bundle may not contain the tokenizer.
    """
    try:
        largest_id(parse_strictly(backbone.tokenizer_json.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        warnings.warn(
            f"{backbone.name}: its tokenizer has {error}, which no bundle may contain: training works, crosstune-export build will "
            "not. To build a bundle, choose another backbone, such as minilm.",
            CrossTuneWarning,
            stacklevel=3,
        )
