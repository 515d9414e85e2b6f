"""SQLite: segments, their tags and sizes as tables, and a full-text index."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING

from braze_segments_async._support import create_private
from braze_segments_async._text import escape_control
from braze_segments_async.catalogue import PROVENANCE, format_provenance, provenance_to_dict
from braze_segments_async.errors import ConfigError, ExportError

from .ndjson import FIELDS, replace_surrogates, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from braze_segments_async.catalogue import Provenance

__all__ = ["check_sqlite", "write_sqlite"]

_TABLES = """
CREATE TABLE segments (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    description TEXT,
    text_description TEXT,
    tags TEXT NOT NULL,
    teams TEXT NOT NULL,
    created_at TEXT,
    updated_at TEXT,
    estimated_size INTEGER,
    estimated_size_updated_at TEXT,
    analytics_tracking_enabled INTEGER,
    extra TEXT NOT NULL
);
CREATE TABLE segment_tags (
    segment_id TEXT NOT NULL REFERENCES segments (id),
    tag TEXT NOT NULL,
    PRIMARY KEY (segment_id, tag)
);
CREATE TABLE segment_sizes (
    segment_id TEXT NOT NULL REFERENCES segments (id),
    time TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (segment_id, time)
) WITHOUT ROWID;
"""
# All about the export as one JSON text, and each value by itself.
_EXPORT = "CREATE TABLE export (name TEXT NOT NULL PRIMARY KEY, value TEXT)"
# Made last: filling them in one go is faster. Datasette finds a full-text index by content="segments".
_INDEXES = """
CREATE INDEX segment_tags_tag ON segment_tags (tag);
CREATE VIRTUAL TABLE segments_fts USING fts5(
    name, description, text_description, tags, content="segments"
);
INSERT INTO segments_fts (segments_fts) VALUES ('rebuild');
CREATE VIEW stale_segments AS
    SELECT id, name, updated_at,
           CAST(julianday('now') - julianday(updated_at) AS INTEGER) AS days_since_edit
    FROM segments WHERE julianday(updated_at) < julianday('now') - 365 ORDER BY julianday(updated_at);
CREATE VIEW duplicate_filters AS
    SELECT description, count(*) AS segments, json_group_array(id) AS ids, json_group_array(name) AS names
    FROM segments WHERE trim(description) <> '' GROUP BY description HAVING count(*) > 1
    ORDER BY count(*) DESC, description;
CREATE VIEW untagged_segments AS
    SELECT id, name, created_at, updated_at FROM segments WHERE tags = '[]';
CREATE VIEW size_trend AS
    SELECT id, name, first.time AS first_day, first.size AS first_size, last.time AS last_day,
           last.size AS last_size, last.size - first.size AS change,
           round(100.0 * (last.size - first.size) / nullif(first.size, 0), 1) AS change_percent
    FROM (SELECT segment_id, min(time) AS first_day, max(time) AS last_day
          FROM segment_sizes GROUP BY segment_id) AS days
    JOIN segments ON id = days.segment_id
    JOIN segment_sizes AS first ON first.segment_id = id AND first.time = days.first_day
    JOIN segment_sizes AS last ON last.segment_id = id AND last.time = days.last_day;
"""
_INSERT_SEGMENT = f"INSERT INTO segments VALUES ({', '.join('?' * len(FIELDS))})"  # noqa: S608 - marks only
_INSERT_TAG = "INSERT OR IGNORE INTO segment_tags VALUES (?, ?)"  # the list may name a tag twice
_INSERT_SIZE = "INSERT INTO segment_sizes VALUES (?, ?, ?)"
_EMPTY = {"tags": "[]", "teams": "[]", "extra": "{}"}
_BATCH = 100  # rows, parsed and inserted together: one by one takes half as long again
_CACHE = 16_384  # KiB; ids are in no order, so every insert changes another page of the index


def check_sqlite() -> None:
    """Check that this Python's SQLite has the full-text index FTS5, before the first request.

    Raises:
        ConfigError: FTS5 is missing.
    """
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.Error:
        raise ConfigError("this Python's SQLite lacks FTS5, which the SQLite format needs") from None


def write_sqlite(path: Path, lines: Iterable[bytes], *, provenance: Provenance | None = None) -> None:
    """Write lines of NDJSON as a database.

    Raises:
        ExportError: SQLite failed.
    """
    create_private(path, 0o666).close()  # SQLite would follow a link that somebody has put there
    name = os.path.abspath(path)  # noqa: PTH100 - "file:x?y" would be a URI, ":memory:" no file
    try:
        with closing(sqlite3.connect(name, isolation_level=None)) as database:
            # The file is renamed when it is complete and synced: SQLite need not be careful, too.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(f"PRAGMA cache_size = -{_CACHE}")
            database.executescript(_TABLES)
            database.execute("BEGIN")
            if provenance is not None:
                database.execute(_EXPORT)
                values = {PROVENANCE: format_provenance(provenance), **provenance_to_dict(provenance)}
                rows = [
                    (name, value if isinstance(value, str) else to_json(value))
                    for name, value in values.items()
                ]
                database.executemany("INSERT INTO export VALUES (?, ?)", rows)
            rest = iter(lines)
            while batch := list(islice(rest, _BATCH)):
                _insert(database, batch)
            database.execute("COMMIT")
            database.executescript(f"BEGIN; {_INDEXES} COMMIT;")
    except sqlite3.Error as error:
        raise ExportError(f"cannot write {escape_control(str(path))}: {error}") from None


def _insert(database: sqlite3.Connection, lines: list[bytes]) -> None:
    text = b",".join(lines)
    escaped = b"\\u" in text  # without it, no line holds a lone surrogate: see `to_json_line`
    segments, tags, sizes = [], [], []
    for row in json.loads(b"[%b]" % text):
        row_tags, row_sizes = row["tags"], row.pop("sizes", ())
        for name, empty in _EMPTY.items():
            row[name] = to_json(row[name]) if row[name] else empty
        row["estimated_size"] = _number(row["estimated_size"])
        cells = row.values()
        if escaped:
            cells = [replace_surrogates(cell) if isinstance(cell, str) else cell for cell in cells]
            row_tags = map(replace_surrogates, row_tags)
        segments.append(tuple(cells))
        segment_id = segments[-1][0]
        tags += [(segment_id, tag) for tag in row_tags]
        sizes += [(segment_id, point["time"], _number(point["size"])) for point in row_sizes]
    database.executemany(_INSERT_SEGMENT, segments)
    database.executemany(_INSERT_TAG, tags)
    database.executemany(_INSERT_SIZE, sizes)


def _number(value: float | None) -> float | None:
    """Return a number that SQLite can hold; an integer of more than 64 bits becomes a float."""
    return value if value is None or -(2**63) <= value < 2**63 else float(value)
