"""`read_catalogue`: read an exported file, and the list of failed segments beside it."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from braze_segments_async._support import failures_of
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

from ._rows import read_text, to_text
from ._values import Catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader

    from ._values import CatalogueSegment, Provenance

__all__ = ["read_catalogue", "read_failures"]

_SQLITE = b"SQLite format 3\0"
_PARQUET = b"PAR1"


def read_catalogue(path: str | os.PathLike[str]) -> Catalogue:
    """Read an exported file: NDJSON, CSV, Parquet or SQLite.

    The format is recognised by the content, so the name of the file does not matter. The output of the
    command `list` can be read, too. Parquet needs DuckDB: `pip install "braze-segments-async[parquet]"`.

    Args:
        path: The file. If there is a list of failed segments beside it, it is read, too.

    Returns:
        All segments of the file, in its order.

    Raises:
        ConfigError: The file cannot be read, or is not an export; the message names the segment in question.
    """
    path = Path(path)
    shown = escape_control(str(path))
    try:
        with path.open("rb") as file:
            modified_at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            segments, provenance = _read(file, path, shown)
    except (OSError, ValueError) as error:  # a ValueError: the path has a NUL character
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from None
    return Catalogue(
        path=path,
        segments=segments,
        failed=read_failures(path),
        provenance=provenance,
        modified_at=modified_at,
    )


def _read(
    file: BufferedReader, path: Path, shown: str
) -> tuple[tuple[CatalogueSegment, ...], Provenance | None]:
    start = file.peek(len(_SQLITE))
    if start.startswith(_SQLITE):
        from ._sqlite import read_sqlite  # noqa: PLC0415 - rarely needed

        return read_sqlite(path, shown)
    if start.startswith(_PARQUET):
        from ._parquet import read_parquet  # noqa: PLC0415

        return read_parquet(path, shown)
    if start.startswith(b"PK"):
        raise ConfigError(f"{shown} is a workbook, which is for people: use an export in another format")
    return read_text(file, shown), None


def read_failures(path: Path) -> Mapping[str, str]:
    """Return the ids and error messages in the list of failed segments beside an export, if there is one.

    Raises:
        ConfigError: The list cannot be read, or is not a list of failed segments.
    """
    failed: dict[str, str] = {}
    number = 0
    # Beside the file that a link leads to, as an export writes it.
    failures = failures_of(Path(os.path.realpath(path)))
    shown = escape_control(str(failures))
    try:
        with failures.open("rb") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - for the message
                failure = json.loads(line)
                failed[to_text(failure["segment_id"])] = to_text(failure.get("message", ""))
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
            return failed
        raise ConfigError(f"cannot read {shown}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError(f"{shown}: line {number:,} does not name a failed segment") from None
    return failed
