"""Requests through a forward proxy: `proxy=` for Braze and for the files of users exports."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import traceback
from base64 import b64encode
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from raw_server import RawServer

from braze_segments_async import BrazeSegments, ConfigError, RetryPolicy, TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from braze_segments_async.sandbox import Sandbox

PASSWORD = "s3cret-pass"
ONCE = RetryPolicy(attempts=1)


class Proxy:
    """A forward proxy that tunnels HTTPS and forwards HTTP.

    Attributes:
        lines: First line of each request.
        authorizations: `Proxy-Authorization` of each request.
        status: Status of the responses in place of a tunnel, if it is not 200.
    """

    def __init__(self, status: int) -> None:
        self.lines: list[str] = []
        self.authorizations: list[str] = []
        self.status = status
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            line, *headers = head.decode().split("\r\n")
            self.lines.append(line)
            found = [h for h in headers if h.lower().startswith("proxy-authorization:")]
            self.authorizations += [h.partition(": ")[2] for h in found]
            method, target, _ = line.split(" ")
            if self.status != 200:
                writer.write(f"HTTP/1.1 {self.status} No\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                where = target if method == "CONNECT" else target.split("/")[2]
                host, _, port = where.rpartition(":")
                upstream, to_upstream = await asyncio.open_connection(host, int(port))
                if method == "CONNECT":
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    to_upstream.write(head)
                await asyncio.gather(_copy(reader, to_upstream), _copy(upstream, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def running_proxy(status: int = 200) -> AsyncIterator[Proxy]:
    """Run a proxy on loopback."""
    proxy = Proxy(status)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.url = f"http://user:{PASSWORD}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
        server.close()


@pytest.fixture
async def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawServer]:
    """Yield a server with a certificate that is trusted in this test."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1",
               "-addext", "subjectAltName=IP:127.0.0.1"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)  # noqa: ASYNC221, S603 - quick, and before the test
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    async with RawServer(tls=context) as server:
        yield server


@pytest.mark.parametrize("direct", [True, False])
async def test_https_goes_through_a_tunnel(https: RawServer, direct: bool) -> None:  # noqa: FBT001
    """HTTPS requests share a tunnel, on the direct path, too; Braze never gets the proxy's password."""
    async with running_proxy() as proxy:
        client = BrazeSegments("KEY", base_url=https.base_url, proxy=proxy.url, direct=direct)
        async with client:
            assert (client._manager._transports[0]._direct is not None) is direct
            for segment_id in https.ids[:3]:
                assert (await client.details(segment_id)).id == segment_id
    where = https.base_url.removeprefix("https://")
    assert proxy.lines == [f"CONNECT {where} HTTP/1.1"]
    assert proxy.authorizations == ["Basic " + b64encode(f"user:{PASSWORD}".encode()).decode()]
    assert not any("proxy-authorization" in exchange.headers for exchange in https.requests)


async def test_http_is_forwarded(sandbox: Sandbox, tmp_path: Path) -> None:
    """Requests over http, and those for a users file on another host, pass the proxy."""
    async with running_proxy() as proxy:
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, proxy=proxy.url) as client:
            assert (await client.details(sandbox.segment_ids[0])).name
            export = await client.export_users(sandbox.segment_ids[0], fields=["external_id"])
            await export.save(tmp_path / "users.ndjson")
        assert export.url is not None
        assert any(line.startswith(f"GET {sandbox.base_url}/segments/details?") for line in proxy.lines)
        assert any(line.startswith(f"GET {export.url.partition('?')[0]}") for line in proxy.lines)
        assert set(proxy.authorizations) == {"Basic " + b64encode(f"user:{PASSWORD}".encode()).decode()}


@pytest.mark.parametrize(
    ("status", "hint"),
    [(407, "check the user and the password in its URL"), (403, "ask its operator")],
)
async def test_a_refused_tunnel(https: RawServer, status: int, hint: str) -> None:
    """A proxy that refuses the tunnel is named, the request is not repeated, and no password is shown."""
    async with (
        running_proxy(status) as proxy,
        BrazeSegments("KEY", base_url=https.base_url, proxy=proxy.url) as client,
    ):
        with pytest.raises(
            TransportError, match=rf"the proxy refuses to connect .*\(status {status}\)"
        ) as caught:
            await client.details("an-id")
        assert hint in str(caught.value)
        assert (caught.value.sent, caught.value.attempts) == (False, 1)
        assert len(proxy.lines) == 1
        _assert_hidden(caught.value, client)


@pytest.fixture
def unused_tcp_port() -> Iterator[int]:
    """Yield a port on which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@pytest.mark.parametrize("base_url", ["https://rest.iad-01.braze.com", "http://127.0.0.1:9"])
async def test_a_proxy_that_is_not_running(unused_tcp_port: int, base_url: str) -> None:
    """The address of a proxy that does not respond is in the message, and its password is not."""
    url = f"http://user:{PASSWORD}@127.0.0.1:{unused_tcp_port}"
    async with BrazeSegments("KEY", base_url=base_url, proxy=url, retry=ONCE) as client:
        with pytest.raises(
            TransportError, match=f"cannot connect to the proxy 127.0.0.1:{unused_tcp_port} "
        ) as e:
            await client.details("an-id")
        _assert_hidden(e.value, client)


@pytest.mark.parametrize(
    "proxy",
    [
        f"socks5://user:{PASSWORD}@proxy.example.com",
        f"http://user:{PASSWORD}@proxy.example.com/path",
        f"http://user:{PASSWORD}@proxy.example.com:99999",
        f"user:{PASSWORD}@proxy.example.com",
        "",
        7,
    ],
)
def test_an_invalid_proxy(proxy: Any) -> None:
    """An invalid proxy is refused by its name, without its password."""
    with pytest.raises(ConfigError, match=r"^proxy must ") as caught:
        BrazeSegments("KEY", base_url="US-01", proxy=proxy)
    assert caught.value.argument == "proxy"
    _assert_hidden(caught.value)


async def test_a_proxy_and_a_session() -> None:
    """A proxy beside a session of the caller is refused, with the way to give it to the session."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError, match=r"aiohttp\.ClientSession\(proxy=…\)"):
            BrazeSegments("KEY", base_url="US-01", proxy="http://proxy.example.com:3128", session=session)


def _assert_hidden(error: BaseException, *objects: object) -> None:
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    # The frames of this file hold the URL as the caller wrote it.
    ours = "".join(
        frame for frame in shown.split("  File ") if "test_proxy.py" not in frame.partition("\n")[0]
    )
    for text in (ours, str(error), repr(error), *map(repr, objects)):
        assert PASSWORD not in text
