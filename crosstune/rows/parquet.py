"""Windows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from crosstune.core.errors import DataError, MissingExtraError
from crosstune.rows.header import check_columns, missing_column
from crosstune.rows.sources import STANDARD_INPUT, Source
from crosstune.rows.window import WINDOW_ROWS, Window


def parquet_windows(source: Source, needed: Sequence[str], before_bytes: int) -> Iterator[Window]:
    """As ``windows.read_windows``, for a Parquet file.

    Raises:
        DataError: The file cannot be read, or lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = import_parquet()
    if source.path == STANDARD_INPUT:
        raise DataError(
            "standard input: Parquet, expected lines. Give the path of the file: Parquet files are read from their end."
        )
    try:
        with parquet.ParquetFile(source.path) as file:
            names = list(file.schema_arrow.names)
            check_columns(source.name, names)
            if not set(needed) <= set(names):
                raise DataError(missing_column(source.name, names, needed, source.options))
            first_row, total = 1, max(1, file.metadata.num_rows)
            for stored in file.iter_batches(batch_size=WINDOW_ROWS):
                batch = _without_dictionaries(stored)
                sink = arrow.BufferOutputStream()
                with arrow.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                done = before_bytes + source.size_bytes * (first_row - 1 + batch.num_rows) // total
                yield Window(source, batch=sink.getvalue().to_pybytes(), first_row=first_row, read_bytes=done)
                first_row += batch.num_rows
            if first_row == 1:
                yield Window(source, tuple(names), read_bytes=before_bytes + source.size_bytes)
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(
                f"{source.name}: cannot be read ({error.strerror}), expected a file. Check the path."
            ) from error
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{source.name}: not a Parquet file ({reason}). Check the format.") from error


def _without_dictionaries(batch: Any) -> Any:  # noqa: ANN401
    """Replace categories by their values at any depth, because a single record batch cannot hold a dictionary."""
    for index, field in enumerate(batch.schema):
        kind = plain_type(field.type)
        if kind != field.type:
            batch = batch.set_column(index, field.with_type(kind), batch.column(index).cast(kind))
    return batch


def plain_type(kind: Any, replace: Any = None) -> Any:  # noqa: ANN401
    """Return an Arrow type without dictionaries at any depth.

    Args:
        kind: The type.
        replace: Maps a type that holds no others to the type to put in its place; None to keep it.
    """
    arrow, _ = import_parquet()
    types = arrow.types

    def plain(field: Any) -> Any:  # noqa: ANN401
        return field.with_type(plain_type(field.type, replace))

    if types.is_dictionary(kind):
        return plain_type(kind.value_type, replace)
    if types.is_map(kind):
        return arrow.map_(plain_type(kind.key_type, replace), plain(kind.item_field))
    if types.is_struct(kind):
        return arrow.struct([plain(field) for field in kind])
    if types.is_fixed_size_list(kind):
        return arrow.list_(plain(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return arrow.large_list(plain(kind.value_field))
    if types.is_list(kind):
        return arrow.list_(plain(kind.value_field))
    return kind if replace is None else replace(kind)


def import_parquet() -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtraError: They are not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "pyarrow: not installed, expected for Parquet. Run: pip install 'crosstune-export[parquet]'"
        ) from error
    return pyarrow, parquet
