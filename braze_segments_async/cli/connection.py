"""The client of a command, which prints a line when it waits for the rate limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braze_segments_async._settings import PauseEvent, RetryPolicy

from .progress import local_time, print_err

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from braze_segments_async._client import BrazeSegments

    from .arguments import Connection

__all__ = ["client_with_pause_notices"]


def client_with_pause_notices(
    connection: Connection, max_wait: float
) -> AbstractAsyncContextManager[BrazeSegments]:
    """Return a client, for `async with`, that prints a line when a pause begins or becomes longer.

    Args:
        connection: The workspace.
        max_wait: Seconds to wait for the rate limit, at most.
    """

    def print_pause(event: PauseEvent) -> None:
        # The client does not wait for longer than its maximum: it raises an error, which says as much.
        if event.seconds <= max_wait:
            print_err(f"waiting until {local_time(event.until)}: {event.reason}; Ctrl-C ends it")

    return connection.client(retry=RetryPolicy(max_rate_limit_wait=max_wait), on_pause=print_pause)
