"""`export_segments`: every segment of a workspace into one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from braze_segments_async._arguments import check_callback
from braze_segments_async.errors import ConfigError

from ._destination import locked_destination, resolved
from ._formats import check_path
from ._options import RESUME_WITHIN, ExportOptions, format_of
from ._run import ExportRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async._arguments import Consistency, Format
    from braze_segments_async._client import BrazeSegments

    from ._results import ExportProgress, ExportResult

__all__ = ["destination_path", "export_segments", "export_to_file"]


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
    """Write every segment, with its details, to a file that appears when the export is complete.

    Args:
        client: An open client.
        destination: The file; a journal and a lock are beside it during the export.
        format: "ndjson", "csv", "parquet" or "sqlite"; by default what the suffix stands for.
        consistency: How the list is read; see `BrazeSegments.list`.
        concurrency: Maximum number of requests for details in flight; by default the client's.
        resume: Continue from the journal of an interrupted export, if there is one.
        resume_within: Seconds from its last row within which a journal may be resumed, 12 hours by default;
            several pauses add up. An older one is refused or, with `overwrite` too, discarded.
        overwrite: Replace the file, and start afresh unless `resume` is given too and the journal is young.
        allow_partial: Write the file although some segments could not be fetched.
        csv_safe: Put an apostrophe before text that a spreadsheet would evaluate as a formula.
        sizes: Days of size history to add to each segment.
        on_progress: Called up to ten times a second, and at the end; a plain function that must not block.

    Returns:
        The number of rows, the failures and what else there is to know about the file.

    Raises:
        ConfigError: An argument is wrong, or the file exists already; nothing was sent.
        ExportError: The file cannot be written or resumed, or `IncompleteExportError`: segments are missing.
        BrazeError: Any other. All of them leave the file unchanged, and keep the journal.
    """
    options = ExportOptions(
        format=format_of(destination_path(destination), format),
        consistency=consistency,
        concurrency=client.concurrency if concurrency is None else concurrency,
        resume=resume,
        resume_within=resume_within,
        overwrite=overwrite,
        allow_partial=allow_partial,
        csv_safe=csv_safe,
        sizes=sizes,
    )
    return await export_to_file(client, destination, options, on_progress)


async def export_to_file(
    client: BrazeSegments,
    destination: str | os.PathLike[str],
    options: ExportOptions,
    on_progress: Callable[[ExportProgress], object] | None = None,
) -> ExportResult:
    """Do what `export_segments` does, with its options as one value."""
    path = destination_path(destination)
    check_path(options.format, path)
    check_callback("on_progress", on_progress)
    with locked_destination(path, resume=options.resume, overwrite=options.overwrite) as target:
        return await ExportRun(client, target, options, on_progress).run()


def destination_path(destination: object) -> Path:
    """Return the path of the file to write. A symbolic link remains: the file it leads to is written.

    Raises:
        ConfigError: The argument is no path, or names no file.
    """
    if not isinstance(destination, str | os.PathLike):
        raise ConfigError(f"destination must be a path, got a {type(destination).__name__}")
    path = Path(destination)
    if not path.name or "\0" in str(path):
        raise ConfigError("destination must name a file")
    return resolved(path)
