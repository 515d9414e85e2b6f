"""No output has data of a user, part of the URL of the file, or part of the key."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import tempfile
import threading
import traceback
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fault_client import KEY, Clock, client_of
from key_leaks import exception_chain, leaks
from raw_server import Exchange, RawServer, answer, send_then
from users_helpers import PERSON, QUERY, SIGNATURE, FileHost, all_users, export_at, packed, people

from braze_segments_async import BrazeError, BrazeSegments, UsersExport
from braze_segments_async._models import StartedExport
from braze_segments_async._text import Secret
from braze_segments_async._users import export as users_export
from braze_segments_async._users import reader as archive
from braze_segments_async._users.download import RangeResponse
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

    from raw_server import Fault

STEP = 200
STORED = packed([people(30), people(9)], method=0)  # uncompressed: its bytes contain users
BROKEN = (
    STORED[: STORED.rindex(b'"number": 8')] + b'"number": 7' + STORED[STORED.rindex(b'"number": 8') + 11 :]
)


def shown(error: BaseException) -> str:
    """Return all that an error tracker would record of an error, without the frames of the tests."""
    texts = []
    for one in exception_chain(error):
        texts.append(f"{one} {one!r} {one.args!r} {vars(one)!r}")
        frames = [
            (frame, line)
            for frame, line in traceback.walk_tb(one.__traceback__)
            if "/tests/" not in frame.f_code.co_filename
        ]
        texts += traceback.StackSummary.extract(iter(frames), capture_locals=True).format()
        texts += [repr(value) for frame, _ in frames for value in frame.f_locals.values()]
    if isinstance(error, BrazeError):
        texts.append(str(pickle.dumps(error)))
    return "\n".join(texts)


def secrets_in(text: str) -> list[str]:
    """Return the secrets that a text contains."""
    return leaks(text) + [secret for secret in (SIGNATURE, "X-Amz", PERSON, "lovelace") if secret in text]


@pytest.fixture(autouse=True)
async def nothing_logged(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """Assert that no logger records a secret, even with a loop in debug mode."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0
    caplog.set_level(logging.DEBUG)
    yield
    records = caplog.get_records("call")
    assert records
    assert not secrets_in(" ".join(f"{vars(record)!r} {record.getMessage()}" for record in records))


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the batches, so that some users are yielded before others fail."""
    monkeypatch.setattr(archive, "_BATCH_SIZE", 100)


@pytest.fixture
async def host() -> AsyncIterator[RawServer]:
    """Yield a file host with a file of several ranges."""
    async with RawServer(FileHost(STORED)) as server:
        yield server


@pytest.fixture
async def segments(host: RawServer) -> AsyncIterator[BrazeSegments]:
    """Yield an open client."""
    async with client_of(host.base_url) as client:
        yield client


@pytest.fixture
def export(host: RawServer, segments: BrazeSegments, monkeypatch: pytest.MonkeyPatch) -> UsersExport:
    """Return an export whose file is at the host, with a fake clock."""
    clock = Clock()
    monkeypatch.setattr(users_export, "monotonic", clock)
    monkeypatch.setattr(users_export, "sleep", clock.sleep)
    return export_at(segments, f"{host.base_url}/file.zip?{QUERY}", step=STEP)


async def failure_of(work: Awaitable[object]) -> BaseException:
    """Return the exception of an awaitable."""
    try:
        await work
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the test checks its type
        return error
    raise AssertionError("no exception was raised")


# `lines` reads like `users`, and a ZIP is saved like lines.
VERBS: dict[str, Any] = {
    "users": lambda export, _: all_users(export),
    "save": lambda export, folder: export.save(folder / "a.ndjson"),
}
FAULTS: dict[str, Fault] = {
    "refused": answer(400, f"<Error>{SIGNATURE} {PERSON}</Error>".encode()),
    "redirected": answer(302, b"", {"Location": f"https://other.example/?{QUERY}"}),
    "busy": answer(503, f"<Error>{SIGNATURE}</Error>".encode()),
    "reset": send_then(b"", Exchange.reset),
    "not HTTP": send_then(f"{PERSON} {SIGNATURE}\r\n\r\n".encode(), Exchange.close),
    "never ready": answer(403, SIGNATURE.encode()),
    "no Content-Range": answer(206, STORED),
    "another encoding": answer(200, STORED, {"Content-Encoding": SIGNATURE}),
    "not a ZIP": answer(200, f"{PERSON} {SIGNATURE}".encode()),
    "checksum": FileHost(BROKEN),
    "not JSON": FileHost(packed([people(9), f'{{"email": "{PERSON}"'.encode()])),
    "NaN": FileHost(packed([people(9), f'{{"email": "{PERSON}", "a": NaN}}'.encode()])),
    "a list": FileHost(packed([people(9), f'["{PERSON}"]'.encode()])),
    "too long": FileHost(packed([people(9), f'{{"email": "{PERSON * 50_000}"}}'.encode()])),
    "not UTF-8": FileHost(packed([people(9), PERSON.encode() + b"\xff"])),
    "control characters in a name": FileHost(BROKEN.replace(b"users-1.json", b"\x1b[2J\r\nabcde")),
}


LATER: dict[str, Fault] = {
    "deleted": answer(404, SIGNATURE.encode()),
    "changed": FileHost(STORED, etag='"2"'),
    "cut": send_then(b"HTTP/1.1 206 X\r\nContent-Length: 99\r\n\r\nada.lovelace", Exchange.close),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("fault", [*FAULTS, *LATER])
async def test_no_failure_shows_a_secret(
    host: RawServer, export: UsersExport, tmp_path: Path, verb: str, fault: str
) -> None:
    """No error, none of its causes and no local variable of its traceback has a secret."""

    async def faulty(exchange: Exchange) -> None:
        early = fault in LATER and not FileHost.requested_range(exchange)[0]
        await (FileHost(STORED) if early else {**FAULTS, **LATER}[fault])(exchange)

    host.fault = faulty
    export._expires = 0.0
    error = await failure_of(VERBS[verb](export, tmp_path))
    assert isinstance(error, BrazeError)
    assert not secrets_in(shown(error))
    assert str(error).isprintable()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("first", [0, 1, 2], ids=["waiting", "first range", "another range"])
@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_cancelled_during_a_request(
    host: RawServer, export: UsersExport, verb: str, first: int, how: str
) -> None:
    """The traceback of a cancellation or a timeout has no secret."""

    async def fault(exchange: Exchange) -> None:
        if len(host.requests) <= first:
            await FileHost(STORED)(exchange)
        else:
            half = FileHost(STORED).answer(exchange)[:-9]
            await send_then(half, Exchange.wait_until_closed)(exchange)

    host.fault = fault
    work = VERBS[verb](export, Path(tempfile.gettempdir()))
    error = await failure_of(_within(work) if how == "timeout" else _cancelled(work, host, first))
    assert type(error) is (TimeoutError if how == "timeout" else asyncio.CancelledError)
    assert not secrets_in(shown(error))
    gc.collect()


async def _within(work: Awaitable[object]) -> None:
    async with asyncio.timeout(0.03):
        await work


async def _cancelled(work: Any, host: RawServer, first: int) -> None:
    task = asyncio.ensure_future(work)
    while len(host.requests) <= first:  # noqa: ASYNC110 - the server does not signal
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)
    task.cancel()
    await task


@pytest.mark.parametrize("verb", VERBS)
async def test_cancelled_in_a_thread(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """The traceback of a cancellation while a thread has users has no secret."""
    loop, reading, cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    original = archive.read_users

    def read_until_cancelled(*arguments: Any) -> Iterator[Any]:
        for user in original(*arguments):
            yield user
            loop.call_soon_threadsafe(reading.set)
            cancelled.wait(5)

    monkeypatch.setattr(archive, "read_users", read_until_cancelled)
    monkeypatch.setattr("braze_segments_async._users.export.read_users", read_until_cancelled)
    task = asyncio.create_task(VERBS[verb](export, tmp_path))
    await reading.wait()
    task.cancel()
    loop.call_later(0.005, cancelled.set)
    error = await failure_of(task)
    assert type(error) is asyncio.CancelledError
    assert not secrets_in(shown(error))


async def test_a_failed_write(export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a failed write has no secret."""
    monkeypatch.setattr(archive, "create_private", lambda _: open("/dev/full", "wb", buffering=0))  # noqa: PTH123, SIM115
    error = await failure_of(export.save(tmp_path / "a.ndjson"))
    assert "No space left" in str(error)
    assert not secrets_in(shown(error))


