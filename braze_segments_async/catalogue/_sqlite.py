"""Read an exported SQLite file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from braze_segments_async.errors import ConfigError

from ._provenance import PROVENANCE, parse_provenance
from ._rows import parse_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._values import CatalogueSegment, Provenance

__all__ = ["read_sqlite"]


def read_sqlite(path: Path, shown: str) -> tuple[tuple[CatalogueSegment, ...], Provenance | None]:
    """Return the segments of a database, and where they come from."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}
            provenance = None
            if "export" in tables:
                query = "SELECT value FROM export WHERE name = ?"
                provenance = parse_provenance(database.execute(query, (PROVENANCE,)).fetchone())
            return parse_rows(_rows(database), shown), provenance
    except sqlite3.Error as error:
        raise ConfigError(f"{shown} is not an export: {error}") from None


def _rows(database: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    points = database.execute("SELECT segment_id, time, size FROM segment_sizes ORDER BY 1, 2").fetchall()
    sizes: dict[str, list[dict[str, Any]]] = {}
    for segment_id, day, size in points:
        sizes.setdefault(segment_id, []).append({"time": day, "size": size})
    database.row_factory = sqlite3.Row
    for row in database.execute("SELECT * FROM segments ORDER BY rowid"):
        values = dict(row)
        tracking = values["analytics_tracking_enabled"]
        yield values | {
            "tags": json.loads(values["tags"]),
            "teams": json.loads(values["teams"]),
            "analytics_tracking_enabled": None if tracking is None else bool(tracking),
            **({"sizes": sizes.get(values["id"], [])} if points else {}),
        }
