"""A users file is downloaded only from public addresses, within limits, and never partially."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections import namedtuple
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from cli_helpers import inside
from fault_client import client_of
from raw_server import Exchange, RawServer, answer
from users_helpers import QUERY, FileHost, all_users, export_at, once_then, packed, people

from braze_segments_async import BrazeError, ExportError, ExportExpiredError, Limits, ReplyError
from braze_segments_async._arguments import is_public_address, is_public_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

STEP = 100
DATA = packed([people(40), people(3)])
BRAZE = "https://rest.iad-01.braze.com"
REFUSED = "loopback, private or link-local address, which is refused"

# --- the address of the host --------------------------------------------------------------------------

NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - an address, not a bind
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "52.216.0.1", "2606:4700::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
NOT_PUBLIC_NAMES = [
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "2130706433",
    "127.1",
    "0x7f000001",
    "127.0.0.1.",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public(address: str) -> None:
    """Addresses of this machine or of a private network are refused, in every notation."""
    assert not is_public_address(address)
    assert not is_public_host(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    """Public addresses are accepted, also through NAT64."""
    assert is_public_address(address)
    assert is_public_host(address)


@pytest.mark.parametrize("host", NOT_PUBLIC_NAMES)
def test_host_names_of_this_machine(host: str) -> None:
    """A name that some resolvers map to this machine is refused before it is resolved."""
    assert not is_public_host(host)
    assert is_public_host("bucket.s3.us-east-1.amazonaws.com.")


class Resolver:
    """A fake of the loop's resolver and connector: it returns `answers` and records `connected`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[list[str]] = []
        self.connected: list[str] = []
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "getaddrinfo", self._resolve)
        monkeypatch.setattr(loop, "sock_connect", self._connect)

    async def _resolve(self, _: str, port: int, **__: Any) -> list[tuple[Any, ...]]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answer
        ]

    async def _connect(self, _: object, address: tuple[Any, ...]) -> None:
        self.connected.append(address[0])
        raise ConnectionRefusedError(111, "refused")


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Return a fake resolver; every connection is refused."""
    return Resolver(monkeypatch)


@asynccontextmanager
async def caller_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session of the caller."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("own", [False, True], ids=["", "own session"])
@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/a.zip",
        "http://127.0.0.1/a.zip",
        "http://localhost:8080/a.zip",
        "https://[::1]/a.zip",
        "https://10.0.0.1/a.zip",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/a.zip",
        "https://127.1/a.zip",
        "https://2130706433/a.zip",
    ],
)
async def test_a_url_with_an_address_that_is_not_public(resolver: Resolver, url: str, *, own: bool) -> None:
    """A URL with an address that is not public is refused without a connection."""
    async with caller_session() as session, client_of(BRAZE, session=session if own else None) as client:
        with pytest.raises(ReplyError, match=REFUSED) as caught:
            await export_at(client, url).wait()
    assert caught.value.path == "$.url"
    assert not caught.value.retryable
    assert not resolver.connected


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"])
@pytest.mark.parametrize("others", [(), ("8.8.8.8",)], ids=["alone", "with a public one"])
async def test_a_name_with_an_address_that_is_not_public(
    resolver: Resolver, address: str, others: tuple[str, ...]
) -> None:
    """A name is refused if one of its addresses is not public; no exception is chained."""
    resolver.answers = [[*others, address]]
    async with client_of(BRAZE) as client:
        with pytest.raises(ReplyError, match=REFUSED) as caught:
            await export_at(client, f"https://files.example/a.zip?{QUERY}").wait()
    assert caught.value.__context__ is None
    assert not resolver.connected


async def test_a_name_is_resolved_once(resolver: Resolver) -> None:
    """The client connects to the address that was checked, without resolving the name again."""
    resolver.answers = [["8.8.8.8"], ["127.0.0.1"]]
    async with client_of(BRAZE, limits=Limits(connect=5)) as client:
        with pytest.raises(BrazeError):
            await export_at(client, f"https://files.example/a.zip?{QUERY}").wait()
    assert set(resolver.connected) == {"8.8.8.8"}


async def test_a_client_of_loopback_may_fetch_from_loopback() -> None:
    """A client whose REST endpoint is on loopback fetches files from there, by address and by name."""
    async with RawServer(FileHost(DATA)) as host, client_of(host.base_url) as client:
        for base in (host.base_url, host.base_url.replace("127.0.0.1", "localhost")):
            assert len(await all_users(export_at(client, f"{base}/a.zip"))) == 43


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 410, 429, 503])
@pytest.mark.parametrize("where", ["while waiting", "in a range"])
async def test_a_url_with_expired_credentials(status: int, where: str) -> None:
    """A URL whose credentials have expired is an error at once, without a retry."""
    expired = answer(status, b"<Error><Code>ExpiredToken</Code></Error>")

    async def fault(exchange: Exchange) -> None:
        early = where == "in a range" and not _after_first_range(exchange)
        await (FileHost(DATA) if early else expired)(exchange)

    async with RawServer(fault) as host, client_of(host.base_url) as client:
        with pytest.raises(ExportExpiredError, match="export the users again"):
            await all_users(export_at(client, f"{host.base_url}/a.zip", step=STEP))


# --- the size of the file -----------------------------------------------------------------------------


@pytest.fixture
async def host() -> AsyncIterator[RawServer]:
    """Yield a host with a file of several ranges."""
    async with RawServer(FileHost(DATA)) as server:
        yield server


async def test_a_file_of_the_maximum_size(host: RawServer) -> None:
    """A file of exactly `limits.file` bytes is accepted."""
    async with client_of(host.base_url, limits=Limits(file=len(DATA))) as client:
        assert len(await all_users(export_at(client, f"{host.base_url}/a.zip", step=STEP))) == 43


async def test_a_file_that_is_too_large(host: RawServer, tmp_path: Path) -> None:
    """A file with a larger announced size is refused after its first range; the error names the limit."""
    async with client_of(host.base_url, limits=Limits(file=len(DATA) - 1)) as client:
        export = export_at(client, f"{host.base_url}/a.zip", step=STEP)
        for work in (all_users(export), export.save(tmp_path / "a.zip")):
            host.requests.clear()
            with pytest.raises(ReplyError, match=rf"limits\.file \({len(DATA) - 1:,} bytes\); raise"):
                await work
            assert (
                len([exchange for exchange in host.requests if exchange.headers["range"] != "bytes=0-0"]) == 1
            )
    assert not inside(tmp_path)


async def test_an_endless_file(host: RawServer) -> None:
    """The default limit refuses a file of a huge announced size before anything is written."""

    async def endless(exchange: Exchange) -> None:
        first, last = FileHost.requested_range(exchange)
        headers = {"Content-Range": f"bytes {first}-{last}/{10**17}"}
        await answer(206, b"x" * (last - first + 1), headers)(exchange)

    host.fault = endless
    async with client_of(host.base_url) as client:
        export = export_at(client, f"{host.base_url}/a.zip")
        with pytest.raises(ReplyError, match=r"more than limits\.file \(68,719,476,736 bytes\)"):
            await all_users(export)
    assert export.received == 0


Usage = namedtuple("Usage", "free")  # noqa: PYI024 - like the result of shutil.disk_usage


@pytest.mark.parametrize("parts", [0, 3])
async def test_a_disk_without_enough_space(
    host: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """Free space is compared with the bytes still to download, before and during the download."""
    checked: list[str] = []

    def usage(path: os.PathLike[str]) -> Usage:
        checked.append(os.fspath(path))
        return Usage(len(DATA) - (len(checked) - 1) * STEP - (len(checked) > parts))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    async with client_of(host.base_url) as client:
        export = export_at(client, f"{host.base_url}/a.zip", step=STEP)
        with pytest.raises(ExportError, match="bytes of free disk space; free some space, or") as caught:
            await export.save(tmp_path / "a.zip")
    assert f"{len(DATA) - parts * STEP:,} bytes, but {tmp_path} has only" in str(caught.value)
    assert export.received == parts * STEP
    assert set(checked) == {str(tmp_path)}
    assert not inside(tmp_path)


# --- exceptions during a download ---------------------------------------------------------------------


class TerminationSignal(BaseException):
    """An exception of a scheduler that ends a task; it is not an `Exception`."""


def _after_first_range(exchange: Exchange) -> bool:
    return FileHost.requested_range(exchange)[0] >= STEP


VERBS: dict[str, Callable[[Any, Path], Any]] = {
    "users": lambda export, _: all_users(export),
    "save": lambda export, folder: export.save(folder / "a.ndjson"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("where", ["while waiting", "in a range"])
async def test_a_callback_that_raises_a_base_exception(
    host: RawServer, tmp_path: Path, verb: str, where: str
) -> None:
    """A `BaseException` of a callback is raised; the stream does not end as if it were complete."""
    busy = answer(503, b"")
    host.fault = once_then(
        busy, FileHost(DATA), when=_after_first_range if where == "in a range" else lambda _: True
    )

    def on_retry(_: object) -> None:
        raise TerminationSignal

    async with client_of(host.base_url, on_retry=on_retry) as client:
        export = export_at(client, f"{host.base_url}/a.zip", step=STEP)
        with pytest.raises(TerminationSignal):
            await VERBS[verb](export, tmp_path)
    assert not inside(tmp_path)


@pytest.mark.parametrize("kind", [TerminationSignal, MemoryError, asyncio.CancelledError])
@pytest.mark.parametrize("verb", VERBS)
async def test_an_exception_in_a_thread(
    host: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, kind: type[BaseException]
) -> None:
    """An exception in the reading thread, raised after some users, reaches the caller."""
    from braze_segments_async._users import reader as archive  # noqa: PLC0415 - next to the patch

    def failing(*_: object) -> Any:
        yield b"{}", {}
        raise kind

    monkeypatch.setattr(archive, "read_users", failing)
    monkeypatch.setattr("braze_segments_async._users.export.read_users", failing)
    async with client_of(host.base_url) as client:
        export = export_at(client, f"{host.base_url}/a.zip", step=STEP)
        with pytest.raises(kind):
            await VERBS[verb](export, tmp_path)
    assert not inside(tmp_path)
