"""A users file is downloaded in byte ranges, completely, from a host that never gets the API key."""

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
from raw_server import Exchange, RawServer, answer, head, send_then
from users_helpers import QUERY, FileHost, all_users, export_at, once_then, packed, people

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
MANY = packed([people(40), people(3), [], people(1)])  # several ranges of STEP bytes


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[IO[bytes]]:
    """Return the list of temporary files that the test opens, all in `tmp_path`."""
    opened: list[IO[bytes]] = []
    original = tempfile.TemporaryFile

    def record(**options: Any) -> IO[bytes]:
        opened.append(original(**options))
        return opened[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", record)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return opened


@pytest.fixture
async def host() -> AsyncIterator[RawServer]:
    """Yield a host with a file of several ranges."""
    async with RawServer(FileHost(MANY)) as server:
        yield server


@pytest.fixture
async def segments(host: RawServer) -> AsyncIterator[BrazeSegments]:
    """Yield an open client whose REST endpoint is the same server."""
    async with client_of(host.base_url) as client:
        yield client


@pytest.fixture
def export(host: RawServer, segments: BrazeSegments) -> UsersExport:
    """Return an export whose file is at the host."""
    return export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=STEP)


def requested_ranges(host: RawServer) -> list[str]:
    """Return the `Range` header of each request."""
    return [exchange.headers["range"] for exchange in host.requests]