@pytest.mark.parametrize(
    "body",
    [
        {"message": "no", "url": QUERY},
        {"message": 1, "url": QUERY},
        {"message": "success", "url": QUERY},
        {"message": "success", "object_prefix": 7, "url": QUERY},
        {"message": "success", "object_prefix": "a", "url": [QUERY]},
        f'{{"message": "success", "url": "{QUERY}"',
        f"<html>{QUERY}",
        f"{QUERY}\udcff".encode("utf-8", "surrogateescape"),
    ],
    ids=str,
)
async def test_a_malformed_response_with_a_url(body: Any) -> None:
    """The error of a malformed response of Braze does not show the URL in it."""
    async with Sandbox(1, api_key=KEY) as sandbox, client_of(sandbox.base_url) as client:
        sandbox.inject(Answer(status=201, body=body), endpoint="users")
        error = await failure_of(client.export_users(sandbox.segment_ids[0], fields=["email"]))
    assert isinstance(error, BrazeError)
    assert not secrets_in(shown(error))


async def test_a_refused_url_is_not_shown(segments: BrazeSegments) -> None:
    """The error of a refused URL does not show it."""
    for url in (
        f"http://files.example/a?{QUERY}",
        f"https://{SIGNATURE}@a.example/",
        f"https://[{SIGNATURE}/",
    ):
        error = await failure_of(export_at(segments, url).wait())
        assert not secrets_in(shown(error))


async def test_no_repr_shows_a_secret(export: UsersExport) -> None:
    """The repr of an export and its parts has no secret, at any time."""
    parts = [export, export._downloader(), StartedExport("a", Secret(QUERY))]
    async with aclosing(export.users()) as users:
        await anext(users)
        parts += [export, users, vars(export._downloader())]
        parts += [RangeResponse(PERSON.encode(), 1, ""), vars(export)]
        assert not secrets_in(" ".join(map(repr, parts)) + str(vars(export)))
    assert SIGNATURE in str(export.url)  # available as an attribute
