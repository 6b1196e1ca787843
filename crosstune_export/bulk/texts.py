"""Read only the texts of files, for commands that write no rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crosstune.core.errors import DataError
from crosstune.core.token_layout import Text
from crosstune.rows.sources import Source
from crosstune.rows.windows import read_windows
from crosstune_export.bulk.decode import Columns, decode


def read_texts(sources: Sequence[Source], columns: Columns) -> Iterator[Text]:
    """Yield texts, or pairs of texts, one at a time.

    Args:
        sources: Files, in order.
        columns: Roles of the columns.

    Raises:
        DataError: A source cannot be read, or a row is bad; the message names the row.
        MissingExtraError: A source is Parquet and pyarrow is not installed.
    """
    for source in sources:
        for window in read_windows(source, columns.needed):
            decoded = decode(window, columns)
            if decoded.bad:
                raise DataError(str(decoded.bad[0]))
            yield from decoded.texts
