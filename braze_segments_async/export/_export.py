"""`export_segments`: export every segment of a workspace to a file."""

from __future__ import annotations

import json
import os
import time
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve

from braze_segments_async._arguments import check_callback
from braze_segments_async._support import file_errors, run_in_thread
from braze_segments_async._version import __version__
from braze_segments_async.catalogue import Provenance
from braze_segments_async.errors import ConfigError

from ._destination import locked_destination, resolved
from ._formats import check_path, write_rows
from ._journal import Journal
from ._options import RESUME_WITHIN, ExportOptions, format_of
from ._results import ExportResult, IncompleteExportError
from ._run import ExportRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async._arguments import Consistency, Format
    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import SegmentFailure
    from braze_segments_async._support import CancelToken

    from ._destination import Target
    from ._results import ExportProgress

__all__ = ["destination_path", "export_segments", "export_to_file"]

_SYNC_EVERY = 10.0  # seconds
_RECORDED = ("sizes", "csv_safe", "excel")  # options that change the file


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
    excel: bool = False,
    sizes: int | None = None,
    on_progress: Callable[[ExportProgress], object] | None = None,
) -> ExportResult:
    """Write every segment with its details to a file, which appears when the export is complete.

    Args:
        client: An open client.
        destination: The file; a journal and a lock are beside it during the export.
        format: "ndjson", "csv", "parquet", "sqlite", "html" or "xlsx"; by default that of the file extension.
        consistency: How the list is read; see `BrazeSegments.list`.
        concurrency: Maximum number of requests for details in flight; by default the client's.
        resume: Continue from the journal of an interrupted export, if there is one.
        resume_within: Seconds from its last row within which a journal may be resumed, 12 hours by default;
            several pauses add up. An older one is refused or, with `overwrite` too, discarded.
        overwrite: Replace the file, and start afresh unless `resume` is given too and the journal is recent.
        allow_partial: Write the file although some segments could not be fetched.
        csv_safe: Put an apostrophe before text that a spreadsheet would evaluate as a formula.
        excel: Write CSV for Excel: with a byte order mark, times in UTC as Excel reads them, and `csv_safe`.
        sizes: Days of size history to add to each segment.
        on_progress: Called up to ten times a second, and at the end; a plain function that must not block.

    Returns:
        The path, the number of rows, the failures, and other counts.

    Raises:
        ConfigError: An argument is wrong, or the file exists already; nothing was sent.
        ExportError: The file cannot be written or resumed, or `IncompleteExportError`: segments are missing.
        BrazeError: Any other failure. All errors leave the file unchanged, and keep the journal.
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
        excel=excel,
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
        journal = Journal(target.journal, urlsplit(client.base_url).hostname or "", options)
        try:
            return await _export(client, target, options, journal, on_progress)
        finally:
            journal.close()


async def _export(
    client: BrazeSegments,
    target: Target,
    options: ExportOptions,
    journal: Journal,
    on_progress: Callable[[ExportProgress], object] | None,
) -> ExportResult:
    """Fetch into the journal what it lacks, then write the file from it."""
    began = time.monotonic()
    with file_errors(journal.path):
        await run_in_thread(journal.open)
    run = ExportRun(
        client, options, journaled=journal.index, sizes_until=journal.sizes_until, on_progress=on_progress
    )
    async with aclosing(run.rows()) as rows:
        synced = time.monotonic()
        async for details, line in rows:
            with file_errors(journal.path):
                journal.add(line, details.id, details.created_at)
                if time.monotonic() - synced >= _SYNC_EVERY:
                    await run_in_thread(lambda _: journal.sync())
                    synced = time.monotonic()

    done = ExportResult(
        path=target.path,
        rows=run.done,
        failures=tuple(run.failures),
        archived=run.archived,
        recovered=run.listing.recovered,
        resumed=run.listing.resumed,
        pages=run.listing.pages,
        elapsed=time.monotonic() - began,
        provenance=_provenance(journal, options, run),
    )

    def write(stop: CancelToken) -> None:
        lines, provenance = journal.rows(stop), done.provenance

        def fill(path: Path) -> None:
            write_rows(
                path,
                lines,
                options.format,
                sizes=options.sizes is not None,
                csv_safe=options.csv_safe,
                excel=options.excel,
                provenance=provenance,
            )

        target.put(fill, map(_to_line, run.failures))

    if run.failures and not options.allow_partial:
        failures = run.failures
        raise IncompleteExportError(
            f"{len(failures):,} of {run.listing.listed:,} segments could not be fetched, the first one: "
            f"{failures[0].error}",
            done,
            remedy={"resume=True": "tries them again", "allow_partial=True": "writes the file without them"},
        )
    journal.close()  # the thread opens the file again to read it, and removes it at the end
    await run_in_thread(write)
    run.report(final=True)
    return evolve(done, elapsed=time.monotonic() - began)


def _provenance(journal: Journal, options: ExportOptions, run: ExportRun) -> Provenance:
    return Provenance(
        instance=journal.workspace,
        started_at=journal.sizes_until,  # of the first run, if this one resumes it
        finished_at=datetime.now(UTC).replace(microsecond=0),
        rows=run.done,
        failed=len(run.failures),
        archived=run.archived,
        recovered=run.listing.recovered,
        consistency=options.consistency,
        options={name: value for name in _RECORDED if (value := getattr(options, name))},
        version=__version__,
    )


def _to_line(failure: SegmentFailure) -> bytes:
    value = {
        "segment_id": failure.segment_id,
        "error": type(failure.error).__name__,
        "message": str(failure.error),
    }
    return (json.dumps(value) + "\n").encode()


def destination_path(destination: object) -> Path:
    """Return the path of the file to write. A symbolic link remains: the file it leads to is written.

    Raises:
        ConfigError: The argument is no path, or names no file.
    """
    if not isinstance(destination, str | os.PathLike):
        raise ConfigError(f"must be a path, got a {type(destination).__name__}", argument="destination")
    path = Path(destination)
    if not path.name or "\0" in str(path):
        raise ConfigError("must name a file", argument="destination")
    return resolved(path)
