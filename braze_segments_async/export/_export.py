"""`export_segments`: every segment of a workspace into one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from braze_segments_async._arguments import (
    CONSISTENCIES,
    check_callback,
    check_choice,
    check_integer,
    check_seconds,
)
from braze_segments_async.errors import ConfigError

from ._destination import locked_destination, resolved
from ._durations import RESUME_WITHIN
from ._options import FileFormat, format_of
from ._run import ExportRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async._arguments import Consistency
    from braze_segments_async._client import BrazeSegments

    from ._options import Format
    from ._results import ExportProgress, ExportResult

__all__ = ["export_segments"]


async def export_segments(
    client: BrazeSegments,
    destination: str | os.PathLike[str],
    *,
    format: Format | None = None,  # noqa: A002 - what users call it
    consistency: Consistency = "safe",
    concurrency: int | None = None,
    resume: bool = False,
    resume_within: float = RESUME_WITHIN,
    overwrite: bool = False,
    allow_partial: bool = False,
    csv_safe: bool = False,
    sizes: int | None = None,
    on_progress: Callable[[ExportProgress], object] | None = None,
) -> ExportResult:
    """Write every segment, with its details, to a file that is there when it is whole, and not before.

    Args:
        client: open.
        destination: the file; a journal and a lock are beside it meanwhile.
        format: "ndjson", "csv", "parquet" or "sqlite"; by default what the suffix stands for.
        consistency: of the walk through the list; see `BrazeSegments.list`.
        concurrency: details asked for at once, at most; by default the client's, and with `sizes` never more.
        resume: continue from the journal of an interrupted export, if there is one.
        resume_within: seconds from its last row within which a journal may be resumed, 12 hours by default;
            several pauses add up. An older one is refused or, with `overwrite` too, discarded.
        overwrite: replace the file, and start afresh unless `resume` is given too and the journal is young.
        allow_partial: write the file although some segments could not be had.
        csv_safe: put an apostrophe before what a spreadsheet would take for a formula.
        sizes: add the size history of each segment: so many days.
        on_progress: called up to ten times a second, and at the end; a plain function that must not block.

    Raises:
        ConfigError: a wrong argument, or something is there already; nothing was sent.
        ExportError: the file cannot be written or resumed, or `IncompleteExportError`: segments are missing.
        BrazeError: any other. All of them leave the file as it was, and keep the journal.
    """
    path = _path(destination)
    layout = FileFormat(format=format_of(path, format), csv_safe=csv_safe, sizes=sizes)
    _check(path, layout, consistency, concurrency, resume_within)
    check_callback("on_progress", on_progress)
    with locked_destination(path, resume=resume, overwrite=overwrite) as target:
        job = ExportRun(client, target, layout, on_progress, consistency=consistency, concurrency=concurrency)
        return await job.run(
            resume=resume, resume_within=resume_within, overwrite=overwrite, allow_partial=allow_partial
        )


def _path(destination: object) -> Path:
    if not isinstance(destination, str | os.PathLike):
        raise ConfigError(f"destination must be a path, got a {type(destination).__name__}")
    path = Path(destination)
    if not path.name or "\0" in str(path):
        raise ConfigError("destination must name a file")
    return resolved(path)


def _check(
    path: Path, layout: FileFormat, consistency: str, concurrency: int | None, resume_within: float
) -> None:
    check_choice("consistency", consistency, CONSISTENCIES)
    if concurrency is not None:
        check_integer("concurrency", concurrency, at_least=1)
    if layout.sizes is not None:
        check_integer("sizes", layout.sizes, at_least=1)
    check_seconds("resume_within", resume_within)
    layout.check()
    layout.check_path(path)
