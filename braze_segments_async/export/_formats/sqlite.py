"""SQLite: segments, their tags and sizes as tables, and a full-text index."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from braze_segments_async._support import create_private
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError, ExportError

from .ndjson import FIELDS, replace_surrogates, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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
);
"""
# Made last: filling them in one go is faster. Datasette finds a full-text index by content="segments".
_INDEXES = """
CREATE INDEX segment_tags_tag ON segment_tags (tag);
CREATE VIRTUAL TABLE segments_fts USING fts5(name, description, text_description, content="segments");
INSERT INTO segments_fts (segments_fts) VALUES ('rebuild');
"""
_INSERT_SEGMENT = """
INSERT INTO segments VALUES (
    :id, :name, :description, :text_description, :tags, :teams, :created_at, :updated_at,
    :estimated_size, :estimated_size_updated_at, :analytics_tracking_enabled, :extra
)"""
_INSERT_TAG = "INSERT OR IGNORE INTO segment_tags VALUES (?, ?)"  # the list may name a tag twice
_INSERT_SIZE = "INSERT INTO segment_sizes VALUES (?, ?, ?)"


def check_sqlite() -> None:
    """Check that this Python's SQLite has the full-text index FTS5, before hours of requests.

    Raises:
        ConfigError: FTS5 is missing.
    """
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.Error:
        raise ConfigError("this Python's SQLite lacks FTS5, which the SQLite format needs") from None


def write_sqlite(path: Path, lines: Iterable[bytes]) -> None:
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
            database.executescript(_TABLES)
            database.execute("BEGIN")
            for line in lines:
                _insert(database, json.loads(line))
            database.execute("COMMIT")
            database.executescript(f"BEGIN; {_INDEXES} COMMIT;")
    except sqlite3.Error as error:
        raise ExportError(f"cannot write {escape_control(str(path))}: {error}") from None


def _insert(database: sqlite3.Connection, row: dict[str, Any]) -> None:
    database.execute(_INSERT_SEGMENT, {name: _cell(row[name]) for name in FIELDS})
    for tag in row["tags"]:
        database.execute(_INSERT_TAG, (row["id"], replace_surrogates(tag)))
    for point in row.get("sizes", ()):
        database.execute(_INSERT_SIZE, (row["id"], point["time"], _cell(point["size"])))


def _cell(value: object) -> str | int | float | None:
    if isinstance(value, str):
        return replace_surrogates(value)
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else float(value)
    return to_json(value)
