"""A bundle of every format version that was released must load for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from crosstune_export import Classifier
from crosstune_export.bundle.manifest import FORMAT_VERSION
from crosstune_export.bundle.packing import unpack
from crosstune_export.edit.labels import add_label

GOLDEN = sorted(Path(__file__).parent.glob("*.bundle.zip"))


def test_there_is_one_of_todays_format():
    assert f"format-{FORMAT_VERSION}.bundle.zip" in [path.name for path in GOLDEN]
    assert all(path.stat().st_size < 300_000 for path in GOLDEN)


@pytest.mark.fault("G10")
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_it_loads_and_answers_as_it_did(path, tmp_path):
    classifier = Classifier.load(path)
    assert path.name == f"format-{classifier.manifest.format_version}.bundle.zip"
    assert classifier.selftest().passed
    assert [answer.label for answer in classifier.classify(["where is my parcel", "i was charged twice"])] == [
        "shipping",
        "billing",
    ]
    unpack(path, tmp_path / "x.bundle")
    assert add_label(tmp_path / "x.bundle", "weather", ["rain and sun"]).label_names[-1] == "weather"
