"""Faults that need a second server or other means: redirects, memory, TLS, cookies."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fault_client import CALLS, KEY, Attempt, Call, assert_values, client_of
from raw_server import Exchange, Fault, RawServer, answer, head, send_then

from braze_segments_async import (
    ConfigError,
    Limits,
    RedirectError,
    ReplyError,
    RetryEvent,
    RetryPolicy,
    TimedOutError,
    TransportError,
)
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

EACH = pytest.mark.parametrize("call", CALLS, ids=str)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@EACH
async def test_redirect_to_another_host(call: Call, status: int) -> None:
    """A redirect is a `RedirectError`, never followed; the other host receives nothing."""
    async with RawServer() as other:
        fault = answer(status, b"", {"Location": f"{other.base_url}/segments/list"})
        async with RawServer(fault) as server, client_of(server.base_url) as client:
            outcomes = await call.outcomes(client, server.ids)
            assert {type(outcome) for outcome in outcomes} == {RedirectError}
            assert len(server.requests) == call.concurrency
        assert other.connections == 0


def _bomb(megabytes: int) -> bytes:
    stream = zlib.compressobj(wbits=31)
    return b"".join(stream.compress(b" " * 2**20) for _ in range(megabytes)) + stream.flush()


def _flood(headers: dict[str, str], data: bytes) -> Fault:
    """Send 64 MiB, or less if the client disconnects."""

    async def fault(exchange: Exchange) -> None:
        await exchange.send(head(headers=headers))
        for _ in range(16):
            await exchange.send(data)
        await exchange.wait_until_closed()

    return fault


_CHUNK = b"%x\r\n%s\r\n" % (2**22, b" " * 2**22)


@pytest.mark.parametrize(
    ("variant", "headers"),
    [
        ("with a length", {"Content-Length": str(2**26)}),
        ("in chunks", {"Transfer-Encoding": "chunked"}),
        ("without an end", {}),
        ("a gzip bomb", {"Content-Encoding": "gzip"}),
    ],
)
async def test_memory_stays_flat(variant: str, headers: dict[str, str]) -> None:
    """A body or gzip bomb of 64 MiB beyond a cap of 1 MiB is a `ReplyError`, and memory stays flat."""
    data = _CHUNK if variant == "in chunks" else b" " * 2**22
    fault = answer(200, _bomb(64), headers) if variant == "a gzip bomb" else _flood(headers, data)
    async with RawServer(fault) as server, client_of(server.base_url) as client:
        tracemalloc.start()
        try:
            with pytest.raises(ReplyError, match=r"limits\.body"):
                await client.details(server.ids[0])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 12 * 2**20  # the server's own 4 MiB, their copy in its transport, and what the client keeps


@EACH
async def test_connection_is_closed_beyond_the_cap(call: Call) -> None:
    """A connection is closed beyond the cap: the rest is not read, and the next request opens another."""
    fault = send_then(head(headers={"Content-Length": "9999999"}) + b" " * 2_000, Exchange.wait_until_closed)
    async with (
        RawServer(fault, times=1) as server,
        client_of(server.base_url, limits=Limits(body=1_500)) as client,
    ):
        with pytest.raises(ReplyError, match=r"limits\.body"):
            await call.one(client, server.ids[0])
        await asyncio.sleep(0.02)
        assert server.requests[0].closed
        await client.details(server.ids[0])
        assert server.connections == 2


@EACH
async def test_stale_keep_alive(call: Call) -> None:
    """A request on a kept-alive connection that the server closed is retried."""
    async with RawServer() as server, client_of(server.base_url) as client:
        for expected in (1, 2):
            tried = Attempt(await call.outcomes(client, server.ids), 0, [])
            assert_values(call, tried)
            assert len(server.requests) == expected * call.concurrency
            await server.drop()


@EACH
async def test_server_restart(call: Call) -> None:
    """Requests are retried when the server restarts between two calls or during them."""
    async with RawServer() as server, client_of(server.base_url) as client:
        await call.outcomes(client, server.ids)
        await server.restart()

        async def restart(_: Exchange) -> None:
            server.fault = None
            task = asyncio.create_task(server.restart())
            tasks.append(task)
            await asyncio.sleep(1)  # cut off by the restart

        tasks: list[asyncio.Task[None]] = []
        server.fault = restart
        assert_values(call, Attempt(await call.outcomes(client, server.ids), 0, []))
        await asyncio.gather(*tasks)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@EACH
async def test_connection_refused(call: Call) -> None:
    """A refused connection is retried, then a `TransportError` that names host and port."""
    port = _free_port()
    retried: list[RetryEvent] = []
    async with client_of(f"http://127.0.0.1:{port}", on_retry=retried.append) as client:
        outcomes = await call.outcomes(client, [f"id{number}" for number in range(8)])
    assert {type(outcome) for outcome in outcomes} == {TransportError}
    assert {outcome.attempts for outcome in outcomes} == {5}
    assert all(f"127.0.0.1:{port}" in str(outcome) for outcome in outcomes)
    assert len(retried) == 4 * call.concurrency


@EACH
async def test_dns_failure(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown host is retried, then a `TransportError` that names host and port."""

    def unknown(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    asked: list[str] = []
    retried: list[RetryEvent] = []
    async with client_of("https://rest.braze.invalid", on_retry=retried.append) as client:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        outcomes = await call.outcomes(client, [f"id{number}" for number in range(8)])
    assert {type(outcome) for outcome in outcomes} == {TransportError}
    assert {outcome.attempts for outcome in outcomes} == {5}
    assert all("rest.braze.invalid:443" in str(outcome) for outcome in outcomes)
    assert set(asked) == {"rest.braze.invalid"}
    assert len(retried) == 4 * call.concurrency


async def test_no_connection_in_time() -> None:
    """A host that accepts no connection is a `TimedOutError` after `limits.connect`, naming host and port."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            async with client_of(f"http://127.0.0.1:{port}", limits=Limits(connect=0.05)) as client:
                with pytest.raises(TimedOutError, match=rf"127\.0\.0\.1:{port} within 0\.05 s") as caught:
                    await client.details("a")
            assert caught.value.attempts == 5
        finally:
            for one in waiting:
                one.close()


@pytest.fixture
async def https(tmp_path: Path) -> AsyncIterator[RawServer]:
    """Yield a server with an untrusted certificate; without `openssl`, one that speaks no TLS."""
    if (openssl := shutil.which("openssl")) is None:
        async with RawServer() as server:
            yield server
        return
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221, S603 - quick, and before the test
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with RawServer(tls=context) as server:
        yield server


@pytest.mark.parametrize("kind", ["self-signed", "not TLS at all"])
@EACH
async def test_tls_failure(https: RawServer, kind: str, call: Call) -> None:
    """A TLS failure is a `TransportError` at once, naming host and port; nothing was sent."""
    retried: list[RetryEvent] = []
    async with Sandbox(8) as plain:
        server = https if kind == "self-signed" else plain
        where = server.base_url.partition("//")[2]
        async with client_of(f"https://{where}", on_retry=retried.append, timeout=5.0) as client:
            outcomes = await call.outcomes(client, plain.segment_ids)
    assert {type(outcome) for outcome in outcomes} == {TransportError}
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert all(where in str(outcome) and "TLS" in str(outcome) for outcome in outcomes)
    assert not retried
    assert not server.requests


@EACH
async def test_cookies(call: Call) -> None:
    """Cookies are not sent back."""
    fault = answer(headers={"Set-Cookie": "session=1; Path=/; Max-Age=9999"})
    async with RawServer(fault) as server:
        url = server.base_url.replace("127.0.0.1", "localhost")  # cookies of addresses are not kept anyway
        async with client_of(url) as client:
            await call.outcomes(client, server.ids)
            await call.outcomes(client, server.ids)
        assert len(server.requests) == 2 * call.concurrency
        assert not any("cookie" in exchange.headers for exchange in server.requests)


@EACH
async def test_netrc_and_proxy_variables(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/.netrc` and proxy variables are ignored: the given key is sent, and the proxy receives nothing."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with RawServer() as proxy, RawServer() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url)
            monkeypatch.setenv(name.lower(), proxy.base_url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with client_of(server.base_url) as client:
            assert_values(call, Attempt(await call.outcomes(client, server.ids), 0, []))
        assert {exchange.headers["authorization"] for exchange in server.requests} == {f"Bearer {KEY}"}
        assert proxy.connections == 0


@EACH
async def test_key_is_only_in_one_header(call: Call) -> None:
    """The key is in the Authorization header, and neither in the URL nor in another header."""
    async with RawServer() as server, client_of(server.base_url) as client:
        await call.outcomes(client, server.ids)
        for exchange in server.requests:
            assert exchange.headers.pop("authorization") == f"Bearer {KEY}"
            assert not any(
                part in f"{exchange.target} {exchange.headers}" for part in (KEY, KEY[:14], KEY[14:])
            )


@pytest.mark.parametrize("host", ["rest..iad-01.braze.com", f"{'a' * 64}.braze.com", ".braze.com"])
def test_an_invalid_host_name_is_refused(host: str) -> None:
    """An invalid host name is refused as an argument, before Python's codec would raise."""
    with pytest.raises(ConfigError, match=r"^base_url is not a URL: "):
        client_of(f"https://{host}")


async def test_a_request_that_aiohttp_refuses_is_a_braze_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A session that finds another authorisation in `~/.netrc` raises a `BrazeError`; nothing is sent."""
    (tmp_path / ".netrc").write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with (
        RawServer() as server,
        aiohttp.ClientSession(trust_env=True) as session,
        client_of(server.base_url, session=session) as client,
    ):
        with pytest.raises(TransportError, match=r"cannot send a request to .*trust_env=False") as caught:
            await client.details("a")
        assert (caught.value.sent, caught.value.attempts, server.requests) == (False, 1, [])


async def test_a_request_without_a_connection_was_not_sent() -> None:
    """A POST that waited for a connection is marked as not sent, whichever timeout ends it."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            options: dict[str, Any] = {"timeout": 0.2, "retry": RetryPolicy(attempts=2, backoff=0.0)}
            async with client_of(f"http://{address[0]}:{address[1]}", **options) as client:
                with pytest.raises(TimedOutError) as caught:
                    await client.cancel_exports("a")
        finally:
            for filler in fillers:
                filler.close()
    assert (caught.value.sent, caught.value.attempts) == (False, 2)
