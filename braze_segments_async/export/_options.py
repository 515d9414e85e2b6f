"""`ExportOptions`: the options of an export, for the library, the command, workspaces and FastAPI alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from braze_segments_async._arguments import (
    CONSISTENCIES,
    FORMATS,
    check_choice,
    check_integer,
    check_seconds,
)
from braze_segments_async._settings import RetryPolicy, check_retry
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

from ._formats import check_library

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async._arguments import Consistency, Format

__all__ = ["RESUME_WITHIN", "ExportOptions", "format_of", "parse_duration"]

# Seconds: half a day, so that a nightly export never continues that of another night.
RESUME_WITHIN = 43_200.0

_SUFFIXES: dict[str, Format] = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".parquet": "parquet",
    ".sqlite": "sqlite",
    ".db": "sqlite",
    ".html": "html",
    ".xlsx": "xlsx",
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


@frozen(kw_only=True)
class ExportOptions:
    """The options of an export, checked when they are made.

    Attributes:
        format: "ndjson", "csv", "parquet", "sqlite", "html" or "xlsx".
        consistency: How the list is read; see `BrazeSegments.list`.
        concurrency: Maximum number of requests in flight, for each workspace.
        resume: Continue from the journal of an interrupted export, if there is one. With `resume` and without
            `overwrite`, `export_workspace` skips a workspace whose file is finished.
        resume_within: Seconds from the last row within which a journal may be resumed, 12 hours by default;
            several pauses add up. An older journal is refused or, with `overwrite` too, discarded: `resume`
            and `overwrite` together are right for a job that runs every night.
        overwrite: Replace an existing file when the export is complete. Start afresh, unless `resume` is
            given too and the journal is recent enough.
        allow_partial: Write the file although some segments could not be fetched.
        csv_safe: Put an apostrophe before text that a spreadsheet would evaluate as a formula; CSV only.
        excel: Write CSV for Excel: with a byte order mark, times in UTC as Excel reads them, and `csv_safe`.
        sizes: Days of size history to add to each segment; `None` for no history.
        retry: The retry policy of a client that is opened for the export, as `export_workspace` does.

    Raises:
        ConfigError: An argument is wrong, or a package is missing that the format needs.
    """

    format: Format = "ndjson"
    consistency: Consistency = "safe"
    concurrency: int = 16
    resume: bool = False
    resume_within: float = RESUME_WITHIN
    overwrite: bool = False
    allow_partial: bool = False
    csv_safe: bool = False
    excel: bool = False
    sizes: int | None = None
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009 - frozen

    def __attrs_post_init__(self) -> None:
        check_choice("format", self.format, FORMATS)
        check_choice("consistency", self.consistency, CONSISTENCIES)
        check_integer("concurrency", self.concurrency, at_least=1)
        check_seconds("resume_within", self.resume_within)
        if self.sizes is not None:
            check_integer("sizes", self.sizes, at_least=1)
        check_retry(self.retry)
        for name in ("csv_safe", "excel"):
            if getattr(self, name) and self.format != "csv":
                raise ConfigError(f"is for CSV, and this export is {self.format}", argument=name)
        check_library(self.format)


def format_of(path: Path, chosen: Format | None = None) -> Format:
    """Return the chosen format, or else the format that the suffix of a file stands for.

    Raises:
        ConfigError: No format was chosen, and the suffix stands for none.
    """
    if chosen is not None:
        return chosen
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise ConfigError(
            f"{escape_control(path.name)!r}: the suffix names no format; use one of {known}",
            remedy={"format=": "chooses a format for any suffix"},
        )
    return _SUFFIXES[suffix]


def parse_duration(name: str, text: str) -> float:
    """Return the seconds of a duration such as "90", "30m", "12h" or "1.5d".

    Args:
        name: The argument, for the message.
        text: A number with or without a unit: s, m, h or d. No message shows the text: it may be a key.

    Raises:
        ConfigError: The text has another form.
    """
    parts = _DURATION.fullmatch(text)
    if parts is None:
        problem = "must be a number of seconds, or a number with s, m, h or d, such as 12h"
        raise ConfigError(problem, argument=name)
    return float(parts[1]) * _UNITS[parts[2]]
