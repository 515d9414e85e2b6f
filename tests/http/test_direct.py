"""GET requests skip aiohttp's session where that is possible, and send the same bytes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aioresponses_shim import mocked
from fault_client import KEY, client_of
from raw_server import Exchange, RawServer, answer, head

from braze_segments_async import BrazeError, BrazeSegments, ConfigError, TransportError

MOCKED = {
    "message": "success",
    "name": "Mocked",
    "created_at": "2026-01-01T00:00:00+00:00",
    "updated_at": "2026-01-01T00:00:00+00:00",
    "description": "",
    "text_description": "",
    "tags": [],
    "teams": [],
}
_SEND_REQUEST = aiohttp.ClientSession._request


@pytest.fixture
def session_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths requested through aiohttp's session, recorded below its own method."""
    paths: list[str] = []
    send = aiohttp.ClientRequest.send

    async def record(self: aiohttp.ClientRequest, connection: Any) -> aiohttp.ClientResponse:
        paths.append(self.url.path)
        return await send(self, connection)

    monkeypatch.setattr(aiohttp.ClientRequest, "send", record)
    return paths


async def test_a_get_skips_the_session(session_requests: list[str]) -> None:
    """By default GET requests do not pass through aiohttp's session; a POST does."""
    async with RawServer() as server, client_of(server.base_url) as client:
        await client.details(server.ids[0])
        assert session_requests == []
        await client.cancel_exports(server.ids[0])
        assert session_requests == ["/export/segment/cancel"]


async def test_direct_requests_can_be_switched_off(session_requests: list[str]) -> None:
    """With `direct=False` all requests pass through the session."""
    async with RawServer() as server, client_of(server.base_url, direct=False) as client:
        await client.details(server.ids[0])
        assert session_requests == ["/segments/details"]
    with pytest.raises(ConfigError, match="direct must be True or False, got 1"):
        BrazeSegments(KEY, base_url=server.base_url, direct=1)  # type: ignore[arg-type]


async def test_a_session_of_the_caller_is_used(session_requests: list[str]) -> None:
    """A caller's session sees all requests."""
    async with RawServer() as server, aiohttp.ClientSession() as session:
        async with client_of(server.base_url, session=session) as client:
            await client.details(server.ids[0])
        assert session_requests == ["/segments/details"]


