"""`braze-segments export`: into a file that is complete or absent, or as lines to standard output."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from braze_segments_async._support import sibling
from braze_segments_async._text import escape_control
from braze_segments_async.catalogue import provenance_to_dict
from braze_segments_async.cli.metrics import recorded_metrics
from braze_segments_async.cli.progress import ProgressTracker, pluralize, print_err, show_progress
from braze_segments_async.cli.runner import PARTIAL, run
from braze_segments_async.cli.stdio import csv_to_stdout, in_terminal, json_to_stdout
from braze_segments_async.export import (
    ExportRun,
    IncompleteExportError,
    ResumeError,
    count_failures,
    csv_header,
    destination_path,
    export_to_file,
    failures_of,
    format_of,
    is_finished,
    journal_of,
    to_csv_line,
)
from braze_segments_async.export._formats.ndjson import to_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import SegmentFailure
    from braze_segments_async.cli.arguments import Connection, ExportArguments
    from braze_segments_async.cli.metrics import ExportMetrics
    from braze_segments_async.export import ExportOptions, ExportResult

__all__ = ["resume_hint", "run_export"]

_RESUME = "Progress saved. Run the same command with --resume to continue."
_FAILURES_SHOWN = 5


def run_export(
    arguments: ExportArguments, connection: Connection, *, concurrency: int, max_wait: float
) -> int:
    """Export one workspace; return the exit code."""
    file = arguments.file
    refused = False
    label = connection.workspace or ("stdout" if file is None else file.stem)

    async def export() -> int:
        with recorded_metrics(arguments.metrics, label) as metrics:
            return await exported(metrics)

    async def exported(metrics: ExportMetrics) -> int:
        nonlocal refused
        if file is None:
            arguments.check_lines()
        elif arguments.resume and not arguments.overwrite and is_finished(file):
            metrics.failed = count_failures(file)
            metrics.complete = not metrics.failed
            code = _already_finished(file, quiet=arguments.quiet)
            if arguments.json:
                await _print_json({"path": str(file), "written": False, "failed": metrics.failed})
            return code
        format_ = "ndjson" if file is None else format_of(destination_path(file), arguments.format)
        options = arguments.to_options(format_, concurrency=concurrency, max_wait=max_wait)
        how = {"quiet": arguments.quiet, "verbose": arguments.verbose}
        async with connection.client(concurrency=concurrency, retry=options.retry) as client:
            if file is None:
                return await _to_stdout(client, options, metrics, **how)
            try:
                return await _to_file(client, file, options, metrics, json=arguments.json, **how)
            except ResumeError:
                refused = True
                raise

    def interrupted() -> str:
        return "" if file is None or refused else resume_hint(file)

    return run(export(), interrupted)


def resume_hint(file: Path) -> str:
    """Return that an export can be resumed; an empty text if it cannot."""
    target = destination_path(file)  # of a link, the file that it leads to
    # While there is a lock, another export has the journal, and continues.
    if sibling(target, ".lock").exists():
        return ""
    journal = journal_of(target)
    # A link is no journal: the export has refused it.
    return _RESUME if journal.is_file() and not journal.is_symlink() else ""


async def _to_file(
    client: BrazeSegments,
    file: Path,
    options: ExportOptions,
    metrics: ExportMetrics,
    *,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    shown = escape_control(str(file))
    tracker = ProgressTracker(client, resumable=True)
    try:
        async with show_progress(tracker, bar=True, quiet=quiet, verbose=verbose):
            result = await export_to_file(client, file, options, tracker.update)
    except IncompleteExportError as error:
        metrics.failed = len(error.result.failures)
        _print_failures(error.result.failures)
        missing = pluralize(len(error.result.failures), "segment")
        print_err(
            f"braze-segments: {shown} is not written: {missing} of {tracker.found:,} could not be fetched."
        )
        print_err("--resume tries them again; --resume --allow-partial writes the file without them.")
        if json:
            await _print_json(_result(client, file, error.result, written=False))
        return PARTIAL
    metrics.set_written(result.rows, len(result.failures))
    _print_failures(result.failures)
    if not quiet:
        print_err(f"{tracker.summary()}{_notes(result)} → {shown}")
    if json:
        await _print_json(_result(client, file, result, written=True))
    return PARTIAL if result.failures else 0


def _result(client: BrazeSegments, file: Path, result: ExportResult, *, written: bool) -> dict[str, Any]:
    """Return the result of an export, and where its data comes from."""
    origin = {} if result.provenance is None else provenance_to_dict(result.provenance)
    requests = {"requests": client.stats.requests, "retries": client.stats.retries}
    return {"path": str(file), "written": written, **origin, "resumed": result.resumed, **requests}


async def _print_json(result: dict[str, Any]) -> None:
    await json_to_stdout(f"{to_json(result)}\n".encode())


def _already_finished(file: Path, *, quiet: bool) -> int:
    """Print that there is nothing to resume, and how many segments the file lacks."""
    shown, missing = escape_control(str(file)), count_failures(file)
    if missing:
        listed = escape_control(str(failures_of(destination_path(file))))
        lacks = f"{shown} lacks {pluralize(missing, 'segment')}: see {listed}"
        print_err(f"braze-segments: {lacks}; --overwrite starts afresh")
        return PARTIAL
    if not quiet:
        print_err(f"{shown} is finished, nothing to do; --overwrite replaces it")
    return 0


async def _to_stdout(
    client: BrazeSegments, options: ExportOptions, metrics: ExportMetrics, *, quiet: bool, verbose: bool
) -> int:
    """Write the segments as lines, in the order of the list: oldest first."""
    tracker = ProgressTracker(client)
    export = ExportRun(
        client, options, ordered=True, fail_fast=not options.allow_partial, on_progress=tracker.update
    )
    # Without a bar in a terminal: lines of output would tear it apart.
    async with (
        show_progress(tracker, bar=not in_terminal(), quiet=quiet, verbose=verbose),
        aclosing(export.rows()) as rows,
    ):
        if options.format == "csv":
            await csv_to_stdout(csv_header(excel=options.excel))
        async for _, line in rows:
            if options.format == "csv":
                await csv_to_stdout(to_csv_line(line, safe=options.csv_safe, excel=options.excel))
            else:
                await json_to_stdout(line)
    metrics.set_written(tracker.done, len(export.failures))
    _print_failures(export.failures)
    if not quiet:
        archived = f"; {export.archived:,} archived during the export" if export.archived else ""
        print_err(tracker.summary() + archived)
    return PARTIAL if export.failures else 0


def _print_failures(failures: Sequence[SegmentFailure]) -> None:
    for failure in failures[:_FAILURES_SHOWN]:
        print_err(f"braze-segments: {failure.error}")
    if len(failures) > _FAILURES_SHOWN:
        print_err(f"… and {len(failures) - _FAILURES_SHOWN:,} more")


def _notes(result: ExportResult) -> str:
    """Return the counts that are worth a mention beside the summary, and are no errors."""
    notes = [
        f"{number:,} {what}"
        for number, what in (
            (result.resumed, "resumed"),
            (result.recovered, "recovered by the second reading"),
            (result.archived, "archived during the export"),
            (len(result.failures), "failed, listed in the file beside it"),
        )
        if number
    ]
    return f"; {', '.join(notes)}" if notes else ""
