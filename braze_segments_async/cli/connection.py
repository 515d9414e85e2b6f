"""What the commands that ask Braze do, once their options are read."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from braze_segments_async._fan_out import FanOut
from braze_segments_async._settings import RetryPolicy
from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async.errors import (
    BadRequestError,
    BrazeError,
    ConfigError,
    NotFoundError,
    ReplyError,
    ServerError,
)
from braze_segments_async.export import to_json_line
from braze_segments_async.export._formats.ndjson import to_json

from .commands.export import PARTIAL
from .ids import ids_from
from .progress import local_time, pluralize, print_err
from .rendering import SegmentTable, chart, details_text, report_json, report_text, segment_json
from .runner import OPTIONS, run, usage_error
from .stdio import in_terminal, json_to_stdout, to_stdout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import SegmentDetails, SizePoint

    from .arguments import Connection

__all__ = ["check", "client_with_pause_notices", "details", "list_segments", "run_for", "sizes"]

T = TypeVar("T")

# What concerns one segment only: the others are asked for all the same.
_ITS_OWN = (BadRequestError, NotFoundError, ReplyError, ServerError)
_LOOK_EVERY = 0.25  # seconds


async def list_segments(
    connection: Connection,
    wanted: Callable[[str, tuple[str, ...]], bool],
    walk: Any,
    *,
    json: bool,
    max_wait: float,
) -> None:
    """Walk the list, and show what is wanted of each page as it comes."""
    table = None if json or not in_terminal() else SegmentTable()
    shown = listed = 0
    async with (
        client_with_pause_notices(connection, max_wait) as client,
        aclosing(client.list(**walk).pages()) as pages,
    ):
        async for page in pages:
            found = [segment for segment in page.segments if wanted(segment.name, segment.tags)]
            listed += len(page.segments)
            shown += len(found)
            if table is not None and found:
                await to_stdout(table.rows(found))
            elif table is None:
                for segment in found:
                    await json_to_stdout(segment_json(segment))
    if table is not None:
        print_err(
            pluralize(listed, "segment")
            if shown == listed
            else f"{shown:,} of {pluralize(listed, 'segment')}"
        )


def run_for(arguments: tuple[str, ...], work: Callable[[list[str]], Coroutine[Any, Any, int]]) -> int:
    """Work on the ids that the arguments name, and return the exit code."""
    try:
        # Before the event loop starts, which would keep Ctrl-C from a read that waits.
        ids = ids_from(arguments)
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))
    return run(work(ids))


async def details(connection: Connection, ids: list[str], *, json: bool, max_wait: float) -> int:
    """Ask for the details of each id."""
    readable = len(ids) == 1 and not json and in_terminal()

    async def show(_: str, found: SegmentDetails) -> None:
        if readable:
            await to_stdout(details_text(found))
        else:
            await json_to_stdout(to_json_line(found))

    async with client_with_pause_notices(connection, max_wait) as client:
        return await _each(client, ids, client.details, show)


async def sizes(connection: Connection, ids: list[str], *, days: int, json: bool, max_wait: float) -> int:
    """Ask for the size history of each id."""
    readable = not json and in_terminal()

    async def show(segment_id: str, points: list[SizePoint]) -> None:
        if readable:
            await to_stdout(chart(segment_id, points))
            return
        for point in points:
            line = to_json({"id": segment_id, "time": point.time, "size": point.size})
            await json_to_stdout(f"{line}\n".encode())

    async with client_with_pause_notices(connection, max_wait) as client:
        return await _each(client, ids, lambda each: client.data_series(each, length=days), show)


async def check(connection: Connection, *, json: bool) -> int:
    """Check the connection; the exit code says whether an export can be made."""
    # It is to tell of a pause, not to sit it out; and its few requests may come out of the reserve.
    retry = RetryPolicy(attempts=3, max_rate_limit_wait=0.0)
    async with connection.client(retry=retry, reserve=0.0) as client:
        report = await client.check()
    if json:
        await json_to_stdout(report_json(report))
    else:
        await to_stdout(report_text(report))
    return 0 if report.ready else 1


async def _each(
    client: BrazeSegments,
    ids: list[str],
    ask: Callable[[str], Awaitable[T]],
    show: Callable[[str, T], Awaitable[None]],
) -> int:
    """Ask for every id, and show what comes in their order; a line on standard error for one that fails."""

    async def attempt(segment_id: str) -> tuple[str, T | BrazeError]:
        try:
            return segment_id, await ask(segment_id)
        except _ITS_OWN as error:
            return segment_id, error

    done = failed = 0
    known = dict.fromkeys(ids)
    async with FanOut(known, attempt, concurrency=client.concurrency, ordered=True) as stream:
        async for segment_id, found in stream:
            if isinstance(found, BrazeError):
                print_err(f"braze-segments: {found}")
                failed += 1
            else:
                await show(segment_id, found)
                done += 1
    return 0 if not failed else PARTIAL if done else 1


@asynccontextmanager
async def client_with_pause_notices(
    connection: Connection, max_wait: float
) -> AsyncGenerator[BrazeSegments, None]:
    """A client that says when it waits."""
    async with connection.client(retry=RetryPolicy(max_rate_limit_wait=max_wait)) as client:
        telling = create_task(_tell_pauses(client))
        try:
            yield client
        finally:
            await cancel_and_wait([telling])


async def _tell_pauses(client: BrazeSegments) -> None:
    """Say once of each pause until when it lasts: a command that does nothing for an hour looks dead."""
    told = None
    while True:
        stats = client.stats
        if stats.paused_until is not None and stats.paused_until != told:
            told = stats.paused_until
            print_err(f"waiting until {local_time(told)}: {stats.pause_reason}; Ctrl-C ends it")
        await asyncio.sleep(_LOOK_EVERY)