async def test_traces_of_every_session_see_all_requests(
    session_requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace that a monitoring agent adds to each new session sees all requests."""
    seen: list[str] = []
    trace = aiohttp.TraceConfig()

    async def on_start(_: object, __: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.url.path)

    trace.on_request_start.append(on_start)
    init = aiohttp.ClientSession.__init__

    def traced(self: aiohttp.ClientSession, **options: Any) -> None:
        init(self, **options, trace_configs=[trace])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", traced)
    async with RawServer() as server, client_of(server.base_url) as client:
        await client.details(server.ids[0])
    assert seen == session_requests == ["/segments/details"]


async def test_a_mock_replaces_requests_of_an_open_client() -> None:
    """A mock such as aioresponses may begin and end while a client is open."""
    async with RawServer() as server, client_of(server.base_url) as client:
        assert (await client.details(server.ids[0])).id == server.ids[0]
        with mocked() as mock:
            mock.get(f"{server.base_url}/segments/details?segment_id=mocked", payload=MOCKED)
            assert (await client.details("mocked")).name == "Mocked"
        assert (await client.details(server.ids[1])).id == server.ids[1]
        assert len(server.requests) == 2


async def _wrapped(self: aiohttp.ClientSession, *arguments: Any, **named: Any) -> aiohttp.ClientResponse:
    return await _SEND_REQUEST(self, *arguments, **named)


class _CallableProxy:
    """A wrapper object that looks like the function it wraps, such as those of wrapt."""

    __module__ = _SEND_REQUEST.__module__
    __qualname__ = _SEND_REQUEST.__qualname__

    def __get__(self, session: Any, _: object) -> Any:
        return _SEND_REQUEST.__get__(session)


@pytest.mark.parametrize("replacement", [_wrapped, _CallableProxy()])
async def test_a_patch_of_the_session_sees_all_requests(
    replacement: Any, session_requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replacement of the session's method, made before the client opens, sees all requests."""
    monkeypatch.setattr(aiohttp.ClientSession, "_request", replacement)
    async with RawServer() as server, client_of(server.base_url) as client:
        await client.details(server.ids[0])
    assert session_requests == ["/segments/details"]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (ResponseHandler, "set_response_params"),
        (aiohttp.connector.Connection, "protocol"),
        (aiohttp.BaseConnector, "connect"),
    ],
)
async def test_an_incompatible_aiohttp(owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an aiohttp that lacks what direct requests need, a client opens and uses the session."""
    with monkeypatch.context() as patch:
        patch.delattr(owner, name)
        client = await client_of("http://127.0.0.1:9").__aenter__()
    async with RawServer() as server, client_of(server.base_url):
        assert client._manager._transports[0]._direct is None
        await client.aclose()


async def test_both_ways_send_the_same_request() -> None:
    """With and without the session the server receives the same request, percent-encoding aside."""
    received = []
    for direct in (True, False):
        async with RawServer() as server, client_of(server.base_url, direct=direct) as client:
            with suppress(BrazeError):  # there is no such segment
                await client.data_series("a /?&=+%ü☃", length=7)
            (exchange,) = server.requests
            headers = {**exchange.headers, "host": ""}
            received.append((exchange.target.partition("?")[0], exchange.query, headers))
    assert received[0] == received[1]


@pytest.mark.parametrize("direct", [True, False])
async def test_a_closed_connection_of_the_pool_needs_no_retry(direct: bool) -> None:  # noqa: FBT001
    """A connection that the server closes before the response is replaced once, without a retry."""
    connections = 0

    async def close_second(exchange: Exchange) -> None:
        nonlocal connections
        connections += 1
        if connections == 2:
            exchange.close()
        else:
            await answer()(exchange)

    async with RawServer(close_second) as server, client_of(server.base_url, direct=direct) as client:
        for segment_id in server.ids[:2]:
            assert (await client.details(segment_id)).id == segment_id
        assert (client.stats.retries, len(server.requests)) == (0, 3)


@pytest.mark.parametrize("direct", [True, False])
async def test_interim_responses_are_skipped(direct: bool) -> None:  # noqa: FBT001
    """A 1xx response precedes the real one."""

    async def hint(exchange: Exchange) -> None:
        await exchange.send(head(103, {"Link": "</a>"}))
        await answer()(exchange)

    async with RawServer(hint) as server, client_of(server.base_url, direct=direct) as client:
        assert (await client.details(server.ids[0])).id == server.ids[0]


async def test_a_cancelled_request_leaves_no_connection() -> None:
    """The connection of a cancelled request is closed, and not used again."""
    async with RawServer(Exchange.wait_until_closed) as server, client_of(server.base_url) as client:
        waiting = asyncio.create_task(client.details(server.ids[0]))
        while not server.requests:  # noqa: ASYNC110 - the server does not signal
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while not server.requests[0].closed:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        server.fault = None
        assert (await client.details(server.ids[0])).id == server.ids[0]


async def test_bytes_that_are_not_http() -> None:
    """Bytes that are not HTTP give the same error as through the session, without the key."""

    async def nonsense(exchange: Exchange) -> None:
        await exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        exchange.close()

    messages = []
    for direct in (True, False):
        async with RawServer(nonsense) as server, client_of(server.base_url, direct=direct) as client:
            with pytest.raises(TransportError) as caught:
                await client.details(server.ids[0])
            messages.append(str(caught.value).replace(server.base_url.rpartition(":")[2], "PORT"))
            assert KEY not in repr(caught.value)
    assert messages[0] == messages[1]
