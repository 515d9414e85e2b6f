"""The writers of the file formats. Each is imported when its format is used: some need an extra package."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from braze_segments_async._arguments import Format
    from braze_segments_async.catalogue import Provenance

__all__ = ["check_library", "check_path", "write_rows"]


def check_library(format: Format) -> None:  # noqa: A002 - the word of the public API
    """Check that the library a format needs is installed, before the first request.

    Raises:
        ConfigError: The library is missing.
    """
    if format == "parquet":
        from .parquet import check_parquet  # noqa: PLC0415

        check_parquet()
    elif format == "sqlite":
        from .sqlite import check_sqlite  # noqa: PLC0415

        check_sqlite()
    elif format == "xlsx":
        from .xlsx import check_xlsx  # noqa: PLC0415

        check_xlsx()


def check_path(format: Format, path: Path) -> None:  # noqa: A002
    """Check that the library of a format can open a path.

    Raises:
        ConfigError: DuckDB, which writes Parquet, opens only paths in UTF-8.
    """
    if format != "parquet":
        return
    try:
        os.path.abspath(path).encode()  # noqa: PTH100 - text, as the writer passes it to DuckDB
    except UnicodeEncodeError:
        raise ConfigError(
            f"{escape_control(str(path))} is not in UTF-8; Parquet needs a path that is"
        ) from None


def write_rows(
    path: Path,
    lines: Iterable[bytes],
    format: Format,  # noqa: A002
    *,
    sizes: bool = False,
    csv_safe: bool = False,
    excel: bool = False,
    provenance: Provenance | None = None,
) -> None:
    """Write segments to a new file.

    Args:
        path: The file.
        lines: One segment each, as NDJSON; see `to_json_line`.
        format: The format of the file.
        sizes: Whether each line has the size history.
        csv_safe: Whether to put an apostrophe before text that a spreadsheet would evaluate as a formula.
        excel: Whether to write CSV for Excel.
        provenance: Where the file comes from, for the formats that have a place for it.

    Raises:
        ExportError: The library of the format failed.
        OSError: The file system failed.
    """
    match format:
        case "ndjson":
            from .ndjson import write_ndjson  # noqa: PLC0415

            write_ndjson(path, lines)
        case "csv":
            from .csv import write_csv  # noqa: PLC0415

            write_csv(path, lines, sizes=sizes, safe=csv_safe, excel=excel)
        case "parquet":
            from .parquet import write_parquet  # noqa: PLC0415

            write_parquet(path, lines, sizes=sizes, provenance=provenance)
        case "sqlite":
            from .sqlite import write_sqlite  # noqa: PLC0415

            write_sqlite(path, lines, provenance=provenance)
        case "html":
            from .html import write_html  # noqa: PLC0415

            write_html(path, lines, provenance=provenance)
        case "xlsx":
            from .xlsx import write_xlsx  # noqa: PLC0415

            write_xlsx(path, lines, sizes=sizes, provenance=provenance)
