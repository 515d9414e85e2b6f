"""`braze-segments cancel`: end the running exports of a segment's users."""

from __future__ import annotations

from braze_segments_async._text import escape_control
from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.connection import client_with_pause_notices
from braze_segments_async.cli.progress import print_err
from braze_segments_async.cli.runner import run

__all__ = ["cancel"]


def cancel(
    segment_id: str,
    /,
    *,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Cancel the running exports of a segment's users, including those of other clients.

    The API key needs the permission segments.list.

    Exit codes: same as export.

    Args:
        segment_id: Segment API identifier.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """

    async def work() -> None:
        async with client_with_pause_notices(connection, max_wait) as client:
            await client.cancel_exports(segment_id)
        print_err(f"no export of the users of {escape_control(segment_id)} is running any more")

    return run(work())
