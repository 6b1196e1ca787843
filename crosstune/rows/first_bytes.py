"""What the first bytes of a file say: a binary format under a wrong name, or the encoding of its text."""

from __future__ import annotations

import codecs
import re
import warnings

from crosstune.core.errors import CrossTuneWarning, DataError

GZIP = b"\x1f\x8b"
#: First bytes → what the file is, and what to do with it. ``{path}`` is its path.
_BINARY = (
    (b"PAR1", "a Parquet file", "Give --input-format parquet."),
    (b"ARROW1", "an Arrow file", "Write it as Parquet."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save it as .xlsx or CSV."),
    (b"BZh", "a bzip2 file", "Run: bunzip2 {path}"),
    (b"\xfd7zXZ\0", "an xz file", "Run: unxz {path}"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "Run: unzstd {path}"),
    (b"%PDF", "a PDF file", "Save its texts as CSV."),
    (b"SQLite format 3\0", "an SQLite database", "Export the table as CSV."),
)
_ZIP = b"PK\x03\x04"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WORD = re.compile(r'[^\s,;|"]+')
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def refuse_binary(head: bytes, name: str, file_format: str) -> None:
    """Name a binary file by its first bytes.

    Args:
        head: First bytes of the file.
        name: Its name in messages.
        file_format: The format that it was expected to have.

    Raises:
        DataError: It is one that cannot be read as text.
    """
    known = list(_BINARY)
    if head.startswith(_ZIP):
        is_excel = b"[Content_Types].xml" in head or b"xl/" in head or b"_rels/.rels" in head
        known.append(
            (_ZIP, "an Excel workbook", "Give --input-format xlsx.")
            if is_excel
            else (_ZIP, "a zip archive", "Run: unzip {path}")
        )
    for start, kind, advice in known:
        if head.startswith(start):
            raise DataError(f"{name}: is {kind}, expected {file_format}. {advice.format(path=name)}")


def encoding_of(head: bytes, given: str | None, name: str) -> tuple[str, int]:
    """Return the encoding of a text file, and the bytes of its byte order mark.

    UTF-16 without a mark is recognised by its zero bytes, which no other text may have. Everything else is UTF-8 unless
    another encoding is given: no bytes tell apart the many encodings of 8 bits.

    Args:
        head: First bytes of the file.
        given: Encoding that the user named, or None.
        name: Name of the file in messages.
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    if given is None:
        return _unmarked(head), 0
    canonical = codecs.lookup(given).name
    if canonical in ("utf-8", "utf-8-sig"):
        return "utf-8", 0
    if canonical in ("utf-16", "utf-32"):  # without a mark Python would take the byte order of this machine
        unmarked = _unmarked(head)
        return (unmarked if unmarked != "utf-8" else f"{canonical}-le"), 0
    if not head.isascii() and not canonical.startswith("utf-") and _is_utf8(head):
        warnings.warn(
            CrossTuneWarning(f"{name}: looks like UTF-8, read as {given} because --encoding says so."), stacklevel=2
        )
    return canonical, 0


def encoding_advice(row: bytes) -> str:
    """Say what to do with a row that is not UTF-8; shows how it would read as Windows-1252 if its bytes look like that."""
    high = sum(byte >= 0x80 for byte in row)
    try:
        text = row.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or 2 * high > sum(character.isalpha() for character in text):
        return (
            "Give its encoding, for example --encoding cp1251, --encoding shift_jis or --encoding gb18030, "
            "or save the file as UTF-8."
        )
    first = next(i for i, byte in enumerate(row) if byte >= 0x80)
    word = next(match for match in _WORD.finditer(text) if match.end() > first)
    shown = text[max(word.start(), first - 20) : min(word.end(), first + 20)]
    return (
        f"It looks like Windows-1252, which reads {shown!r} there: give --encoding cp1252, or save the file as UTF-8."
    )


def _unmarked(head: bytes) -> str:
    zeros = [i for i, byte in enumerate(head) if byte == 0]
    if not zeros or len({i % 2 for i in zeros}) > 1:
        return "utf-8"
    encoding = "utf-16-le" if zeros[0] % 2 else "utf-16-be"
    try:
        text = head[: len(head) // 2 * 2].decode(encoding)
    except UnicodeDecodeError as error:
        if len(head) - error.start > 3:  # not a pair of surrogates that the end of the sample cuts
            return "utf-8"
        text = head[: error.start].decode(encoding)
    if _CONTROL.search(text):
        return "utf-8"
    line_ends = head.count(b"\n")
    is_wide = 2 * text.count("\n") > line_ends if line_ends else 4 * len(zeros) > len(head)
    return encoding if is_wide else "utf-8"


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(head) - error.start < 4  # a character that the end of the sample cuts
    return True
