"""The formats: which one a file gets, and who writes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from braze_segments_async._arguments import check_choice
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FORMATS", "FileFormat", "Format", "format_of"]

Format = Literal["ndjson", "csv", "parquet", "sqlite"]
FORMATS = ("ndjson", "csv", "parquet", "sqlite")
_SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".sqlite": "sqlite",
    ".db": "sqlite",
}


def format_of(path: Path, chosen: Format | None = None) -> Format:
    """The format that was chosen, or else the one the suffix stands for.

    Raises:
        ConfigError: there is no such format, or the suffix stands for none.
    """
    if chosen is not None:
        check_choice("format", chosen, FORMATS)
        return chosen
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise ConfigError(
            f"{escape_control(path.name)!r}: the suffix names no format; use one of {known}, or format="
        )
    return _SUFFIXES[suffix]


@frozen(kw_only=True)
class FileFormat:
    """What a file is to look like.

    Attributes:
        format: one of `FORMATS`.
        csv_safe: defuse what a spreadsheet would take for a formula; CSV only.
        sizes: days of size history each segment comes with; `None` for no history.
    """

    format: Format
    csv_safe: bool = False
    sizes: int | None = None

    def check(self) -> None:
        """Find out what cannot work before anything is asked of Braze.

        Raises:
            ConfigError: an option that is not for this format, or a package is missing that it needs.
        """
        if self.csv_safe and self.format != "csv":
            raise ConfigError(f"csv_safe is for CSV, and this export is {self.format}")
        if self.format == "parquet":
            from ._formats.parquet import check_parquet  # noqa: PLC0415 - one format needs one writer

            check_parquet()
        elif self.format == "sqlite":
            from ._formats.sqlite import check_sqlite  # noqa: PLC0415

            check_sqlite()

    def check_path(self, path: Path) -> None:
        """Refuse a path that the format's library cannot open, before anything is asked of Braze.

        Raises:
            ConfigError: DuckDB opens only paths in UTF-8.
        """
        try:
            os.path.abspath(path).encode()  # noqa: PTH100 - text, as the writers give it to their libraries
        except UnicodeEncodeError:
            if self.format == "parquet":
                raise ConfigError(
                    f"{escape_control(str(path))} is not in UTF-8: Parquet needs a path that is"
                ) from None

    def write(self, path: Path, lines: Iterable[bytes]) -> None:
        """Write lines of NDJSON to a file in this format.

        Raises:
            ExportError: the format's library could not.
            OSError: the file system could not.
        """
        match self.format:
            case "ndjson":
                from ._formats.ndjson import write_ndjson  # noqa: PLC0415

                write_ndjson(path, lines)
            case "csv":
                from ._formats.csv import write_csv  # noqa: PLC0415

                write_csv(path, lines, sizes=self.sizes is not None, safe=self.csv_safe)
            case "parquet":
                from ._formats.parquet import write_parquet  # noqa: PLC0415

                write_parquet(path, lines, sizes=self.sizes is not None)
            case "sqlite":
                from ._formats.sqlite import write_sqlite  # noqa: PLC0415

                write_sqlite(path, lines)
