"""What a power failure can leave: the journal never promises rows that are not on the disk."""

from __future__ import annotations

import os

import pytest

from crosstune.core.errors import OutputExistsError
from crosstune_export.bulk import partial_output
from crosstune_export.bulk.partial_output import PartialOutput


def test_rows_are_on_the_disk_before_the_journal_counts_them(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, partial_output.new_file
    monkeypatch.setattr(os, "fsync", lambda number: events.append("sync") or sync(number))
    monkeypatch.setattr(
        partial_output, "new_file", lambda path, *rest: events.append("journal") or replace(path, *rest)
    )
    with PartialOutput(tmp_path / "x.jsonl", None, {}, resume=False, force=False, parquet=False) as output:
        output.begin(b"")
        events.clear()
        output.commit()
        assert events[:2] == ["sync", "journal"]
        output.finish()


@pytest.mark.parametrize("name", ["x.jsonl.partial", "bad.jsonl.partial"])
def test_only_an_empty_file_without_a_journal_is_replaced(tmp_path, name):
    """A run that is killed before its first rows leaves one; a file with contents may be somebody's."""

    def start():
        return PartialOutput(tmp_path / "x.jsonl", tmp_path / "bad.jsonl", {}, resume=False, force=False, parquet=False)

    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(OutputExistsError, match=f"{name}: exists without a journal"):
        start()
    (tmp_path / name).write_bytes(b"")
    with start() as output:
        output.begin(b"")
        output.finish()
    assert (tmp_path / "x.jsonl").read_bytes() == b""
