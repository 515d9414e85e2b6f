"""The file of a users export: brought in ranges from a host that never sees the key, and read."""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
from contextlib import aclosing
from typing import IO, TYPE_CHECKING, Any

import aiohttp
import pytest
from cli_helpers import inside
from fault_client import KEY, client_of
from key_leaks import leaks
from raw_server import Exchange, Faulty, answer, head, say
from users_helpers import QUERY, FileHost, all_users, export_at, once, packed, people

from braze_segments_async import (
    BrazeError,
    BrazeSegments,
    ClosedError,
    ExportError,
    ExportExpiredError,
    Limits,
    RedirectError,
    ReplyError,
    ServerError,
    TransportError,
    UsersExport,
)
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from raw_server import Fault

STEP = 100
MANY = packed([people(40), people(3), [], people(1)])  # some parts of so many bytes


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
    """The temporary files of a test: in a directory of its own, and all closed when it is over."""
    opened: list[IO[bytes]] = []
    real = tempfile.TemporaryFile

    def recorded(**options: Any) -> IO[bytes]:
        opened.append(real(**options))
        return opened[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", recorded)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return opened


@pytest.fixture
async def host() -> AsyncIterator[Faulty]:
    """A host of a file of several parts."""
    async with Faulty(FileHost(MANY)) as server:
        yield server


@pytest.fixture
async def segments(host: Faulty) -> AsyncIterator[BrazeSegments]:
    """An open client, for which the same server would be Braze."""
    async with client_of(host.base_url) as client:
        yield client


@pytest.fixture
def export(host: Faulty, segments: BrazeSegments) -> UsersExport:
    """An export whose file is at the host."""
    return export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=STEP)


def asked(host: Faulty) -> list[str]:
    """The ranges the host was asked for."""
    return [exchange.headers["range"] for exchange in host.requests]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that nobody announces."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# --- ranges -------------------------------------------------------------------------------------------


async def test_parts_at_once_in_order(host: Faulty, export: UsersExport) -> None:
    """The file comes in parts, four at a time; those that come early wait for their turn."""
    slow_first = random.Random(3)
    host.fault = at = FileHost(MANY, late=lambda first: slow_first.random() / 50 if first else 0.0)
    assert await all_users(export) == people(40) + people(3) + people(1)
    assert at.peak == 4
    starts = range(0, len(MANY), STEP)
    assert sorted(at.ranges) == [(0, 0), *((start, start + STEP - 1) for start in starts)]
    assert export.received == export.size == len(MANY)


async def test_a_file_of_one_part(host: Faulty, segments: BrazeSegments) -> None:
    """A file that is no longer than a part is one request, and another that finds it ready."""
    for step in (len(MANY), len(MANY) + 1, 2**20):
        host.requests.clear()
        export = export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=step)
        assert len(await all_users(export)) == 44
        assert asked(host) == ["bytes=0-0", f"bytes=0-{step - 1}"]


@pytest.mark.parametrize("size", [99, 100, 101, 199, 200, 201])
async def test_any_length(host: Faulty, export: UsersExport, tmp_path: Path, size: int) -> None:
    """No byte is lost where parts meet, or at the end."""
    data = packed([b'{"a":"' + bytes(65 + n % 26 for n in range(size)) + b'"}'], method=0)
    host.fault = FileHost(data)
    assert await export.save(tmp_path / "a.zip") == 1
    assert (tmp_path / "a.zip").read_bytes() == data


async def test_read_twice(host: Faulty, export: UsersExport) -> None:
    """A second reading fetches the file again, and need not wait for it."""
    assert await all_users(export) == await all_users(export)
    assert asked(host).count("bytes=0-0") == 1
    assert asked(host).count("bytes=0-99") == 2


async def test_how_much_there_is(host: Faulty, export: UsersExport) -> None:
    """How far the fetching is can be read at any time."""
    host.fault = first_part_only
    fetching = asyncio.create_task(all_users(export))
    await until(lambda: export.received)
    assert (export.received, export.size) == (STEP, len(MANY))
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching


async def first_part_only(exchange: Exchange) -> None:
    """Silence where any other part is asked for."""
    first = not FileHost.asked(exchange)[0]
    await (FileHost(MANY) if first else say(_HEAD, Exchange.wait_until_gone))(exchange)


def _of_second_part(exchange: Exchange) -> bool:
    return FileHost.asked(exchange)[0] == STEP


