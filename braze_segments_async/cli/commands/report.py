"""`braze-segments report`: an exported file as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from braze_segments_async._text import escape_control
from braze_segments_async.cli.catalogues import age, open_catalogue
from braze_segments_async.cli.progress import pluralize, print_err
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.errors import ConfigError

__all__ = ["report"]

_STDIN = Path("-")
_File = Annotated[Path, Parameter(allow_leading_hyphen=True)]


def report(
    file: _File,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)],
    previous: _File | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Write an exported file as a page: findings, changes, and all segments with search and filters.

    The page is one HTML file that opens in any current browser, also as an
    attachment. Neither the command nor the page sends a request.

    Exit codes: 0 done, 1 the page cannot be written, 2 wrong use.

    Args:
        file: An exported file: NDJSON, CSV, Parquet or SQLite; - reads NDJSON or CSV from standard input.
        output: The page, such as segments.html.
        previous: An earlier export, in any of these formats: the page shows what has changed since.
        overwrite: Replace an existing file.
        quiet: Print no summary, only errors.
    """
    if file == previous == _STDIN:
        return usage_error("only one of the two files can be standard input")
    try:
        # Read before the event loop starts, which would keep Ctrl-C from a read that waits.
        catalogue = open_catalogue(file)
        earlier = None if previous is None else open_catalogue(previous)
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))

    async def write() -> None:
        from braze_segments_async.catalogue import write_report  # noqa: PLC0415 - --help does without it

        write_report(catalogue, output, earlier, overwrite=overwrite)
        if not quiet:
            for each in filter(None, (earlier, catalogue)):
                if each.partial:
                    print_err(f"braze-segments: {age(each)}")
            print_err(f"{pluralize(len(catalogue.segments), 'segment')} → {escape_control(str(output))}")

    return run(write())
