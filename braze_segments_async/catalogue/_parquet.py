"""Read an exported Parquet file with DuckDB."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from braze_segments_async.errors import ConfigError

from ._provenance import PROVENANCE, parse_provenance
from ._rows import parse_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ._values import CatalogueSegment, Provenance

__all__ = ["read_parquet"]

_TIMES = ("created_at", "updated_at", "estimated_size_updated_at")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_parquet(path: Path, shown: str) -> tuple[tuple[CatalogueSegment, ...], Provenance | None]:
    """Return the segments of a Parquet file, and where they come from."""
    try:
        import duckdb  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise ConfigError('Parquet needs DuckDB: pip install "braze-segments-async[parquet]"') from None
    # DuckDB finds patterns and a home directory in a path.
    name = {"path": re.sub(r"([*?[])", r"[\1]", os.path.abspath(path))}  # noqa: PTH100
    # Times as numbers: as times with a zone, they need another package.
    times = ", ".join(f"epoch_us({column}) AS {column}" for column in _TIMES)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(":memory:", config=settings) as database:
            query = "SELECT value FROM parquet_kv_metadata($path) WHERE key = $key"
            found = database.execute(query, name | {"key": PROVENANCE}).fetchone()
            query = f"SELECT * EXCLUDE (extra) REPLACE ({times}) FROM read_parquet($path)"  # noqa: S608
            table = database.execute(query, name)
            names = [column[0] for column in table.description or ()]
            return parse_rows(_rows(names, table), shown), parse_provenance(found)
    except (duckdb.Error, UnicodeEncodeError) as error:
        line = str(error).partition("\n")[0]
        raise ConfigError(f"{shown} is not an export: {line}") from None


def _rows(names: list[str], table: Any) -> Iterator[dict[str, Any]]:
    while rows := table.fetchmany(1_000):
        for row in rows:
            values = dict(zip(names, row, strict=True))
            for column in _TIMES:
                if values[column] is not None:
                    values[column] = _EPOCH + timedelta(microseconds=values[column])
            yield values
