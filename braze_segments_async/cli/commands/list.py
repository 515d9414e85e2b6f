"""`braze-segments list`: the segments with their tags."""

from __future__ import annotations

from contextlib import aclosing
from typing import Annotated, Literal

from attrs import asdict
from cyclopts import Parameter

from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.connection import client_with_pause_notices
from braze_segments_async.cli.progress import pluralize, print_err
from braze_segments_async.cli.runner import run
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout, to_stdout

__all__ = ["list_segments"]

_Tags = Annotated[tuple[str, ...], Parameter(show_default=False)]


def list_segments(
    *,
    name: str = "",
    tag: _Tags = (),
    sort_direction: Literal["asc", "desc"] = "asc",
    consistency: Literal["safe", "strict", "fast"] = "safe",
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """List the segments: a table in a terminal, else NDJSON.

    The API key needs the permission segments.list.

    Exit codes: same as export.

    Args:
        name: Only segments whose name contains this text, in any letter case.
        tag: Only segments with a tag that contains this text, in any letter case. If given several times, all
            of them must match.
        sort_direction: Order by creation: asc for oldest first, desc for newest first.
        consistency: Protection against edits while the list is read: safe reads each page twice,
            strict reads the list in both directions until both agree, fast reads it once.
        json: Print NDJSON in a terminal, too.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """

    def matches(its_name: str, its_tags: tuple[str, ...]) -> bool:
        return name.casefold() in its_name.casefold() and all(
            any(text.casefold() in its_tag.casefold() for its_tag in its_tags) for text in tag
        )

    async def work() -> None:
        # Imported here, as --help needs neither.
        from braze_segments_async.cli.rendering import SegmentTable  # noqa: PLC0415
        from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415

        table = None if json or not in_terminal() else SegmentTable()
        shown = listed = 0
        async with (
            client_with_pause_notices(connection, max_wait) as client,
            aclosing(client.list(sort_direction=sort_direction, consistency=consistency).pages()) as pages,
        ):
            async for page in pages:
                found = [segment for segment in page.segments if matches(segment.name, segment.tags)]
                listed += len(page.segments)
                shown += len(found)
                if table is not None and found:
                    await to_stdout(table.rows(found))
                elif table is None:
                    for segment in found:
                        await json_to_stdout(f"{to_json(asdict(segment, recurse=False))}\n".encode())
        if table is not None:
            print_err(f"{f'{shown:,} of ' if shown < listed else ''}{pluralize(listed, 'segment')}")

    return run(work())
