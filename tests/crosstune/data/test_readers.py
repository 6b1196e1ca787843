"""Reading examples: what is accepted, and the whole message for everything that is not."""

import csv
import json
import warnings

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from crosstune import ConfigError, DataError, Example, ReadOptions, read_examples
from crosstune.data.checks import MAX_FIELD_CHARACTERS, check_held_out
from crosstune.data.examples import example_line

ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
ROWS = [
    Example("where is my parcel", "shipping"),
    Example('she said "now", then left', "praise"),
    Example("two\nlines\tand a tab", "praise"),
    Example("Ærøskøbing, 商品, 👩‍👩‍👧", "shipping"),
    Example("=SUM(A1)", "true"),
    Example("NaN", "null"),
]
PAIRS = [Example("first", "a", "second"), Example("other", "b", "other second")]


def write(path, rows):
    """The same rows in the format of the ending, written by other code than ours."""
    table = [
        {"text": row.text, "label": row.label} | ({"text_pair": row.text_pair} if row.text_pair else {}) for row in rows
    ]
    if path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row) + "\n" for row in table), "utf-8")
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(table), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(table[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(table)
    return path


def refused(path):
    with pytest.raises(DataError) as caught:
        read_examples(path)
    return str(caught.value)


def refused_bytes(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return refused(path), path


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("rows", [ROWS, PAIRS], ids=["single", "pair"])
def test_every_format_gives_back_what_was_written(tmp_path, ending, rows):
    assert list(read_examples(write(tmp_path / f"x{ending}", rows))) == rows


@pytest.mark.parametrize("ending", [".JSONL", ".Csv"])
def test_the_ending_may_be_in_capitals(tmp_path, ending):
    written = write(tmp_path / f"x{ending.lower()}", ROWS)
    assert list(read_examples(written.rename(tmp_path / f"y{ending}"))) == ROWS


visible = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zs", "Zl", "Zp")), min_size=1, max_size=12
).filter(lambda text: text.strip())


@given(rows=st.lists(st.tuples(visible, visible), min_size=1, max_size=6, unique_by=lambda row: row[0]))
def test_any_visible_text_comes_back_from_every_format(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    examples = [Example(text, label) for text, label in rows]
    for ending in ENDINGS:
        assert list(read_examples(write(folder / f"x{ending}", examples))) == examples


@given(rows=st.lists(st.tuples(visible, visible, visible), min_size=1, max_size=6, unique_by=lambda row: row[0]))
def test_example_line_is_what_read_examples_reads(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    examples = [Example(text, label, pair) for text, label, pair in rows]
    path.write_text("".join(map(example_line, examples)), "utf-8")
    assert list(read_examples(path)) == examples


@pytest.mark.fault("A3", "A15")
@pytest.mark.parametrize(
    "data",
    [
        b'\xef\xbb\xbf{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
        b'{"text": "a", "label": "x"}\r\n{"text": "b", "label": "y"}\r\n',
        b'{"text": "a", "label": "x"}\r{"text": "b", "label": "y"}\r',
        b'\n \t\n{"text": "a", "label": "x"}\n\r\n{"text": "b", "label": "y"}',
    ],
    ids=["byte order mark", "CRLF", "old Mac", "blank lines and no last newline"],
)
@pytest.mark.fault("A3")
def test_line_ends_and_byte_order_marks_do_not_matter_in_jsonl(tmp_path, data):
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    assert read_examples(path) == (Example("a", "x"), Example("b", "y"))


@pytest.mark.fault("A3", "A15")
@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbftext,label\na,x\nb,y\n",
        b"text,label\r\na,x\r\nb,y\r\n",
        b"text,label\ra,x\rb,y\r",
        b"text,label\n\na,x\n\nb,y",
    ],
    ids=["byte order mark", "CRLF", "old Mac", "blank lines and no last newline"],
)
def test_line_ends_and_byte_order_marks_do_not_matter_in_csv(tmp_path, data):
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    assert read_examples(path) == (Example("a", "x"), Example("b", "y"))


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('\n{"text": "a", "label": "x"}\n\n{"text": "b", "label": "y"}\n')
    assert [example.line for example in read_examples(path)] == [2, 4]
    path = tmp_path / "x.csv"
    path.write_text('label,text\nx,"a\nb\nc"\ny,d\n')
    assert [(example.line, example.text) for example in read_examples(path)] == [(2, "a\nb\nc"), (5, "d")]


def test_other_columns_are_ignored_and_an_empty_text_pair_counts_as_none(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,text,text_pair,label\n1,a,,x\n2,b,,y\n")
    assert read_examples(path) == (Example("a", "x"), Example("b", "y"))


def test_a_null_text_pair_counts_as_none(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a", "label": "x", "text_pair": null, "weight": 1.5}\n')
    assert read_examples(path) == (Example("a", "x"),)


@pytest.mark.fault("A1")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_missing_file_is_refused(tmp_path, ending):
    path = tmp_path / f"none{ending}"
    assert refused(path) == f"{path}: cannot be read (No such file or directory), expected a file. Check the path."


@pytest.mark.fault("A1")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_folder_is_refused(tmp_path, ending):
    path = tmp_path / f"folder{ending}"
    path.mkdir()
    assert refused(path) == f"{path}: cannot be read (Is a directory), expected a file. Check the path."


@pytest.mark.fault("L5")
def test_an_unknown_ending_is_refused(tmp_path):
    for name, problem in (("x.dat", "ending '.dat'"), ("x", "no ending"), ("x.zip", "ending '.zip'")):
        path = tmp_path / name
        path.write_bytes(GOOD)
        with pytest.raises(ConfigError) as caught:
            read_examples(path)
        assert str(caught.value) == (
            f"{path}: {problem}, expected one of .jsonl, .ndjson, .jsonlines, .json, .csv, .tsv, .tab, .parquet, .xlsx, .txt, "
            "or one of these with .gz. Name its format with --input-format jsonl|json|csv|tsv|parquet|xlsx|text."
        )
        assert len(read_examples(path, ReadOptions(input_format="jsonl"))) == 1


@pytest.mark.fault("L5")
def test_lines_of_text_have_no_labels(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a text\n")
    with pytest.raises(ConfigError, match="lines of text, expected rows with text and label"):
        read_examples(path)


@pytest.mark.fault("A2")
@pytest.mark.parametrize(
    ("name", "data"),
    [("x.jsonl", b""), ("x.jsonl", b"\n \n"), ("x.csv", b"text,label\n"), ("x.csv", b""), ("x.json", b"[]")],
)
def test_a_file_without_rows_is_refused(tmp_path, name, data):
    message, path = refused_bytes(tmp_path, name, data)
    assert message == f"{path}: 0 examples, expected at least one. Check that it is the right file."


@pytest.mark.fault("A2")
def test_a_parquet_file_without_rows_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "label": []}), path)
    assert refused(path) == f"{path}: 0 examples, expected at least one. Check that it is the right file."


GOOD = b'{"text": "a", "label": "x"}\n'


@pytest.mark.fault("A9", "A10")
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "b", "label": "x"},', "Extra data at column 28"),
        (b'{"text": "b", "label": "x"', "Expecting ',' delimiter at column 27"),
        (b"{'text': 'b'}", "Expecting property name enclosed in double quotes at column 2"),
        (b'{"text": "b", "label": "x", "text": "c"}', "key 'text' twice"),
        (b'{"text": "b", "label": "x", "m": {"k": 1, "k": 2}}', "key 'k' twice"),
        (b'{"text": "b", "label": NaN}', "number NaN"),
        (b'{"text": "b", "label": "x", "w": -Infinity}', "number -Infinity"),
        (b'{"text": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"text": "b", "m": ' + b'{"m": ' * 100_000, "nested too deeply"),
        (b'{"text": "a\tb", "label": "x"}', "Invalid control character at at column 12"),
    ],
    ids=[
        "comma",
        "cut",
        "quotes",
        "key twice",
        "inner key twice",
        "NaN",
        "Infinity",
        "deep list",
        "deep object",
        "tab",
    ],
)
def test_bad_json_is_refused_with_its_line(tmp_path, line, reason):
    message, path = refused_bytes(tmp_path, "x.jsonl", GOOD + b"\n" + line + b"\n")
    assert message == f"{path}:3: not valid JSON ({reason}). Correct the line."


