"""`braze-segments details`: the details of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.ids import Ids, fetch_each, run_for_ids
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout, to_stdout

if TYPE_CHECKING:
    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import SegmentDetails

__all__ = ["details"]


def details(
    *segments: Ids,
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Show the details of segments: text for one segment in a terminal, else NDJSON.

    The API key needs the permission segments.details, and segments.list to find a name.

    Exit codes: same as export; 3 if some segments could not be fetched.

    Args:
        segments: Ids or names of segments. With -, read them from standard input: one a line, or the output
            of list.
        json: Always print NDJSON.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """

    async def work(client: BrazeSegments, names: dict[str, str | None]) -> int:
        # Imported here, as --help needs neither.
        from braze_segments_async.cli.rendering import details_text  # noqa: PLC0415
        from braze_segments_async.export import to_json_line  # noqa: PLC0415

        async def show(_: str, found: SegmentDetails) -> None:
            if len(names) == 1 and not json and in_terminal():
                await to_stdout(details_text(found))
            else:
                await json_to_stdout(to_json_line(found))

        return await fetch_each(client, names, client.details, show)

    return run_for_ids(details, segments, connection, max_wait, work)
