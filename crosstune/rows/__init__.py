"""One way to read rows: JSON Lines, JSON arrays, CSV, TSV, Parquet, Excel and lines of text, for every command."""