@pytest.mark.fault("A10")
def test_a_number_of_5000_digits_is_refused_with_its_line(tmp_path):
    message, path = refused_bytes(tmp_path, "x.jsonl", GOOD + b'{"text": ' + b"7" * 5000 + b"}\n")
    assert message.startswith(f"{path}:2: not valid JSON (number 7777")
    assert message.endswith("). Correct the line.")
    assert "\n" not in message


@pytest.mark.fault("A9")
@pytest.mark.parametrize(
    ("value", "kind"), [(b"[1]", "list"), (b'"text"', "str"), (b"3", "int"), (b"null", "NoneType"), (b"true", "bool")]
)
def test_json_that_is_no_object_is_refused(tmp_path, value, kind):
    message, path = refused_bytes(tmp_path, "x.jsonl", GOOD + value)
    assert message == (
        f'{path}:2: found {kind}, expected an object such as {{"text": "…"}}. Correct the line.'
        + (" For an array of objects give --input-format json." if kind == "list" else "")
    )


@pytest.mark.fault("A5", "A9", "A14")
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"label": "x"}, "no field 'text', found 'label'. Give every row text and label."),
        ({}, "no field 'text', found none. Give every row text and label."),
        ({"text": "b"}, "no field 'label', found 'text'. Give every row text and label."),
        ({"text": "b", "label": None}, "label is null, expected a string. Remove the row or fill it in."),
        ({"text": 12, "label": "x"}, "text is 12, expected a string. Put it in quotes."),
        ({"text": True, "label": "x"}, "text is True, expected a string. Put it in quotes."),
        ({"text": ["b"], "label": "x"}, "text is ['b'], expected a string. Put it in quotes."),
        ({"text": "b", "label": 1.5}, "label is 1.5, expected a string or an integer. Put it in quotes."),
        ({"text": None, "label": "x"}, "text is null, expected a string. Remove the row or fill it in."),
        ({"text": "b", "label": "x", "text_pair": 0}, "text_pair is 0, expected a string. Put it in quotes."),
        ({"text": "", "label": "x"}, "text is empty, expected visible characters. Remove the row or fill it in."),
        ({"text": " \n\u00a0", "label": "x"}, "text is empty, expected visible characters. Remove the row or fill it in."),
        ({"text": "\u200b\u200d\ufeff", "label": "x"}, "text is empty, expected visible characters. Remove the row or fill it in."),
        ({"text": "b", "label": "\u2060"}, "label is empty, expected visible characters. Remove the row or fill it in."),
        ({"text": "b", "label": "x", "text_pair": ""}, "text_pair is empty, expected visible characters. Remove the row or fill it in."),
        ({"text": "b\0c", "label": "x"}, "text has the control character U+0000 at position 1. Remove it."),
        ({"text": "\x1b[31m", "label": "x"}, "text has the control character U+001B at position 0. Remove it."),
        ({"text": "b", "label": "x\x7f"}, "label has the control character U+007F at position 1. Remove it."),
        ({"text": "bc\ud800", "label": "x"}, "text has the unpaired surrogate U+D800 at position 2. Remove it."),
    ],
)  # fmt: skip
def test_a_bad_field_is_refused_with_its_line(tmp_path, row, problem):
    message, path = refused_bytes(tmp_path, "x.jsonl", GOOD + json.dumps(row).encode())
    assert message == f"{path}:2: {problem}"


