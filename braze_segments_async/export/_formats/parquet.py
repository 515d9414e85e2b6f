"""Parquet, typed, through DuckDB, which is imported when it is needed."""

from __future__ import annotations

import json
import os
import re
from shutil import rmtree
from typing import TYPE_CHECKING, Any

from braze_segments_async._support import create_private
from braze_segments_async._text import escape_control
from braze_segments_async.catalogue import PROVENANCE, format_provenance
from braze_segments_async.errors import ConfigError, ExportError

from .ndjson import replace_surrogates, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from braze_segments_async.catalogue import Provenance

__all__ = ["check_parquet", "write_parquet"]

_TYPES = {
    "id": "VARCHAR",
    "name": "VARCHAR",
    "description": "VARCHAR",
    "text_description": "VARCHAR",
    "tags": "VARCHAR[]",
    "teams": "VARCHAR[]",
    "created_at": "TIMESTAMP WITH TIME ZONE",
    "updated_at": "TIMESTAMP WITH TIME ZONE",
    "estimated_size": "BIGINT",
    "estimated_size_updated_at": "TIMESTAMP WITH TIME ZONE",
    "analytics_tracking_enabled": "BOOLEAN",
    "extra": "VARCHAR",
}
_SIZES = {"sizes": "STRUCT(time DATE, size BIGINT)[]"}
# One thread: the same rows give the same bytes. No extension is ever fetched from the network.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_ROW_GROUP = 2_048  # rows held in memory at a time, when they are written
_PIECE = 2 * 2**20  # bytes, when they are read


def check_parquet() -> None:
    """Check that DuckDB is installed, before the first request.

    Raises:
        ConfigError: DuckDB is missing.
    """
    try:
        import duckdb  # noqa: F401, PLC0415 - an extra, and slow to import
    except ImportError:
        raise ConfigError('Parquet needs DuckDB: pip install "braze-segments-async[parquet]"') from None


def write_parquet(
    path: Path, lines: Iterable[bytes], *, sizes: bool, provenance: Provenance | None = None
) -> None:
    """Write lines of NDJSON as Parquet, with a temporary folder of rows beside the file.

    Raises:
        ExportError: DuckDB failed.
    """
    import duckdb  # noqa: PLC0415 - see above

    folder = path.with_name(f"{path.name}.rows")
    types = _TYPES | _SIZES if sizes else _TYPES
    columns = ", ".join(f"{name}: '{kind}'" for name, kind in types.items())
    # DuckDB takes no parameter there.
    text = "" if provenance is None else format_provenance(provenance).replace("'", "''")
    metadata = f", KV_METADATA {{{PROVENANCE}: '{text}'}}" if text else ""
    folder.mkdir(0o700)
    try:
        create_private(path, 0o666).close()  # DuckDB would follow a link that somebody has put there
        pieces, longest = _write_pieces(folder, lines)
        with duckdb.connect(":memory:", config=_SETTINGS) as database:
            database.execute(
                f"""COPY (FROM read_json($rows, format = 'newline_delimited', columns = {{{columns}}},
                                         maximum_object_size = {longest}, hive_partitioning = false))
                    TO $path (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {_ROW_GROUP},
                              USE_TMP_FILE false{metadata})""",
                {"rows": pieces, "path": os.path.abspath(path)},  # noqa: PTH100 - "~" would be the home directory
            )
    except duckdb.Error as error:
        raise ExportError(f"cannot write {escape_control(str(path))}: {error}") from None
    finally:
        rmtree(folder, ignore_errors=True)


def _write_pieces(folder: Path, lines: Iterable[bytes]) -> tuple[list[str], int]:
    """Write the rows for DuckDB to read; return the files in order, and the size of the largest in bytes."""
    names, longest = [], 0
    for number, piece in enumerate(_pieces(lines)):
        file = folder / f"{number}.ndjson"
        file.write_bytes(piece)
        names.append(_escape_pattern(file))
        longest = max(longest, len(piece))
    return names, longest


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield many rows at a time, since DuckDB reads a large file in large buffers; at least one piece."""
    piece = bytearray()
    for line in lines:
        row = {name: _value(name, value) for name, value in json.loads(line).items()}
        piece += (to_json(row) + "\n").encode()
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _escape_pattern(path: Path) -> str:
    """Return a path in which DuckDB finds no pattern and no home directory."""
    return re.sub(r"([*?[])", r"[\1]", os.path.abspath(path))  # noqa: PTH100


def _value(name: str, value: Any) -> object:
    match name:
        case "extra":  # as text: its keys are Braze's, and differ from row to row
            return to_json(value)
        case "tags" | "teams":
            return [replace_surrogates(text) for text in value]
        case "estimated_size":
            return None if value is None else round(value)
        case "sizes":
            return [{"time": point["time"], "size": round(point["size"])} for point in value]
    return replace_surrogates(value) if isinstance(value, str) else value
