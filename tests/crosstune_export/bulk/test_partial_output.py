"""What a power failure can leave: the journal never promises rows that are not on the disk."""

from __future__ import annotations

import os

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
