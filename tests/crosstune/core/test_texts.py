"""Lists, columns and tables of texts; and control characters."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from crosstune import DataError
from crosstune.core.texts import as_list, refuse_control_characters

TEXTS = ["where is it", "thanks"]


@pytest.mark.fault("L1")
@pytest.mark.parametrize(
    "column",
    [
        TEXTS,
        tuple(TEXTS),
        iter(TEXTS),
        dict(enumerate(TEXTS)).values(),
        np.array(TEXTS),
        np.array(TEXTS, object).reshape(2, 1),
        pd.Series(TEXTS, index=[7, 9]),
        pd.DataFrame({"text": TEXTS}),
        pd.DataFrame(TEXTS),
        pl.Series(TEXTS),
        pl.DataFrame({"text": TEXTS}),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        pa.table({"text": TEXTS}),
        pa.record_batch({"text": TEXTS}),
        np.array([(text,) for text in TEXTS], [("text", object)]),
    ],
    ids=lambda column: f"{type(column).__module__.split('.')[0]} {type(column).__name__}",
)
def test_lists_columns_and_tables_of_one_column_are_texts(column):
    assert as_list(column) == TEXTS


TABLE = {"text": TEXTS, "label": ["a", "b"]}
SEVERAL = "texts: found a table with the columns 'text', 'label', expected a list or one column. Pass one column, such as df['text']."


@pytest.mark.fault("L1")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame(TABLE), SEVERAL),
        (pl.DataFrame(TABLE), SEVERAL),
        (pa.table(TABLE), SEVERAL),
        (pa.record_batch(TABLE), SEVERAL),
        (np.array([("a", "b")], [("text", object), ("label", object)]), SEVERAL),
        (pd.DataFrame(), "texts: found a table with the columns none, expected a list or one column. Pass one column, such as df[...]."),
        (TABLE, "texts: found a mapping, expected a list. Pass the values of one key, such as data['text']."),
        ({"one text"}, "texts: found a set, which has no order, expected a list. Pass sorted(...) of it."),
        (np.array([TEXTS, TEXTS]), "texts: found an array of 2 x 2, expected one column. Pass one, such as X[:, 0]."),
        ("one text", "texts: found one string, expected a list of strings. Put it into a list."),
        (b"bytes", "texts: found one string, expected a list of strings. Put it into a list."),
        (None, "texts: found NoneType, expected a list."),
    ],
)  # fmt: skip
def test_what_would_be_taken_for_other_texts_is_refused(table, message):
    with pytest.raises(DataError) as caught:
        as_list(table)
    assert str(caught.value) == message


@pytest.mark.fault("L8")
@pytest.mark.parametrize("character", ["\0", "\x08", "\x0b", "\x1f", "\x7f", "\x80", "\x85", "\x9f"])
def test_control_characters_are_refused_in_texts_and_in_pairs(character):
    refuse_control_characters(["tab\t, line\nends\r\n", ("a", "b"), 7])
    problem = f"has the control character U+{ord(character):04X} at position 1. Remove it."
    for texts, index in ((["a", f"b{character}"], 1), ([("a", f"b{character}")], 0)):
        with pytest.raises(DataError) as caught:
            refuse_control_characters(texts)
        assert str(caught.value) == f"texts[{index}]: {problem}"
