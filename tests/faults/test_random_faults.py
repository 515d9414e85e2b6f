"""Random faults and random consumers get exactly the stable segments, once each, or a `BrazeError`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Literal

from attrs import frozen
from fault_client import client_of
from faults_table import ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import Exchange, RawServer, answer

from braze_segments_async import BrazeError, BrazeSegments, RateLimitedError

SEGMENTS = 104  # two pages
_FAULTS = [row for row in ROWS if not row.waits and not row.options]


class _ConsumerError(Exception):
    """The exception of a consumer."""


@frozen
class _Consumer:
    """The behaviour of the loop over a stream.

    Attributes:
        end: How it leaves the loop after `after` results; "never" reads all.
        after: Number of results before the end.
        slow: Iterations of the event loop for each result.
    """

    end: Literal["never", "break", "raise", "cancel"]
    after: int
    slow: int


CONSUMERS = st.builds(
    _Consumer,
    st.sampled_from(["never", "never", "break", "raise", "cancel"]),
    st.integers(1, SEGMENTS),
    st.integers(0, 3),
)
STREAMS = st.fixed_dictionaries(
    {
        "concurrency": st.sampled_from([1, 3, 16]),
        "ordered": st.booleans(),
        "on_error": st.sampled_from(["raise", "collect"]),
        "consistency": st.sampled_from(["fast", "safe", "strict"]),
    }
)


async def _consume(stream: Any, consumer: _Consumer, got: list[str]) -> None:
    async for details in stream:
        got.append(details.id)
        for _ in range(consumer.slow):
            await asyncio.sleep(0)
        if len(got) < consumer.after or consumer.end == "never":
            continue
        if consumer.end == "break":
            break
        if consumer.end == "raise":
            raise _ConsumerError
        task = asyncio.current_task()
        assert task is not None
        task.cancel()


async def _try(client: BrazeSegments, ids: list[str], consumer: _Consumer, options: dict[str, Any]) -> None:
    got: list[str] = []
    stream = client.all_details(**options)
    ended = await asyncio.gather(asyncio.create_task(_consume(stream, consumer, got)), return_exceptions=True)
    assert len(got) == len(set(got))
    assert set(got) <= set(ids)
    if options["ordered"]:
        missing = {failure.segment_id for failure in stream.failures}
        assert got == [segment_id for segment_id in ids if segment_id not in missing][: len(got)]
    match ended[0]:
        case BrazeError():
            pass  # the results before it were checked above
        case _ConsumerError():
            assert (consumer.end, len(got)) == ("raise", consumer.after)
        case asyncio.CancelledError():
            assert consumer.end == "cancel"
        case None if consumer.end == "break" and len(got) == consumer.after:
            pass
        case None:
            assert set(got) | {failure.segment_id for failure in stream.failures} == set(ids)
        case other:
            raise AssertionError(other)


@settings(max_examples=40)
@given(
    st.lists(st.none() | st.sampled_from(_FAULTS), max_size=40),
    st.lists(CONSUMERS, min_size=1, max_size=3),
    STREAMS,
)
def test_any_faults_and_any_consumers(
    schedule: list[Any], consumers: list[_Consumer], options: dict[str, Any]
) -> None:
    """Under any faults and any end of a loop, no row is repeated or missing without an error.

    The consumers use one client after each other, so that each meets the state that the previous one left.
    After the faults, the whole catalogue is fetched.
    """

    async def scenario() -> None:
        turns = iter(schedule)

        async def fault(exchange: Exchange) -> None:
            row = next(turns, None)
            await (answer() if row is None else row.respond)(exchange)

        async with RawServer(fault, segments=SEGMENTS) as server, client_of(server.base_url) as client:
            for consumer in consumers:
                await _try(client, server.ids, consumer, options)
            for _ in turns:  # discard the remaining faults
                pass
            with suppress(RateLimitedError):  # a fault may have paused requests for an hour
                assert {d.id async for d in client.all_details(**options)} == set(server.ids)

    asyncio.run(scenario())