_HEAD = head(206, {"Content-Length": "100", "Content-Range": f"bytes 100-199/{len(MANY)}", "ETag": '"1"'})
PASSING: dict[str, Fault] = {
    "cut in the middle": say(_HEAD + b"half", Exchange.close),
    "reset in the middle": say(_HEAD + b"half", Exchange.reset),
    "lost": say(b"", Exchange.close),
    "busy": answer(503, b"<Error/>"),
    "slow down": answer(429, b"", {"Retry-After": "0"}),
    "another range": answer(206, b"a" * 100, {"Content-Range": f"bytes 0-99/{len(MANY)}"}),
    "the whole": answer(200, MANY),
    "too little of the range": answer(206, b"a" * 99, {"Content-Range": f"bytes 100-199/{len(MANY)}"}),
    "no word of the range": answer(206, b"a" * 100),
    "a range of nothing": answer(206, b"a" * 100, {"Content-Range": "bytes 100-199/0"}),
    "garbage for a range": answer(206, b"a" * 100, {"Content-Range": "bytes x-y/*"}),
}


@pytest.mark.parametrize("fault", PASSING)
async def test_a_part_that_fails_once(host: Faulty, export: UsersExport, fault: str) -> None:
    """Only that part is asked for again."""
    host.fault = once(PASSING[fault], FileHost(MANY), when=_of_second_part)
    assert len(await all_users(export)) == 44
    assert asked(host).count("bytes=100-199") in {2, 3}  # aiohttp repeats a GET once, unseen
    assert set(map(asked(host).count, asked(host)[2:])) <= {1, 2, 3}


FOR_GOOD: dict[str, tuple[type[BrazeError], str]] = {
    "cut in the middle": (TransportError, "lost in the middle of the body"),
    "busy": (ServerError, "503 after 5 attempts: the host of the file is busy"),
    "another range": (ReplyError, "not the range of bytes that was asked for"),
    "the whole": (ReplyError, "the whole file where a part of it was asked for"),
}


@pytest.mark.parametrize("fault", FOR_GOOD)
async def test_a_part_that_always_fails(host: Faulty, export: UsersExport, fault: str) -> None:
    """No user is given of a file that is not whole."""
    error, words = FOR_GOOD[fault]

    async def faulty(exchange: Exchange) -> None:
        await (PASSING[fault] if _of_second_part(exchange) else FileHost(MANY))(exchange)

    host.fault = faulty
    with pytest.raises(error, match=words) as caught:
        await all_users(export)
    assert caught.value.endpoint == "GET the file of a users export"
    assert caught.value.segment_id == "segment-1"


@pytest.mark.parametrize("change", ["another name", "no name", "another length"])
async def test_a_file_that_changes(host: Faulty, export: UsersExport, change: str) -> None:
    """Parts of two files are not put together."""
    other = FileHost(MANY, etag='"2"' if change == "another name" else None)
    if change == "another length":
        other = FileHost(MANY + b"more")

    async def changing(exchange: Exchange) -> None:
        await (FileHost(MANY) if FileHost.asked(exchange)[0] < 3 * STEP else other)(exchange)

    host.fault = changing
    with pytest.raises(ReplyError, match="the file was changed during the download"):
        await all_users(export)


async def test_a_host_without_names(host: Faulty, export: UsersExport) -> None:
    """A host that gives its files no ETag will do."""
    host.fault = FileHost(MANY, etag=None)
    assert len(await all_users(export)) == 44


async def test_a_host_without_ranges(host: Faulty, export: UsersExport) -> None:
    """One that always answers with the whole file will do while that is small."""
    host.fault = answer(200, MANY)
    assert len(await all_users(export)) == 44
    assert export.received == export.size == len(MANY)


async def test_a_host_without_ranges_of_a_large_file(host: Faulty) -> None:
    """… and else is an error, not a file in memory."""
    host.fault = answer(200, MANY)
    async with client_of(host.base_url, limits=Limits(body=STEP)) as client:
        with pytest.raises(ReplyError, match=r"larger than limits\.body"):
            await all_users(export_at(client, f"{host.base_url}/file.zip"))


async def test_a_small_limit(host: Faulty) -> None:
    """A part is never longer than a body may be."""
    async with client_of(host.base_url, limits=Limits(body=64)) as client:
        export = export_at(client, f"{host.base_url}/file.zip?{QUERY}")
        await export.wait()
        with pytest.raises(ReplyError, match=r"longer than limits\.body \(64 bytes\)"):
            await all_users(export)
    assert asked(host)[1] == "bytes=0-63"
    assert export.received == len(MANY)


