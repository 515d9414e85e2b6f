"""A server with control over every byte: it responds as Braze does, except for a given fault."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from attrs import define, field

from braze_segments_async.sandbox._api import success_body
from braze_segments_async.sandbox._exports import RefusedError
from braze_segments_async.sandbox._workspace import Workspace

if TYPE_CHECKING:
    import ssl

    from braze_segments_async.sandbox import Endpoint

_SEED = 0
ENDPOINTS: dict[str, Endpoint] = {
    "/segments/list": "list",
    "/segments/details": "details",
    "/segments/data_series": "data_series",
}


@cache
def _workspace(segments: int) -> Workspace:
    return Workspace(segments, _SEED)


@lru_cache(maxsize=10_000)
def _genuine_body(segments: int, target: str, now: float) -> bytes:
    """Return the body of Braze's response; cached, since many tests request the same slow bodies."""
    path, _, query = target.partition("?")
    try:
        body = success_body(_workspace(segments), ENDPOINTS[path], dict(parse_qsl(query)), now)
    except RefusedError as error:
        body = {"message": str(error)}
    return json.dumps(body).encode()


@define(eq=False)
class Exchange:
    """One request and the connection to its client.

    Attributes:
        endpoint: Last part of the path.
        target: Path and query, exactly as sent.
        headers: Headers of the request; names in lower case.
        genuine: Response body of Braze.
        closed: Whether the client has closed the connection.
    """

    endpoint: str
    target: str
    headers: dict[str, str] = field(repr=False)
    genuine: bytes = field(repr=False)
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    closed: bool = False

    @property
    def query(self) -> dict[str, str]:
        """The decoded parameters."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    async def send(self, data: bytes) -> None:
        """Send bytes unchanged."""
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        """Close the connection properly, after all data was sent."""
        self.writer.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        peer = self.writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_until_closed(self) -> None:
        """Send nothing until the client closes the connection."""
        await self.reader.read()
        self.closed = True


Fault = Callable[[Exchange], Awaitable[None]]
Body = bytes | Callable[[Exchange], bytes] | None


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes before a body; without a length, the connection closes after the body."""
    lines = {"Content-Type": "application/json", **(headers or {})}
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} X\r\n{text}\r\n".encode("latin-1")


def answer(status: int = 200, body: Body = None, headers: Mapping[str, str] | None = None) -> Fault:
    """Return a fault that sends a complete response; `None` is the genuine body."""

    async def fault(exchange: Exchange) -> None:
        data = body(exchange) if callable(body) else exchange.genuine if body is None else body
        length = {} if status in {204, 304} else {"Content-Length": str(len(data))}
        await exchange.send(head(status, length | dict(headers or {})) + (data if length else b""))

    return fault


def gzipped(body: Body = None, *, encoding: str = "gzip", cut: int | None = None) -> Fault:
    """Return a fault that sends a gzip body, complete or cut short, with a matching Content-Length."""

    async def fault(exchange: Exchange) -> None:
        data = body(exchange) if callable(body) else exchange.genuine if body is None else body
        await answer(200, gzip.compress(data)[:cut], {"Content-Encoding": encoding})(exchange)

    return fault


def changed(**fields: Mapping[str, Any]) -> Callable[[Exchange], bytes]:
    """Return the genuine body with other values, by endpoint and field; `...` removes a field."""

    def body(exchange: Exchange) -> bytes:
        new = {**fields.get(exchange.endpoint, {}), **fields.get("every", {})}
        merged = json.loads(exchange.genuine) | new
        return json.dumps({name: value for name, value in merged.items() if value is not ...}).encode()

    return body


def with_unknown_field(literal: bytes) -> Callable[[Exchange], bytes]:
    """Return the genuine body with an unknown field, whose value is `literal`."""
    return lambda exchange: exchange.genuine[:-1] + b',"new":' + literal + b"}"


def send_then(data: bytes, then: Callable[[Exchange], object]) -> Fault:
    """Return a fault that sends bytes and then acts on the connection."""

    async def fault(exchange: Exchange) -> None:
        if data:
            await exchange.send(data)
            await asyncio.sleep(0.001)  # the data must arrive before a reset
        result = then(exchange)
        if isinstance(result, Awaitable):
            await result

    return fault


def send_slowly(seconds: float) -> Fault:
    """Return a fault that sends a byte every `seconds`, without end."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send(head(headers={"Content-Length": "1000000"}))
        while not exchange.writer.is_closing():
            await exchange.send(b" ")
            await asyncio.sleep(seconds)

    return fault


class RawServer:
    """A server that responds with a fault; `async with` starts and stops it.

    Args:
        fault: Response in place of the genuine one; `None` for the genuine one.
        times: Number of requests, from the first, with this fault; `None` for all.
        segments: Number of segments.
        tls: Context for HTTPS.
    """

    def __init__(
        self,
        fault: Fault | None = None,
        *,
        times: int | None = None,
        segments: int = 8,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.fault = fault
        self.times = times
        self.requests: list[Exchange] = []
        self.connections = 0
        self._workspace = _workspace(segments)
        self._segments = segments
        self._tls = tls
        self._port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._port, ssl=self._tls, backlog=1_024, limit=2**20
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.drop()

    async def drop(self) -> None:
        """Abort every open connection."""
        tasks = list(self._open)
        for task, writer in self._open.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def restart(self) -> None:
        """Stop, and start again on the same port."""
        await self.__aexit__()
        await self.__aenter__()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The tasks of the open connections."""
        return set(self._open)

    @property
    def base_url(self) -> str:
        """The address of the server."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def ids(self) -> list[str]:
        """The ids of the segments, oldest first."""
        return self._workspace.live_ids

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                exchange = self._read(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                self.requests.append(exchange)
                use_fault = self.fault is not None and self.times != 0
                if use_fault and self.times is not None:
                    self.times -= 1
                await (self.fault if use_fault and self.fault else answer())(exchange)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client disconnected, or does not speak HTTP
        finally:
            writer.close()

    def _read(self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
        first, *lines = request.decode("latin-1").rstrip().split("\r\n")
        target = first.split(" ")[1]
        path = target.partition("?")[0]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        exchange = Exchange(ENDPOINTS.get(path, path), target, headers, b"{}", reader, writer)
        if path in ENDPOINTS:
            # Only a data series without an end depends on the time.
            now = time.time() if path.endswith("/data_series") else 0.0
            exchange.genuine = _genuine_body(self._segments, target, now)
        return exchange
