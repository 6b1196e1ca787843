"""Says before training whether a bundle may contain a backbone: its tokenizer, and its type."""

from __future__ import annotations

import warnings

from crosstune.backbone.frozen import Backbone
from crosstune.core.errors import CrossTuneWarning
from crosstune.core.strict_text import parse_strictly
from crosstune.core.tokenizer_rules import largest_id

#: Types of encoders, as their ``config.json`` names them, that the tests build bundles with.
BUILT_IN_TESTS = frozenset(
    {
        "albert",
        "bert",
        "camembert",
        "deberta-v2",
        "distilbert",
        "electra",
        "eurobert",
        "gemma3_text",
        "gte",
        "mobilebert",
        "modernbert",
        "mpnet",
        "nomic_bert",
        "qwen3",
        "roberta",
        "t5",
        "xlm-roberta",
    }
)


def graph_is_known(backbone: Backbone) -> bool:
    """Whether the tests build bundles with backbones of this type."""
    return backbone.model.config.model_type in BUILT_IN_TESTS


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
