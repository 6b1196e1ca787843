"""How to read a file of rows: its columns, delimiter, encoding and format."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from crosstune.core.errors import ConfigError

#: ``json`` is an array of objects, or JSON Lines; ``text`` is one text per line.
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "xlsx", "text")
AUTO = "auto"


@dataclass(frozen=True)
class ReadOptions:
    r"""How to read a file of rows.

    Examples:
        >>> ReadOptions(text_column="Message", label_column="Topic", delimiter="tab").delimiter
        '\t'

    Attributes:
        text_column: Column of the text, or of the first text of a pair.
        label_column: Column of the label.
        pair_column: Column of the second text of a pair.
        delimiter: Character between the fields of CSV and TSV, or ``tab``; None to recognise it by the header.
        encoding: Name of a text encoding, such as ``cp1252``; None for UTF-8 or UTF-16. A byte order mark takes precedence.
        input_format: One of ``FORMATS``, or ``auto`` for the format of the file's ending.

    Raises:
        ConfigError: The delimiter, the encoding or the format is unknown, or one column has two roles.
    """

    text_column: str = "text"
    label_column: str = "label"
    pair_column: str = "text_pair"
    delimiter: str | None = None
    encoding: str | None = None
    input_format: str = AUTO

    def __post_init__(self) -> None:
        if self.input_format not in (AUTO, *FORMATS):
            raise ConfigError(
                f"--input-format: found {self.input_format!r}, expected one of {', '.join((AUTO, *FORMATS))}."
            )
        if self.delimiter is not None:
            object.__setattr__(self, "delimiter", {"tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter))
            if len(self.delimiter) != 1 or self.delimiter in '"\r\n\0':
                raise ConfigError(
                    f"--delimiter: found {self.delimiter!r}, expected one character such as ';', or tab. Correct it."
                )
        if self.encoding is not None and not _is_text_encoding(self.encoding):
            raise ConfigError(
                f"--encoding: found {self.encoding!r}, expected the name of a text encoding, such as utf-8, utf-16 or cp1252."
            )
        if len({self.text_column, self.label_column, self.pair_column}) < 3:
            raise ConfigError(
                f"--text-column, --label-column, --pair-column: found {self.text_column}, {self.label_column} and "
                f"{self.pair_column}, expected three names. Give each its own column."
            )


#: Everything recognised, with the usual column names.
DEFAULT_READING = ReadOptions()


#: Codecs of Python that encode parts of texts, not files.
_NOT_OF_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")


def _is_text_encoding(name: str) -> bool:
    try:
        codec = codecs.lookup(name)
        return codec._is_text_encoding and codec.name.replace("_", "-") not in _NOT_OF_FILES
    except (LookupError, ValueError):
        return False