async def until(condition: Callable[[], object]) -> None:
    """Poll until a condition is true."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


# --- ranges -------------------------------------------------------------------------------------------


async def test_ranges_are_fetched_concurrently_and_joined_in_order(
    host: RawServer, export: UsersExport
) -> None:
    """Four ranges are fetched at a time, and joined in the order of the file."""
    delays = random.Random(3)
    host.fault = file_host = FileHost(MANY, delay=lambda first: delays.random() / 50 if first else 0.0)
    assert await all_users(export) == people(40) + people(3) + people(1)
    assert file_host.max_concurrent == 4
    starts = range(0, len(MANY), STEP)
    assert sorted(file_host.ranges) == [(0, 0), *((start, start + STEP - 1) for start in starts)]
    assert export.received == export.size == len(MANY)


async def test_a_file_of_one_range(host: RawServer, segments: BrazeSegments) -> None:
    """A file of up to one range takes one request, after the one that finds it ready."""
    for step in (len(MANY), len(MANY) + 1, 2**20):
        host.requests.clear()
        export = export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=step)
        assert len(await all_users(export)) == 44
        assert requested_ranges(host) == ["bytes=0-0", f"bytes=0-{step - 1}"]


@pytest.mark.parametrize("size", [99, 100, 101, 199, 200, 201])
async def test_each_length(host: RawServer, export: UsersExport, tmp_path: Path, size: int) -> None:
    """No byte is lost between two ranges or at the end, at any length of the file."""
    data = packed([b'{"a":"' + bytes(65 + n % 26 for n in range(size)) + b'"}'], method=0)
    host.fault = FileHost(data)
    assert await export.save(tmp_path / "a.zip") == 1
    assert (tmp_path / "a.zip").read_bytes() == data


async def test_reading_again_fetches_again(host: RawServer, export: UsersExport) -> None:
    """A second iteration downloads the file again, without waiting for it to be ready."""
    assert await all_users(export) == await all_users(export)
    assert requested_ranges(host).count("bytes=0-0") == 1
    assert requested_ranges(host).count("bytes=0-99") == 2


async def test_progress_of_a_download(host: RawServer, export: UsersExport) -> None:
    """`received` and `size` can be read during a download."""
    host.fault = first_range_only
    fetching = asyncio.create_task(all_users(export))
    await until(lambda: export.received)
    assert (export.received, export.size) == (STEP, len(MANY))
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching


async def first_range_only(exchange: Exchange) -> None:
    """Send the first range, and nothing for any other range."""
    first = not FileHost.requested_range(exchange)[0]
    await (FileHost(MANY) if first else send_then(_HEAD, Exchange.wait_until_closed))(exchange)


def _is_second_range(exchange: Exchange) -> bool:
    return FileHost.requested_range(exchange)[0] == STEP


_HEAD = head(206, {"Content-Length": "100", "Content-Range": f"bytes 100-199/{len(MANY)}", "ETag": '"1"'})
TRANSIENT: dict[str, Fault] = {
    "cut in the middle": send_then(_HEAD + b"half", Exchange.close),
    "reset in the middle": send_then(_HEAD + b"half", Exchange.reset),
    "lost": send_then(b"", Exchange.close),
    "busy": answer(503, b"<Error/>"),
    "slow down": answer(429, b"", {"Retry-After": "0"}),
    "another range": answer(206, b"a" * 100, {"Content-Range": f"bytes 0-99/{len(MANY)}"}),
    "the whole file": answer(200, MANY),
    "too few bytes": answer(206, b"a" * 99, {"Content-Range": f"bytes 100-199/{len(MANY)}"}),
    "no Content-Range": answer(206, b"a" * 100),
    "a Content-Range of length 0": answer(206, b"a" * 100, {"Content-Range": "bytes 100-199/0"}),
    "an invalid Content-Range": answer(206, b"a" * 100, {"Content-Range": "bytes x-y/*"}),
}


@pytest.mark.parametrize("fault", TRANSIENT)
async def test_a_range_that_fails_once(host: RawServer, export: UsersExport, fault: str) -> None:
    """Only the range that failed is fetched again."""
    host.fault = once_then(TRANSIENT[fault], FileHost(MANY), when=_is_second_range)
    assert len(await all_users(export)) == 44
    assert requested_ranges(host).count("bytes=100-199") in {2, 3}  # aiohttp repeats a GET once by itself
    assert set(map(requested_ranges(host).count, requested_ranges(host)[2:])) <= {1, 2, 3}


PERMANENT: dict[str, tuple[type[BrazeError], str]] = {
    "cut in the middle": (TransportError, "lost in the middle of the body"),
    "busy": (ServerError, "503 after 5 attempts: the host of the file is busy"),
    "another range": (ReplyError, "not the range of bytes that was asked for"),
    "the whole file": (ReplyError, "the whole file where a part of it was asked for"),
}


@pytest.mark.parametrize("fault", PERMANENT)
async def test_a_range_that_always_fails(host: RawServer, export: UsersExport, fault: str) -> None:
    """A download with a range that fails for good yields no user."""
    error, message = PERMANENT[fault]

    async def faulty(exchange: Exchange) -> None:
        await (TRANSIENT[fault] if _is_second_range(exchange) else FileHost(MANY))(exchange)

    host.fault = faulty
    with pytest.raises(error, match=message) as caught:
        await all_users(export)
    assert caught.value.endpoint == "GET the file of a users export"
    assert caught.value.segment_id == "segment-1"


@pytest.mark.parametrize("change", ["another ETag", "no ETag", "another length"])
async def test_a_file_that_changes_during_the_download(
    host: RawServer, export: UsersExport, change: str
) -> None:
    """Ranges of two versions of a file are not joined."""
    other = FileHost(MANY, etag='"2"' if change == "another ETag" else None)
    if change == "another length":
        other = FileHost(MANY + b"more")

    async def changing(exchange: Exchange) -> None:
        await (FileHost(MANY) if FileHost.requested_range(exchange)[0] < 3 * STEP else other)(exchange)

    host.fault = changing
    with pytest.raises(ReplyError, match="the file was changed during the download"):
        await all_users(export)


async def test_a_host_without_etags(host: RawServer, export: UsersExport) -> None:
    """A host that sends no ETag is supported."""
    host.fault = FileHost(MANY, etag=None)
    assert len(await all_users(export)) == 44


async def test_a_host_without_ranges(host: RawServer, export: UsersExport) -> None:
    """A host that always sends the whole file is supported if the file is small."""
    host.fault = answer(200, MANY)
    assert len(await all_users(export)) == 44
    assert export.received == export.size == len(MANY)


async def test_a_host_without_ranges_and_with_a_large_file(host: RawServer) -> None:
    """A host that sends a whole large file gives an error; the file is not held in memory."""
    host.fault = answer(200, MANY)
    async with client_of(host.base_url, limits=Limits(body=STEP)) as client:
        with pytest.raises(ReplyError, match=r"larger than limits\.body"):
            await all_users(export_at(client, f"{host.base_url}/file.zip"))


async def test_a_small_body_limit(host: RawServer) -> None:
    """A range is never longer than `limits.body`."""
    async with client_of(host.base_url, limits=Limits(body=64)) as client:
        export = export_at(client, f"{host.base_url}/file.zip?{QUERY}")
        await export.wait()
        with pytest.raises(ReplyError, match=r"longer than limits\.body \(64 bytes\)"):
            await all_users(export)
    assert requested_ranges(host)[1] == "bytes=0-63"
    assert export.received == len(MANY)


async def test_a_url_that_expires_during_the_download(host: RawServer, export: UsersExport) -> None:
    """A URL that expires during the download gives an error with a remedy."""

    async def expiring(exchange: Exchange) -> None:
        await (FileHost(MANY) if FileHost.requested_range(exchange)[0] < 3 * STEP else answer(403, b""))(
            exchange
        )

    host.fault = expiring
    with pytest.raises(ExportExpiredError, match="export the users again"):
        await all_users(export)


async def test_the_rate_limit_does_not_delay_a_download() -> None:
    """A download continues while all requests to Braze are paused for the rate limit."""
    async with (
        Sandbox(3, users=7) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=2) as client,
    ):
        export = await client.export_users(sandbox.segment_ids[0], fields=["email"])
        sandbox.inject(Answer(status=429, headers={"Retry-After": "100"}), endpoint="details")
        paused = [asyncio.create_task(client.details(segment_id)) for segment_id in sandbox.segment_ids]
        await until(lambda: client.stats.paused_until)
        assert len(await asyncio.wait_for(all_users(export), 5)) == 7
        for task in paused:
            task.cancel()
        await asyncio.gather(*paused, return_exceptions=True)


# --- the host of the file -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(host: RawServer, export: UsersExport, status: int) -> None:
    """A redirect is an error, both while waiting for the file and during the download."""
    async with RawServer() as other:
        redirect = answer(status, b"", {"Location": f"{other.base_url}/{QUERY}"})
        host.fault = redirect
        with pytest.raises(RedirectError, match="not followed"):
            await export.wait()
        host.fault = once_then(FileHost(MANY), redirect)
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
async def test_an_invalid_url_is_refused(segments: BrazeSegments, url: str) -> None:
    """An invalid or unencrypted URL is refused without a request, and is not in the error."""
    export = export_at(segments, url)
    for attempt in (export.wait, export.users().__anext__):
        with pytest.raises(ReplyError, match="not one of https") as caught:
            await attempt()
        assert caught.value.path == "$.url"
        assert not url or url not in str(caught.value)


async def test_the_url_is_sent_unchanged(host: RawServer, segments: BrazeSegments) -> None:
    """No character of a URL is encoded or decoded, since its signature covers the exact bytes."""
    target = "/a%2Fb/~c%7Ed+e%20f/%C3%BC.zip?X-Amz-Credential=A%2F2%2Bs3&Signature=0%3d%3D&empty=&b=1&a=2"
    await export_at(segments, host.base_url + target).wait()
    assert host.requests[0].target == target


@pytest.mark.parametrize("own", [False, True])
async def test_the_host_gets_no_key_and_no_cookie(*, own: bool) -> None:
    """The host gets no `Authorization`, no part of the key in any encoding, and no cookie."""
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
            # The headers of the caller's session are for Braze or a gateway to it, and are not sent either.
            assert set(request.headers) <= {"Host", "Accept", "Accept-Encoding", "Range", "User-Agent"}
        assert all(request.headers["Authorization"] == f"Bearer {KEY}" for request in sandbox.requests)


# --- interrupted downloads ----------------------------------------------------------------------------


async def test_leaving_the_loop_early(
    host: RawServer, export: UsersExport, temporary_files: list[IO[bytes]]
) -> None:
    """Leaving the loop early closes the temporary file and leaves no task."""
    async with aclosing(export.users()) as users:
        async for _ in users:
            break
        assert not temporary_files[0].closed
    assert [file.closed for file in temporary_files] == [True]
    async for _ in export.users():
        break
    gc.collect()
    await asyncio.sleep(0.01)
    assert [file.closed for file in temporary_files] == [True, True]
    assert len(host.requests) > 4


async def test_an_exception_in_the_loop(export: UsersExport, temporary_files: list[IO[bytes]]) -> None:
    """An exception of the caller in the loop is raised unchanged, and the temporary file is closed."""
    with pytest.raises(KeyError, match="mine"):
        async with aclosing(export.users()) as users:
            async for _ in users:
                raise KeyError("mine")
    assert [file.closed for file in temporary_files] == [True]


@pytest.mark.parametrize("verb", ["users", "save"])
async def test_cancellation_during_the_download(
    host: RawServer, export: UsersExport, temporary_files: list[IO[bytes]], tmp_path: Path, verb: str
) -> None:
    """A cancelled download ends its requests, leaves no file, and the client remains usable."""
    host.fault = first_range_only
    work = all_users(export) if verb == "users" else export.save(tmp_path / "a.ndjson")
    fetching = asyncio.create_task(work)
    await until(lambda: len(host.requests) >= 3)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await until(lambda: all(exchange.writer.is_closing() for exchange in host.requests[2:]))
    assert [file.closed for file in temporary_files] == [True]
    assert not inside(tmp_path)
    host.fault = FileHost(MANY)
    assert len(await all_users(export)) == 44


async def test_cancellation_while_a_thread_reads(
    host: RawServer, export: UsersExport, temporary_files: list[IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cancellation the file is closed only when the thread that reads it has ended."""
    reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_slowly(*_: object) -> Any:
        loop.call_soon_threadsafe(reading.set)
        assert not temporary_files[0].closed
        gc.collect()
        assert not temporary_files[0].closed
        yield b"{}", {}

    monkeypatch.setattr("braze_segments_async._users.export.read_users", read_slowly)
    task = asyncio.create_task(all_users(export))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [file.closed for file in temporary_files] == [True]
    assert host.requests


