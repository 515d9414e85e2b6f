"""The transport: which session sends the requests, and which sessions are refused."""

from __future__ import annotations

import asyncio
import platform

import aiohttp
import pytest

import braze_segments_async
from braze_segments_async import AuthenticationError, BrazeSegments, ClosedError, ConfigError
from braze_segments_async.sandbox import Answer, Sandbox


async def test_a_session_of_the_caller_remains_open(sandbox: Sandbox) -> None:
    """A caller's session is used with its settings and remains open; a closed one is refused."""
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session) as client:
            assert len([d async for d in client.all_details()]) == 250
        assert not session.closed
        assert sandbox.requests[0].headers["X-Mine"] == "1"
        assert sandbox.requests[0].headers["Authorization"] == f"Bearer {sandbox.api_key}"
        assert "Authorization" not in session.headers
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session) as client:
        with pytest.raises(ClosedError, match="session is closed"):
            await client.details(sandbox.segment_ids[0])


async def test_a_closed_session_ends_its_requests(sandbox: Sandbox) -> None:
    """A request in flight ends at once with an error if the caller closes the session."""
    sandbox.inject(Answer(delay=30), endpoint="details")
    async with aiohttp.ClientSession() as session:
        client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session)
        async with client:
            call = asyncio.create_task(client.details(sandbox.segment_ids[0]))
            await asyncio.sleep(0.05)
            await session.close()
            with pytest.raises(ClosedError, match="session is closed"):
                await asyncio.wait_for(call, 2)


async def test_a_session_that_raises_for_status(sandbox: Sandbox) -> None:
    """A caller's session with `raise_for_status=True` gives the usual error after one request."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        BrazeSegments("wrong", base_url=sandbox.base_url, session=session) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.details(sandbox.segment_ids[0])
    assert len(sandbox.requests) == 1


async def test_a_session_with_authentication_is_refused(sandbox: Sandbox) -> None:
    """A session with its own authentication is refused when the client is opened."""
    with pytest.warns(DeprecationWarning, match="auth"):
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
    async with session:
        with pytest.raises(ConfigError, match="auth of its own"):
            async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session):
                pass


async def test_user_agent(client: BrazeSegments, sandbox: Sandbox) -> None:
    """The User-Agent names library, version and Python."""
    await client.details(sandbox.segment_ids[0])
    agent = sandbox.requests[0].headers["User-Agent"]
    assert f"braze-segments-async/{braze_segments_async.__version__}" in agent
    assert f"Python/{platform.python_version()}" in agent
