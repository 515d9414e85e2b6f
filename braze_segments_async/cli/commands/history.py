"""`braze-segments history`: the changes of each segment over several exports."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from attrs import asdict
from cyclopts import Parameter

from braze_segments_async.cli.catalogues import age, markdown, open_catalogue
from braze_segments_async.cli.progress import print_err
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout
from braze_segments_async.errors import ConfigError

from .diff import change_markdown, change_text

if TYPE_CHECKING:
    from braze_segments_async.catalogue import Catalogue, HistoryEntry

__all__ = ["history"]

_File = Annotated[Path, Parameter(show_default=False)]


def history(
    *files: _File,
    segment: str | None = None,
    json: bool = False,
    markdown: bool = False,
) -> int:
    """Show what changed in each segment over several exports, newest first. Sends no request to Braze.

    The exports are ordered by the time in the file, which Parquet and SQLite have,
    else by the time of its last modification.

    Exit codes: 0 done, 2 error.

    Args:
        files: Two or more exported files of one workspace: NDJSON, CSV, Parquet or SQLite.
        segment: Only the segment with this id, or with this name in any of the exports.
        json: Print NDJSON: a line for each change.
        markdown: Print Markdown, for a message or a pull request.
    """
    from braze_segments_async.catalogue import history as compare  # noqa: PLC0415 - --help does without it

    if len(files) < 2:
        return usage_error("give at least two exports to compare")
    try:
        catalogues = [open_catalogue(file) for file in files]
        entries = compare(catalogues)
        if segment is not None:
            segments = [each for catalogue in catalogues for each in catalogue.segments]
            named = {each.id for each in segments if each.name == segment}
            ids = {each.id for each in segments}.union(*(catalogue.failed for catalogue in catalogues))
            chosen = {segment} if segment in ids else named
            if not chosen:
                return usage_error("no export has a segment with the id or name that --segment gives")
            entries = tuple(entry for entry in entries if entry.change.id in chosen)
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))
    return run(_show(catalogues, entries, json=json, as_markdown=markdown))


async def _show(
    catalogues: list[Catalogue], entries: tuple[HistoryEntry, ...], *, json: bool, as_markdown: bool
) -> int:
    from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415 - as above

    for catalogue in catalogues:
        if catalogue.partial:
            print_err(f"braze-segments: {age(catalogue)}")
    shown = None
    with suppress(BrokenPipeError):
        for entry in entries:
            if json:
                times = {"since": entry.since, "seen_at": entry.seen_at}
                await json_to_stdout(f"{to_json(times | asdict(entry.change))}\n".encode())
                continue
            # Of a segment that failed in between, the change may be older than the export before.
            span = f"{entry.since:%Y-%m-%d %H:%M} to {entry.seen_at:%Y-%m-%d %H:%M} UTC"
            if span != shown:
                gap = "" if shown is None else "\n"
                head = f"**{markdown(span)}**\n" if as_markdown else span
                await to_stdout(f"{gap}{head}\n".encode())
                shown = span
            text = change_markdown(entry.change) if as_markdown else change_text(entry.change)
            await to_stdout(f"{text}\n".encode())
        if not (entries or json):
            await to_stdout(b"No changes.\n")
    return 0
