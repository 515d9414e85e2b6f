"""The number of segments in a finished file."""

from __future__ import annotations

import csv
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from braze_segments_async._support import file_errors

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async._arguments import Format

__all__ = ["count_rows"]


def count_rows(path: Path, format: Format) -> int:  # noqa: A002 - as in `ExportOptions`
    """Return the number of segments in a finished file of an export.

    Raises:
        ExportError: The file cannot be read.
    """
    found: tuple[int, ...] | None
    with file_errors(path):
        if format == "parquet":
            import duckdb  # noqa: PLC0415 - an extra

            with closing(duckdb.connect()) as database:
                found = database.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone()
        elif format == "sqlite":
            with closing(sqlite3.connect(path)) as database:
                found = database.execute("SELECT count(*) FROM segments").fetchone()
        else:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                found = (sum(1 for _ in csv.reader(lines)) - 1 if format == "csv" else sum(1 for _ in lines),)
    return found[0] if found else 0