async def test_gone_in_the_middle(host: Faulty, export: UsersExport) -> None:
    """A url that expires while the file is fetched is an error that says so."""

    async def expiring(exchange: Exchange) -> None:
        await (FileHost(MANY) if FileHost.asked(exchange)[0] < 3 * STEP else answer(403, b""))(exchange)

    host.fault = expiring
    with pytest.raises(ExportExpiredError, match="export the users again"):
        await all_users(export)


async def test_braze_has_nothing_to_do_with_it() -> None:
    """A pause of Braze's rate limit, in which all its requests are held, does not hold up a file."""
    async with (
        Sandbox(3, users=7) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=2) as client,
    ):
        export = await client.export_users(sandbox.segment_ids[0], fields=["email"])
        sandbox.inject(Answer(status=429, headers={"Retry-After": "100"}), endpoint="details")
        held = [asyncio.create_task(client.details(each)) for each in sandbox.segment_ids]
        await until(lambda: client.stats.paused_until)
        assert len(await asyncio.wait_for(all_users(export), 5)) == 7
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)


# --- where it goes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect(host: Faulty, export: UsersExport, status: int) -> None:
    """It is not followed, neither when the file is waited for nor when it is fetched."""
    async with Faulty() as other:
        redirect = answer(status, b"", {"Location": f"{other.base_url}/{QUERY}"})
        host.fault = redirect
        with pytest.raises(RedirectError, match="not followed"):
            await export.wait()
        host.fault = once(FileHost(MANY), redirect)
        with pytest.raises(RedirectError, match="not followed"):
            await all_users(export)
        assert not other.requests
    assert len(host.requests) == 3


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/a.zip",
        "http://127.0.0.1.example/a.zip",
        "http://10.0.0.1/a.zip",
        "ftp://127.0.0.1/a.zip",
        "file:///etc/passwd",
        "https://",
        "https:///a.zip",
        "//127.0.0.1/a.zip",
        "a.zip",
        "",
        "https://user@files.example/a.zip",
        "https://user:word@files.example/a.zip",
        "https://:word@files.example/a.zip",
        "https://files.example/a b.zip",
        "https://files.example/a.zip\r\nX: y",
        "https://files.example:99999/a.zip",
        "https://[/a.zip",
        "https://fi\u0142es.example/a.zip",
        "https://files.example\\@127.0.0.1/a.zip",
        "javascript:alert(1)",
    ],
)
async def test_a_url_that_will_not_do(segments: BrazeSegments, url: str) -> None:
    """It is refused, and nothing of it is shown; nothing is sent."""
    export = export_at(segments, url)
    for attempt in (export.wait, export.users().__anext__):
        with pytest.raises(ReplyError, match="not one of https") as caught:
            await attempt()
        assert caught.value.path == "$.url"
        assert not url or url not in str(caught.value)


async def test_the_url_goes_out_as_it_is(host: Faulty, segments: BrazeSegments) -> None:
    """A signature is of the very bytes of the url: none of them is encoded or decoded on the way."""
    target = "/a%2Fb/~c%7Ed+e%20f/%C3%BC.zip?X-Amz-Credential=A%2F2%2Bs3&Signature=0%3d%3D&empty=&b=1&a=2"
    await export_at(segments, host.base_url + target).wait()
    assert host.requests[0].target == target


@pytest.mark.parametrize("own", [False, True])
async def test_the_key_stays_here(*, own: bool) -> None:
    """The host of the file sees no Authorization, nothing of the key in any other dress, and no cookie."""
    async with Sandbox(1, users=5, api_key=KEY) as sandbox:
        jar = aiohttp.CookieJar(unsafe=True)
        session = aiohttp.ClientSession(headers={"X-Team": "crm"}, cookie_jar=jar) if own else None
        sandbox.inject(Answer(headers={"Set-Cookie": "a=b; Domain=127.0.0.1"}), endpoint="users")
        try:
            async with client_of(sandbox.base_url, session=session) as client:
                export = await client.export_users(sandbox.segment_ids[0], fields=["email"])
                assert len(await all_users(export)) == 5
                await client.cancel_exports(sandbox.segment_ids[0])
        finally:
            if session is not None:
                await session.close()
        assert len(sandbox.file_requests) == 2
        for request in sandbox.file_requests:
            assert "Authorization" not in request.headers
            assert not leaks(f"{request.path} {request.query} {dict(request.headers)}")
            assert request.headers["Accept-Encoding"] == "identity"
            # Not even those of the caller's own session: they may be a gateway's, and are for Braze.
            assert set(request.headers) <= {"Host", "Accept", "Accept-Encoding", "Range", "User-Agent"}
        assert all(request.headers["Authorization"] == f"Bearer {KEY}" for request in sandbox.requests)


