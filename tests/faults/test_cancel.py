"""`break`, exceptions in the loop, cancellation and `asyncio.timeout` are prompt and clean."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from fault_client import CALLS, Attempt, Call, Clock, assert_values, client_of
from raw_server import Exchange, Fault, RawServer, answer, head, send_slowly, send_then

from braze_segments_async import BrazeSegments, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

EACH = pytest.mark.parametrize("call", CALLS, ids=str)
SLOW = RetryPolicy(backoff=60.0, backoff_cap=60.0, max_rate_limit_wait=600.0)
WAITS: dict[str, Fault] = {
    "for an answer": send_then(b"", Exchange.wait_until_closed),
    "in the head": send_then(b"HTTP/1.1 200 OK\r\nCont", Exchange.wait_until_closed),
    "in the body": send_then(head(headers={"Content-Length": "99"}) + b"{", Exchange.wait_until_closed),
    "in a drip": send_slowly(0.001),
    "before a retry": answer(503, b""),
    "at the rate limiter": answer(429, b"", {"Retry-After": "300"}),
}


class CallersError(Exception):
    """An exception of the caller."""


def _assert_nothing_runs(server: RawServer, before: set[Any]) -> None:
    """Assert that no task is left but the server's, which notice a closed connection late."""
    running = asyncio.all_tasks() - before - server.tasks
    assert not [task for task in running if "_accept_connection" not in repr(task.get_coro())]


@EACH
@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_cancelled_while_waiting(
    call: Call, wait: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancellation or a timeout at any wait raises the caller's exception at once; the client is usable."""
    async with RawServer(WAITS[wait]) as server, client_of(server.base_url, retry=SLOW) as client:
        before = asyncio.all_tasks()
        started = asyncio.get_running_loop().time()
        if how == "timeout":
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.03):
                    await call.outcomes(client, server.ids)
            assert type(caught.value) is TimeoutError
        else:
            asked = asyncio.create_task(call.outcomes(client, server.ids))
            await asyncio.sleep(0.03)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        assert asyncio.get_running_loop().time() - started < 5.0
        _assert_nothing_runs(server, before)
        server.fault = None
        Clock(1e9).drive(monkeypatch)  # past any pause of the rate limiter
        assert_values(call, Attempt(await call.outcomes(client, server.ids), 0, []))


@EACH
async def test_cancelled_at_any_await(call: Call) -> None:
    """Cancellation after any number of loop iterations raises `CancelledError`, or the call had completed."""
    async with RawServer() as server, client_of(server.base_url) as client:
        for turns in range(40):
            before = asyncio.all_tasks()
            asked = asyncio.create_task(call.outcomes(client, server.ids))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert_values(call, Attempt(await asked, 0, []))
            _assert_nothing_runs(server, before)
        assert_values(call, Attempt(await call.outcomes(client, server.ids), 0, []))


async def _leave(client: BrazeSegments, way: str, error: Exception | None) -> None:
    """Iterate, and leave the loop after the first item with `break` or an exception."""
    concurrency = int(way.partition("@")[2] or 1)
    streams: dict[str, Callable[[], Any]] = {
        "list": lambda: aiter(client.list()),
        "safe": lambda: aiter(client.list(consistency="safe")),
        "pages": lambda: client.list().pages(),
        "all_details": lambda: aiter(client.all_details(concurrency=concurrency)),
        "collect": lambda: aiter(
            client.all_details(concurrency=concurrency, on_error="collect", ordered=True)
        ),
    }
    async with aclosing(streams[way.partition("@")[0]]()) as stream:
        async for _ in stream:
            if error is not None:
                raise error
            break


WAYS = ["list", "safe", "pages", "all_details@1", "all_details@8", "collect@1", "collect@8"]


@pytest.mark.parametrize("way", WAYS)
async def test_break(way: str) -> None:
    """After `break` and closing the stream nothing is running, and the client is usable."""
    async with RawServer(segments=350) as server, client_of(server.base_url) as client:
        before = asyncio.all_tasks()
        await _leave(client, way, None)
        _assert_nothing_runs(server, before)
        seen = len(server.requests)
        await asyncio.sleep(0.02)
        assert len(server.requests) <= seen + 8  # what was on its way; nothing new is started
        assert [segment.id async for segment in client.list()] == server.ids


@pytest.mark.parametrize("way", WAYS)
async def test_exception_in_the_loop(way: str) -> None:
    """An exception in the loop is raised unchanged and in no group; nothing is left running."""
    async with RawServer(segments=350) as server, client_of(server.base_url) as client:
        before = asyncio.all_tasks()
        error = CallersError("mine")
        with pytest.raises(CallersError) as caught:
            await _leave(client, way, error)
        assert caught.value is error
        assert (error.__cause__, error.__context__) == (None, None)
        _assert_nothing_runs(server, before)
        assert [segment.id async for segment in client.list()] == server.ids


@pytest.mark.parametrize("way", ["list", "all_details"])
async def test_break_without_closing(way: str) -> None:
    """After `break` without `aclosing` nothing is running once the client is closed; there is no warning."""
    async with RawServer(segments=350) as server:
        before = asyncio.all_tasks()
        async with client_of(server.base_url) as client:
            stream = client.list() if way == "list" else client.all_details()
            async for _ in stream:
                break
        await asyncio.sleep(0)
        _assert_nothing_runs(server, before)


@pytest.mark.parametrize("way", WAYS)
async def test_exception_of_a_hook(way: str) -> None:
    """An exception of `on_retry` is raised unchanged; nothing is left running."""
    error = CallersError("mine")

    def hook(_: object) -> None:
        raise error

    async with (
        RawServer(answer(503, b""), times=1, segments=350) as server,
        client_of(server.base_url, on_retry=hook) as client,
    ):
        before = asyncio.all_tasks()
        with pytest.raises(CallersError) as caught:
            await _leave(client, way, None)
        assert caught.value is error
        _assert_nothing_runs(server, before)


async def test_exception_of_the_ids() -> None:
    """An exception of the caller's iterable of ids is raised unchanged; nothing is left running."""
    error = CallersError("mine")

    async def ids() -> Any:
        for segment_id in server.ids[:3]:
            yield segment_id
        raise error

    async with RawServer() as server, client_of(server.base_url) as client:
        before = asyncio.all_tasks()
        with pytest.raises(CallersError) as caught:
            async for _ in client.all_details(ids()):
                pass
        assert caught.value is error
        _assert_nothing_runs(server, before)


async def test_timeout_in_the_loop() -> None:
    """`asyncio.timeout` around a loop raises `TimeoutError`; the results so far were yielded."""
    got = []
    async with RawServer(segments=350) as server, client_of(server.base_url) as client:
        before = asyncio.all_tasks()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as time_out, client.all_details() as stream:
                async for details in stream:
                    got.append(details.id)
                    if len(got) == 1:
                        time_out.reschedule(asyncio.get_running_loop().time() + 0.05)
                    await asyncio.sleep(0.01)
        assert 1 <= len(got) < 350
        _assert_nothing_runs(server, before)
        assert (await client.details(got[0])).name