@pytest.mark.parametrize("verb", ["users", "save"])
async def test_closing_the_client_during_the_download(
    host: RawServer, segments: BrazeSegments, temporary_files: list[IO[bytes]], tmp_path: Path, verb: str
) -> None:
    """Closing the client ends a download at once with `ClosedError`."""
    export = export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=STEP)
    host.fault = first_range_only
    work = all_users(export) if verb == "users" else export.save(tmp_path / "a.ndjson")
    fetching = asyncio.create_task(work)
    await until(lambda: len(host.requests) >= 3)
    await segments.aclose()
    with pytest.raises(ClosedError):
        await asyncio.wait_for(fetching, 1)
    assert [file.closed for file in temporary_files] == [True]
    assert not inside(tmp_path)


async def test_closing_the_client_after_the_download(segments: BrazeSegments, export: UsersExport) -> None:
    """After the download all users can be read, even if the client is closed."""
    users = export.users()
    first = await anext(users)
    await segments.aclose()
    assert [first, *[user async for user in users]] == people(40) + people(3) + people(1)


# --- temporary files ----------------------------------------------------------------------------------


async def test_no_temporary_directory(export: UsersExport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a temporary directory, as in a read-only container, the error names the cause."""

    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    with pytest.raises(ExportError, match=r"cannot write a temporary file: No usable temporary directory"):
        await all_users(export)


async def test_a_full_disk(export: UsersExport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error of a full disk names the directory."""
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: open("/dev/full", "wb", 0))  # noqa: PTH123, SIM115
    with pytest.raises(ExportError, match=f"cannot write {tmp_path}: No space left on device"):
        await all_users(export)