# --- left in the middle -------------------------------------------------------------------------------


async def test_break(host: Faulty, export: UsersExport, temporary: list[IO[bytes]]) -> None:
    """Leaving the loop early leaves no file, no task and no connection at work."""
    async with aclosing(export.users()) as users:
        async for _ in users:
            break
        assert not temporary[0].closed
    assert [file.closed for file in temporary] == [True]
    async for _ in export.users():
        break
    gc.collect()
    await asyncio.sleep(0.01)
    assert [file.closed for file in temporary] == [True, True]
    assert len(host.requests) > 4


async def test_an_exception_in_the_loop(export: UsersExport, temporary: list[IO[bytes]]) -> None:
    """The caller's own exception comes through unchanged."""
    with pytest.raises(KeyError, match="mine"):
        async with aclosing(export.users()) as users:
            async for _ in users:
                raise KeyError("mine")
    assert [file.closed for file in temporary] == [True]


@pytest.mark.parametrize("verb", ["users", "save"])
async def test_cancelled_while_fetching(
    host: Faulty, export: UsersExport, temporary: list[IO[bytes]], tmp_path: Path, verb: str
) -> None:
    """Nothing goes on, nothing is left, and the client is as good as before."""
    host.fault = first_part_only
    work = all_users(export) if verb == "users" else export.save(tmp_path / "a.ndjson")
    fetching = asyncio.create_task(work)
    await until(lambda: len(host.requests) >= 3)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await until(lambda: all(exchange.writer.is_closing() for exchange in host.requests[2:]))
    assert [file.closed for file in temporary] == [True]
    assert not inside(tmp_path)
    host.fault = FileHost(MANY)
    assert len(await all_users(export)) == 44


async def test_cancelled_while_reading(
    host: Faulty, export: UsersExport, temporary: list[IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that reads is waited for: the file under it is not closed before."""
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(*_: object) -> Any:
        loop.call_soon_threadsafe(reading.set)
        assert not temporary[0].closed
        gc.collect()
        assert not temporary[0].closed
        yield b"{}", {}

    monkeypatch.setattr("braze_segments_async._users.export.read_users", slowly)
    task = asyncio.create_task(all_users(export))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [file.closed for file in temporary] == [True]
    assert host.requests


@pytest.mark.parametrize("verb", ["users", "save"])
async def test_the_client_is_closed_while_fetching(
    host: Faulty, segments: BrazeSegments, temporary: list[IO[bytes]], tmp_path: Path, verb: str
) -> None:
    """Whoever reads or saves hears of it at once."""
    export = export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=STEP)
    host.fault = first_part_only
    work = all_users(export) if verb == "users" else export.save(tmp_path / "a.ndjson")
    fetching = asyncio.create_task(work)
    await until(lambda: len(host.requests) >= 3)
    await segments.aclose()
    with pytest.raises(ClosedError):
        await asyncio.wait_for(fetching, 1)
    assert [file.closed for file in temporary] == [True]
    assert not inside(tmp_path)


async def test_the_client_is_closed_while_reading(segments: BrazeSegments, export: UsersExport) -> None:
    """What has been fetched can be read to its end."""
    users = export.users()
    first = await anext(users)
    await segments.aclose()
    assert [first, *[user async for user in users]] == people(40) + people(3) + people(1)


# --- no room ------------------------------------------------------------------------------------------


async def test_no_temporary_directory(export: UsersExport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no temporary file can be, as in a read-only container, the error says so and nothing is sent."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ExportError, match=r"cannot write a temporary file: No usable temporary directory"):
        await all_users(export)


async def test_no_room_for_the_temporary_file(
    export: UsersExport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A full disk is an error that names the directory."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", 0))  # noqa: PTH123, SIM115
    with pytest.raises(ExportError, match=f"cannot write {tmp_path}: No space left on device"):
        await all_users(export)
