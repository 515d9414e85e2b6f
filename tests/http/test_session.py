"""The session manager: a client is opened once, bounds its requests, and closes everything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cli_helpers import until

from braze_segments_async import BrazeSegments, ClosedError, Stats
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.mark.parametrize(
    "call",
    [
        lambda c: anext(aiter(c.list())),
        lambda c: c.details("an-id"),
        lambda c: anext(aiter(c.all_details())),
        lambda c: c.data_series("an-id"),
    ],
    ids=["list", "details", "all_details", "data_series"],
)
async def test_a_client_that_is_not_open_sends_nothing(
    sandbox: Sandbox, call: Callable[[BrazeSegments], Coroutine[None, None, object]]
) -> None:
    """A call of a client that is not open raises with a remedy, and sends nothing."""
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    with pytest.raises(ClosedError, match="async with BrazeSegments"):
        await call(client)
    async with client:
        pass
    with pytest.raises(ClosedError, match="make a new one"):
        await call(client)
    assert sandbox.requests == []


async def test_a_client_is_opened_once(sandbox: Sandbox) -> None:
    """Opening twice or again after closing is refused; closing twice is allowed, even before opening."""
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    async with client:
        with pytest.raises(ClosedError, match="opened once"):
            await client.__aenter__()
        await client.aclose()
        await client.aclose()
    with pytest.raises(ClosedError):
        await client.__aenter__()
    unopened = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    await unopened.aclose()
    with pytest.raises(ClosedError):
        await unopened.__aenter__()


def test_a_client_belongs_to_one_event_loop() -> None:
    """A client can be made without a loop; it belongs to the loop that opens it, and raises in another."""

    async def use(client: BrazeSegments, segment_id: str) -> None:
        with pytest.raises(ClosedError, match="another event loop"):
            await client.details(segment_id)

    async def main() -> None:
        async with Sandbox(1) as sandbox:
            async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
                await asyncio.to_thread(asyncio.run, use(client, sandbox.segment_ids[0]))
                assert sandbox.requests == []
                await client.details(sandbox.segment_ids[0])

    BrazeSegments("key", base_url="https://rest.iad-01.braze.com")
    asyncio.run(main())


async def test_closing_ends_requests_in_flight(sandbox: Sandbox) -> None:
    """Closing the client ends every waiting request with `ClosedError`."""
    sandbox.inject(Answer(delay=60), endpoint="details")
    sandbox.inject(Answer(429, headers={"X-RateLimit-Retry-After": "60"}), endpoint="data_series")
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=2)
    async with client:
        calls = [
            asyncio.create_task(client.details(sandbox.segment_ids[0])),
            asyncio.create_task(client.data_series(sandbox.segment_ids[1])),
            asyncio.create_task(client.details(sandbox.segment_ids[2])),  # waits for a slot
        ]
        stream = aiter(client.all_details(sandbox.segment_ids, concurrency=3))
        calls.append(asyncio.create_task(anext(stream)))
        await until(lambda: (sandbox.count("details"), sandbox.count("data_series")) == (4, 1))
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
    assert [type(outcome) for outcome in outcomes] == [ClosedError] * 4
    assert all(task.cancelling() == 0 for task in calls)


async def test_an_interrupted_close_still_ends_the_streams(
    client: BrazeSegments, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No task of a stream is left when closing is cancelled halfway."""
    unclosed: list[aiohttp.ClientSession] = []

    async def stuck(session: aiohttp.ClientSession) -> None:
        unclosed.append(session)
        await asyncio.sleep(30)

    sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(3, 300))
    stream = aiter(client.all_details())
    await anext(stream)
    monkeypatch.setattr(aiohttp.ClientSession, "close", stuck)
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0.02)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not [task for task in asyncio.all_tasks() if "FanOut" in repr(task)]
    monkeypatch.undo()
    for session in unclosed:
        await session.close()
    with pytest.raises(ClosedError):
        await anext(stream)


async def test_stats_without_opening(sandbox: Sandbox) -> None:
    """`rate_limit` and `stats` can be read at any time, even from a client that was never opened."""
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    await client.aclose()
    assert (client.rate_limit, client.stats) == (None, Stats())


async def test_concurrency_bounds_single_calls() -> None:
    """The client's concurrency limits gathered calls, which do not time out while they wait for a slot."""
    async with (
        Sandbox(600, latency=0.005) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=30, timeout=0.6) as client,
    ):
        await asyncio.gather(*(client.details(segment_id) for segment_id in sandbox.segment_ids))
        assert sandbox.max_in_flight == 30
