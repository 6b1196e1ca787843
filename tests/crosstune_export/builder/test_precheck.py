"""What is said before training about backbones of types that no test builds."""

import warnings

import pytest
import transformers

from crosstune import Backbone
from crosstune.backbone.exportable import BUILT_IN_TESTS, graph_is_known
from crosstune.core.errors import CrossTuneWarning
from crosstune_export.builder.precheck import warn_if_no_graph
from tests.fixtures.encoder_families import FAMILIES, Family, write_random_encoder


def test_the_known_types_are_those_of_the_tests(tiny_backbone):
    assert {getattr(transformers, f"{family.name}Config").model_type for family in FAMILIES} | {
        "bert"
    } == BUILT_IN_TESTS
    assert graph_is_known(tiny_backbone)


@pytest.mark.slow
def test_an_unknown_type_that_builds_is_not_warned_of(tiny_backbone_dir, tmp_path):
    backbone = write_random_encoder(Family("MegatronBert"), tiny_backbone_dir, tmp_path / "MegatronBert")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CrossTuneWarning)
        warn_if_no_graph(Backbone.load(str(backbone), device="cpu"))
