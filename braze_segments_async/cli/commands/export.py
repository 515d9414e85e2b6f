"""`braze-segments export`: into a file that is whole or absent, or as lines to standard output."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING

from braze_segments_async._text import escape_control
from braze_segments_async.cli.progress import ProgressTracker, pluralize, print_err, watching
from braze_segments_async.cli.stdio import csv_to_stdout, in_terminal, json_to_stdout
from braze_segments_async.export import (
    IncompleteExportError,
    csv_header,
    to_csv_line,
    to_json_line,
)
from braze_segments_async.export._destination import count_failures, failures_of
from braze_segments_async.export._export import export_to_file
from braze_segments_async.export._listing import REFUSALS, ListingTracker, split_archived

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import SegmentFailure
    from braze_segments_async.export import ExportOptions, ExportResult

__all__ = ["PARTIAL", "already_finished", "to_file", "to_lines"]

PARTIAL = 3  # exit code: some segments could not be had
_FAILURES_SHOWN = 5


async def to_file(
    segments: BrazeSegments, output: Path, options: ExportOptions, *, quiet: bool, verbose: bool
) -> int:
    """Export into a file, watched; the exit code."""
    shown = escape_control(str(output))
    watch = ProgressTracker(segments, resumable=True)
    try:
        async with watching(watch, bar=True, quiet=quiet, verbose=verbose):
            result = await export_to_file(segments, output, options, watch.exported)
    except IncompleteExportError as error:
        _tell_failures(error.result.failures)
        missing = pluralize(len(error.result.failures), "segment")
        print_err(f"braze-segments: {shown} is not written: {missing} of {watch.found:,} could not be had.")
        print_err("--resume tries them again; --resume --allow-partial writes the file without them.")
        return PARTIAL
    _tell_failures(result.failures)
    if not quiet:
        print_err(f"{watch.summary()}{_notes(result)} → {shown}")
    return PARTIAL if result.failures else 0


def already_finished(output: Path, *, quiet: bool) -> int:
    """Say that there is nothing to resume, and what is missing in the file; the exit code."""
    shown, missing = escape_control(str(output)), count_failures(output)
    if missing:
        listed = escape_control(str(failures_of(output)))
        lacks = f"{shown} lacks {pluralize(missing, 'segment')}: see {listed}"
        print_err(f"braze-segments: {lacks}; --overwrite starts afresh")
        return PARTIAL
    if not quiet:
        print_err(f"{shown} is finished, nothing to do; --overwrite replaces it")
    return 0


async def to_lines(segments: BrazeSegments, options: ExportOptions, *, quiet: bool, verbose: bool) -> int:
    """Export to standard output, watched, oldest first; the exit code."""
    csv = options.format == "csv"
    watch = ProgressTracker(segments)
    async with AsyncExitStack() as stack:
        # Lines of output on the same terminal would tear the bar apart.
        await stack.enter_async_context(watching(watch, bar=not in_terminal(), quiet=quiet, verbose=verbose))
        walk = ListingTracker(segments.list(consistency=options.consistency), (), lambda: watch.walked(walk))
        found = await stack.enter_async_context(aclosing(walk.pending_segments()))
        stream = segments.all_details(found, ordered=True, on_error="collect")
        await stack.enter_async_context(stream)
        if csv:
            await csv_to_stdout(csv_header())
        async for details in stream:
            line = to_json_line(details)
            if csv:
                await csv_to_stdout(to_csv_line(line, safe=options.csv_safe))
            else:
                await json_to_stdout(line)
            watch.done += 1
            if not options.allow_partial:
                _raise_first(
                    failure for failure in stream.failures if not isinstance(failure.error, REFUSALS)
                )
        walk.check_complete(watch.done + len(stream.failures))
        failures, archived = await split_archived(segments, stream.failures, options.consistency)
    if not options.allow_partial:
        _raise_first(failures)
    _tell_failures(failures)
    if not quiet:
        print_err(watch.summary() + (f"; {len(archived):,} archived meanwhile" if archived else ""))
    return PARTIAL if failures else 0


def _raise_first(failures: Iterable[SegmentFailure]) -> None:
    for failure in failures:
        raise failure.error


def _tell_failures(failures: Sequence[SegmentFailure]) -> None:
    for failure in failures[:_FAILURES_SHOWN]:
        print_err(f"braze-segments: {failure.error}")
    if len(failures) > _FAILURES_SHOWN:
        print_err(f"… and {len(failures) - _FAILURES_SHOWN:,} more")


def _notes(result: ExportResult) -> str:
    """What is worth knowing besides: nothing of it is an error."""
    notes = [
        f"{number:,} {what}"
        for number, what in (
            (result.resumed, "resumed"),
            (result.recovered, "recovered by the second reading"),
            (result.archived, "archived meanwhile"),
            (len(result.failures), "failed, listed in the file beside it"),
        )
        if number
    ]
    return f"; {', '.join(notes)}" if notes else ""
