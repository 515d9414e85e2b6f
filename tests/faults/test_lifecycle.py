"""Use before opening, after closing and from a second event loop; duplicate ids and no ids."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fault_client import CALLS, Call, all_arrived, client_of
from raw_server import Exchange, RawServer, send_then

from braze_segments_async import ClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "https://rest.iad-01.braze.com"
EACH = pytest.mark.parametrize("call", CALLS, ids=str)


@EACH
async def test_before_opening(call: Call) -> None:
    """Use before opening is a `ClosedError` that shows the right call."""
    client = client_of(URL)
    for outcome in await call.outcomes(client, list("abcdefgh")):
        assert type(outcome) is ClosedError
        assert "async with BrazeSegments" in str(outcome)


@EACH
async def test_after_closing(call: Call) -> None:
    """Use after closing and reopening are a `ClosedError`; closing twice is allowed."""
    async with RawServer() as server:
        async with client_of(server.base_url) as client:
            await client.aclose()
        await client.aclose()
        for outcome in await call.outcomes(client, server.ids):
            assert type(outcome) is ClosedError
            assert "make a new one" in str(outcome)
        with pytest.raises(ClosedError, match="make a new one"):
            await client.__aenter__()
        assert not server.requests


async def test_opening_twice() -> None:
    """Opening an open client is a `ClosedError`, and the client remains open."""
    async with RawServer() as server, client_of(server.base_url) as client:
        with pytest.raises(ClosedError):
            await client.__aenter__()
        assert (await client.details(server.ids[0])).name


@EACH
async def test_second_event_loop(call: Call) -> None:
    """Use from a second event loop is a `ClosedError` that says so; the client works in its own loop."""
    async with RawServer() as server, client_of(server.base_url) as client:
        outcomes = await asyncio.to_thread(lambda: asyncio.run(call.outcomes(client, server.ids)))
        assert {type(outcome) for outcome in outcomes} == {ClosedError}
        assert all("another event loop" in str(outcome) for outcome in outcomes)
        assert (await client.details(server.ids[0])).name


async def test_own_session_closed() -> None:
    """The caller's session is not closed with the client; requests on a closed one raise `ClosedError`."""
    async with RawServer() as server:
        async with aiohttp.ClientSession() as session:
            async with client_of(server.base_url, session=session) as client:
                assert (await client.details(server.ids[0])).name
            assert not session.closed
            async with client_of(server.base_url, session=session) as client:
                await session.close()
                with pytest.raises(ClosedError, match="session is closed"):
                    await client.details(server.ids[0])


@EACH
async def test_closed_during_requests(call: Call) -> None:
    """Closing the client ends requests in flight with `ClosedError`; nothing is left running."""
    async with (
        RawServer(send_then(b"", Exchange.wait_until_closed)) as server,
        client_of(server.base_url) as client,
    ):
        asked = asyncio.create_task(call.outcomes(client, server.ids))
        await asyncio.wait_for(all_arrived(server, call.concurrency), 5)
        await client.aclose()
        assert {type(outcome) for outcome in await asyncio.wait_for(asked, 5)} == {ClosedError}


@pytest.mark.parametrize("ordered", [False, True])
async def test_duplicates_and_none(ordered: bool) -> None:  # noqa: FBT001
    """A duplicate id in a fan-out is fetched once; no ids give an empty stream and no request."""
    async with RawServer() as server, client_of(server.base_url) as client:

        async def none() -> AsyncIterator[str]:
            for segment_id in list[str]():
                yield segment_id

        nothing: list[Any] = [[], (), iter([]), none()]
        for empty in nothing:
            assert not [one async for one in client.all_details(empty, ordered=ordered)]
        assert not server.requests
        first, second = server.ids[:2]
        rows = [segment async for segment in client.list()]
        server.requests.clear()
        got = [
            one.id
            async for one in client.all_details([first, second, first, rows[0], second], ordered=ordered)
        ]
        assert sorted(got) == sorted([first, second])
        assert len(server.requests) == 2