@pytest.mark.fault("A8")
@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_field_above_the_limit_is_refused_and_one_at_the_limit_is_not(tmp_path, ending):
    fits = Example("é" * MAX_FIELD_CHARACTERS, "x")
    assert read_examples(write(tmp_path / f"fits{ending}", [fits])) == (fits,)
    path = write(tmp_path / f"long{ending}", [Example("first", "x"), Example("e" * (MAX_FIELD_CHARACTERS + 1), "x")])
    line = {".jsonl": 2, ".csv": 3, ".parquet": 2}[ending]
    assert refused(path) == (
        f"{path}:{line}: text has 1048577 characters, expected at most 1048576. Shorten or split it."
    )


@pytest.mark.fault("A8")
def test_a_csv_field_far_above_the_limit_is_refused_with_its_line(tmp_path):
    message, path = refused_bytes(tmp_path, "x.csv", b"text,label\na,x\n" + b"b" * (3 << 20) + b",x\n")
    assert message == (f"{path}:3: text has 3145728 characters, expected at most 1048576. Shorten or split it.")


@pytest.mark.parametrize("data", [b"text,label\na,x\n", b"text,label\n,x\n", b"text\n", b"text,label\na,x\n'a,b,c\n"])
def test_the_interpreters_own_csv_limit_is_put_back(tmp_path, data):
    before = csv.field_size_limit()
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    try:
        read_examples(path)
    except DataError as error:
        assert csv.field_size_limit() == before, error  # while the error and its frames are still alive
    assert csv.field_size_limit() == before


@pytest.mark.fault("A6")
@pytest.mark.parametrize(
    ("data", "where", "reason"),
    [
        (b'text,label\na,x\n"b,y\nc,z\n', 3, "not a valid row (unexpected end of data)"),
        (b'text,label\n"a"b,x\n', 2, "not a valid row (',' expected after '\"')"),
        (b'"text,label\na,x\n', 1, "not a valid header (unexpected end of data)"),
    ],
    ids=["row", "behind a quote", "header"],
)
def test_an_unclosed_quote_is_refused_with_the_line_it_starts_in(tmp_path, data, where, reason):
    message, path = refused_bytes(tmp_path, "x.csv", data)
    assert message == f"{path}:{where}: {reason}. Correct its quotes."


@pytest.mark.fault("A7")
@pytest.mark.parametrize(("row", "count"), [(b"a,b,x", 3), (b"a", 1)])
def test_a_row_of_another_width_is_refused(tmp_path, row, count):
    message, path = refused_bytes(tmp_path, "x.csv", b'text,label\n"two\nlines",x\n' + row + b"\n")
    assert message == f"{path}:4: {count} columns, expected 2 (text, label). Quote texts that hold the separator."


@pytest.mark.fault("A7")
def test_a_column_that_stands_twice_is_refused(tmp_path):
    message, path = refused_bytes(tmp_path, "x.csv", b"text,label,text\na,x,b\n")
    assert message == f"{path}:1: column 'text' appears more than once. Name each column differently."


@pytest.mark.fault("A5")
def test_a_nul_in_csv_is_refused(tmp_path):
    message, path = refused_bytes(tmp_path, "x.csv", b"text,label\na\0,x\n")
    if "control character" in message:
        assert message == f"{path}:2: text has the control character U+0000 at position 1. Remove it."
    else:  # Python 3.10's csv module refuses it itself
        assert message == f"{path}:2: not a valid row (line contains NUL). Correct its quotes."


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_file_that_is_not_parquet_is_refused_in_one_line(tmp_path, data):
    message, path = refused_bytes(tmp_path, "x.parquet", data)
    assert message.startswith(f"{path}: not a Parquet file (")
    assert message.endswith("). Check the format.")
    assert "\n" not in message


@pytest.mark.fault("L6")
def test_integers_and_booleans_are_labels_as_in_csv(tmp_path):
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": [0, 1]}), path)
    assert [example.label for example in read_examples(path)] == ["0", "1"]
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "a", "label": true}\n{"text": "b", "label": -3}\n')
    assert [example.label for example in read_examples(path)] == ["true", "-3"]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_text_pair_in_some_rows_only_is_refused(tmp_path, ending):
    path = write(tmp_path / f"x{ending}", [PAIRS[0], Example("lonely", "b")])
    assert refused(path) == f"{path}:2: no text_pair where other rows have one. Give every row one, or none."


def test_the_example_data_reads_without_a_warning(support_desk):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = read_examples(support_desk.train), read_examples(support_desk.test)
    assert (len(train), len(test)) == (128, 216)
    check_held_out(train, test, "test.jsonl")
