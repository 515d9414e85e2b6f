"""An export of a segment's users is started, waited for and cancelled."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from fault_client import FAST, KEY, Clock, client_of
from raw_server import Exchange, RawServer, answer, send_then
from users_helpers import QUERY, URL_LIFETIME, FileHost, all_users, export_at, once_then, packed, people

from braze_segments_async import (
    BrazeError,
    BrazeSegments,
    ClosedError,
    ConfigError,
    ExportError,
    ExportExpiredError,
    ExportRunningError,
    RateLimitedError,
    ReplyError,
    RetryPolicy,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
    UsersExport,
)
from braze_segments_async._http import sender
from braze_segments_async._users import export as users_export
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from raw_server import Fault

FIELDS = ["external_id", "email"]
NOON = 1_800_000_000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the exports of this test, which advances only by sleeping."""
    clock = Clock(NOON)

    async def sleep(seconds: float) -> None:
        clock.slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(users_export, "monotonic", clock)
    monkeypatch.setattr(users_export, "sleep", sleep)
    return clock


@pytest.fixture
async def braze(clock: Clock) -> AsyncIterator[Sandbox]:
    """Yield three segments with 12 users each; a file takes ten minutes."""
    async with Sandbox(3, users=12, users_per_file=5, export_delay=600, clock=clock, api_key=KEY) as sandbox:
        yield sandbox


@pytest.fixture
async def segments(braze: Sandbox) -> AsyncIterator[BrazeSegments]:
    """Yield an open client of the sandbox."""
    async with client_of(braze.base_url) as client:
        yield client


async def started(client: BrazeSegments, segment_id: str, clock: Clock) -> UsersExport:
    """Return an export that uses the clock."""
    export = await client.export_users(segment_id, fields=FIELDS)
    export._expires = clock() + URL_LIFETIME
    return export


# --- starting -----------------------------------------------------------------------------------------


async def test_an_export_is_started_as_documented(braze: Sandbox, segments: BrazeSegments) -> None:
    """One POST has exactly the given options; the export has the path of the files."""
    segment_id = braze.segment_ids[0]
    export = await segments.export_users(segment_id, fields=FIELDS)
    assert [(r.method, r.path, r.query, r.body) for r in braze.requests] == [
        ("POST", "/users/export/segment", {}, {"segment_id": segment_id, "fields_to_export": FIELDS})
    ]
    assert braze.requests[0].headers["Content-Type"] == "application/json"
    assert export.segment_id == segment_id
    assert export.object_prefix
    assert export.url is not None
    assert export.object_prefix in export.url
    assert not braze.file_requests


async def test_a_segment_of_the_list_and_every_option(braze: Sandbox, segments: BrazeSegments) -> None:
    """A segment can be given instead of its id; the callback and the format are sent."""
    segment = await anext(aiter(segments.list()))
    await segments.export_users(
        segment,
        fields=("email",),
        callback_endpoint="https://a.example/ready",
        output_format="gzip",
    )
    assert braze.requests[-1].body == {
        "segment_id": segment.id,
        "fields_to_export": ["email"],
        "callback_endpoint": "https://a.example/ready",
        "output_format": "gzip",
    }


@pytest.mark.parametrize(
    "options",
    [
        {"fields": "email"},
        {"fields": []},
        {"fields": [""]},
        {"fields": [1]},
        {"fields": None},
        {"fields": FIELDS, "output_format": "tar"},
        {"fields": FIELDS, "callback_endpoint": 1},
        {"fields": FIELDS, "segment_id": ""},
        {"fields": FIELDS, "segment_id": 3},
    ],
    ids=str,
)
async def test_a_wrong_argument(braze: Sandbox, segments: BrazeSegments, options: dict[str, Any]) -> None:
    """An invalid argument is refused before anything is sent."""
    with pytest.raises(ConfigError):
        await segments.export_users(**{"segment_id": braze.segment_ids[0], **options})
    assert not braze.requests


async def test_no_permission(clock: Clock) -> None:
    """The error for a missing permission names it."""
    async with (
        Sandbox(1, permissions=["segments.list"], api_key=KEY, clock=clock) as sandbox,
        client_of(sandbox.base_url) as client,
    ):
        with pytest.raises(BrazeError, match=r"403 .* needs the permission users\.export\.segment"):
            await client.export_users(sandbox.segment_ids[0], fields=FIELDS)


# --- a POST is not repeated where it may have arrived ---------------------------------------------------


@pytest.mark.parametrize("status", [202, 408, 500, 502, 503, 504])
async def test_an_outage(braze: Sandbox, segments: BrazeSegments, status: int) -> None:
    """A retryable status is not retried for a POST, and the error says so."""
    braze.inject(Answer(status=status), endpoint="users")
    with pytest.raises(ServerError, match="not sent again, since it may have arrived") as caught:
        await segments.export_users(braze.segment_ids[0], fields=FIELDS)
    assert (braze.count("users"), caught.value.attempts, caught.value.status) == (1, 1, status)
    assert caught.value.endpoint == "POST /users/export/segment"
    assert caught.value.segment_id == braze.segment_ids[0]


@pytest.mark.parametrize("body", ["<html>", '{"message": "success"', '["success"]', '{"message": 1}', "{}"])
async def test_an_unreadable_response(braze: Sandbox, segments: BrazeSegments, body: str) -> None:
    """A POST is not repeated after an unreadable response: the export may be running."""
    braze.inject(Answer(status=201, body=body), endpoint="users")
    with pytest.raises(ReplyError, match="not sent again, since it may have arrived"):
        await segments.export_users(braze.segment_ids[0], fields=FIELDS)
    assert braze.count("users") == 1


LOST: dict[str, Fault] = {
    "reset": send_then(b"", Exchange.reset),
    "closed": send_then(b"", Exchange.close),
    "half a head": send_then(b"HTTP/1.1 20", Exchange.close),
    "silence": send_then(b"", Exchange.wait_until_closed),
    "half a body": send_then(b"HTTP/1.1 201 X\r\nContent-Length: 99\r\n\r\n{", Exchange.close),
}


@pytest.mark.parametrize("fault", LOST)
async def test_a_connection_that_is_lost(fault: str) -> None:
    """A POST is not repeated if the connection is lost after it was sent."""
    async with (
        RawServer(LOST[fault]) as server,
        client_of(server.base_url, timeout=0.1 if fault == "silence" else 30.0) as client,
    ):
        with pytest.raises(TransportError, match="not sent again, since it may have arrived") as caught:
            await client.export_users("a", fields=FIELDS)
        assert len(server.requests) == 1
    assert isinstance(caught.value, TimedOutError) == (fault == "silence")
    assert caught.value.sent


async def test_a_connection_that_is_refused(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST is retried if nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sandbox = Sandbox(1, port=port, api_key=KEY, users=3, clock=clock)
    async with client_of(f"http://127.0.0.1:{port}", retry=RetryPolicy()) as client:

        async def later(_: float) -> None:
            await sandbox.__aenter__()

        monkeypatch.setattr(sender, "sleep", later)
        try:
            export = await client.export_users(sandbox.segment_ids[0], fields=FIELDS)
            assert len(await all_users(export)) == 3
        finally:
            with suppress(RuntimeError):
                await sandbox.__aexit__(None, None, None)
        assert (sandbox.count("users"), client.stats.retries) == (1, 1)


async def test_the_rate_limit(
    braze: Sandbox, segments: BrazeSegments, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A POST is retried after a 429 of the rate limit."""
    braze.inject(Answer(status=429, headers={"Retry-After": "30"}), endpoint="users", ordinals=1)
    clock.drive(monkeypatch)
    await segments.export_users(braze.segment_ids[0], fields=FIELDS)
    assert [r.status for r in braze.requests] == [429, 201]
    assert clock.now >= NOON + 30


async def test_an_export_that_is_running(braze: Sandbox, segments: BrazeSegments) -> None:
    """A 429 for a running export has its own error, and does not pause other requests."""
    one, other = braze.segment_ids[:2]
    await segments.export_users(one, fields=FIELDS)
    with pytest.raises(ExportRunningError, match=r"running already: wait .* cancel_exports\(\)") as caught:
        await segments.export_users(one, fields=FIELDS)
    assert not isinstance(caught.value, RateLimitedError)
    assert isinstance(caught.value, StatusError)
    assert (caught.value.status, caught.value.attempts) == (429, 1)
    assert segments.stats.paused_until is None
    assert segments.stats.retries == 0
    await asyncio.wait_for(segments.details(one), 5)
    await segments.export_users(other, fields=FIELDS)
    assert braze.count("users") == 3


async def test_cancelled(braze: Sandbox, segments: BrazeSegments) -> None:
    """Another export can be started after an export was cancelled."""
    one = braze.segment_ids[0]
    await segments.export_users(one, fields=FIELDS)
    await segments.cancel_exports(one)
    assert (braze.requests[-1].path, braze.requests[-1].body) == (
        "/export/segment/cancel",
        {"segment_id": one},
    )
    await segments.export_users(one, fields=FIELDS)
    with pytest.raises(ConfigError):
        await segments.cancel_exports("")


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_any_success_of_a_cancellation(braze: Sandbox, segments: BrazeSegments, status: int) -> None:
    """Any success status acknowledges a cancellation: Braze does not document the response."""
    braze.inject(Answer(status=status, body=""), endpoint="cancel")
    await segments.cancel_exports(braze.segment_ids[0])
    assert braze.count("cancel") == braze.count("cancel", status) == 1


async def test_a_failed_cancellation(braze: Sandbox, segments: BrazeSegments) -> None:
    """A failure of the cancellation raises."""
    braze.inject(Answer(status=202), endpoint="cancel", ordinals=1)
    with pytest.raises(ServerError, match="maintenance"):
        await segments.cancel_exports(braze.segment_ids[0])
    with pytest.raises(BrazeError, match="400 after 1 attempt"):
        await segments.cancel_exports("no-such-segment")


# --- waiting ------------------------------------------------------------------------------------------


async def test_not_yet(braze: Sandbox, segments: BrazeSegments, clock: Clock) -> None:
    """The file is requested every second at first, then less often, one byte at a time."""
    export = await started(segments, braze.segment_ids[0], clock)
    await export.wait()
    assert NOON + 600 <= clock.now <= NOON + 600 + 72
    assert 0.8 <= clock.slept[0] <= 1.2
    assert max(clock.slept) <= 72
    assert len(clock.slept) < 25
    assert {r.status for r in braze.file_requests[:-1]} == {403}
    assert braze.file_requests[-1].status == 206
    assert {r.headers["Range"] for r in braze.file_requests} == {"bytes=0-0"}
    assert len(await all_users(export)) == 12
    assert len(braze.requests) == 1


async def test_users_wait_by_themselves(braze: Sandbox, segments: BrazeSegments, clock: Clock) -> None:
    """Reading users waits for the file; `wait` need not be called."""
    export = await started(segments, braze.segment_ids[0], clock)
    assert (export.size, export.received) == (None, 0)
    users = await all_users(export)
    assert [set(user) <= set(FIELDS) for user in users] == [True] * 12
    assert clock.now >= NOON + 600
    assert export.size == export.received > 100
    lines = [line async for line in export.lines()]
    assert len(lines) == 12
    assert braze.count("file", 206) == 3  # one byte, and the file twice


async def test_not_found_is_not_yet(braze: Sandbox, segments: BrazeSegments, clock: Clock) -> None:
    """A 404 means the same as a 403: the file is not ready."""
    braze.inject(Answer(status=404), endpoint="file", times=3)
    export = await started(segments, braze.segment_ids[0], clock)
    clock.now += 600
    await export.wait()
    assert [r.status for r in braze.file_requests] == [404, 404, 404, 206]


async def test_a_timeout(braze: Sandbox, segments: BrazeSegments, clock: Clock) -> None:
    """A timeout is exact to the second; the message says what to do, such as waiting again."""
    export = await started(segments, braze.segment_ids[0], clock)
    with pytest.raises(
        TimedOutError, match=r"not ready within 30 s; .* wait again; cancel_exports\(\) ends it"
    ) as caught:
        await export.wait(timeout=30)
    assert clock.now == NOON + 30
    assert (caught.value.segment_id, caught.value.attempts) == (braze.segment_ids[0], 0)
    asked = len(braze.file_requests)
    with pytest.raises(TimedOutError):
        await export.wait(timeout=0)
    assert len(braze.file_requests) == asked + 1
    await export.wait(timeout=3_600)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True])
async def test_a_wrong_timeout(braze: Sandbox, segments: BrazeSegments, timeout: Any) -> None:  # noqa: ASYNC109
    """An invalid timeout is refused before anything is sent."""
    export = await segments.export_users(braze.segment_ids[0], fields=FIELDS)
    with pytest.raises(ConfigError, match="timeout"):
        await export.wait(timeout=timeout)
    assert not braze.file_requests


async def test_never_ready(clock: Clock) -> None:
    """After the lifetime of the URL, four hours, a clear error is raised, with any timeout."""
    async with (
        Sandbox(1, export_delay=20_000, clock=clock, api_key=KEY) as sandbox,
        client_of(sandbox.base_url) as client,
    ):
        export = await started(client, sandbox.segment_ids[0], clock)
        with pytest.raises(ExportExpiredError, match=r"four hours .* export the users again") as caught:
            await export.wait(timeout=50_000)
        assert isinstance(caught.value, ExportError)
        assert clock.now == NOON + URL_LIFETIME
        assert len(sandbox.file_requests) < 320


async def test_cancelled_at_braze(braze: Sandbox, segments: BrazeSegments, clock: Clock) -> None:
    """The error at the end of the lifetime says that the export may have been cancelled."""
    export = await started(segments, braze.segment_ids[0], clock)
    await segments.cancel_exports(braze.segment_ids[0])
    export._expires = clock() + 900
    with pytest.raises(ExportExpiredError, match="may have been cancelled"):
        await export.wait()


async def test_gone_before_it_was_read(braze: Sandbox, segments: BrazeSegments, clock: Clock) -> None:
    """An expired URL is an error, and is not waited for."""
    export = await started(segments, braze.segment_ids[0], clock)
    await export.wait()
    clock.now = NOON + URL_LIFETIME + 1
    slept = len(clock.slept)
    with pytest.raises(ExportExpiredError, match="no longer exists; export the users again"):
        await all_users(export)
    assert len(clock.slept) == slept


@pytest.mark.parametrize("absent", [True, False])
async def test_cloud_storage(clock: Clock, *, absent: bool) -> None:
    """The error of a workspace with its own storage says where its files are."""
    async with (
        Sandbox(1, cloud_storage=True, clock=clock, api_key=KEY) as sandbox,
        client_of(sandbox.base_url) as client,
    ):
        if not absent:
            body = {"message": "success", "object_prefix": "a-prefix", "url": None}
            sandbox.inject(Answer(status=201, body=body), endpoint="users")
        export = await client.export_users(sandbox.segment_ids[0], fields=FIELDS)
        assert export.url is None
        assert export.object_prefix
        for attempt in (export.wait, export.users().__anext__, export.lines().__anext__):
            with pytest.raises(ExportError, match=f"cloud storage .* below {export.object_prefix}"):
                await attempt()
        assert not sandbox.file_requests


# --- a host that fails while it is waited for -----------------------------------------------------------


@pytest.mark.usefixtures("clock")
async def test_an_outage_of_the_host() -> None:
    """Minutes of an outage do not end the wait once the file host has answered."""
    faults: list[Fault] = [answer(403, b""), *[send_then(b"", Exchange.reset)] * 30, *[answer(503, b"")] * 30]

    async def host(exchange: Exchange) -> None:
        await (faults.pop(0) if faults else FileHost(packed([people(2)])))(exchange)

    async with RawServer(host) as server, client_of(server.base_url) as client:
        export = export_at(client, f"{server.base_url}/file.zip?{QUERY}")
        await export.wait()
        assert not faults
        assert len(await all_users(export)) == 2


@pytest.mark.parametrize(("fault", "error"), [("reset", TransportError), ("busy", ServerError)])
async def test_a_host_that_never_answers(clock: Clock, fault: str, error: type[BrazeError]) -> None:
    """A first failure of the file host is raised if the host has never answered."""
    faults = {"reset": send_then(b"", Exchange.reset), "busy": answer(503, b"")}
    async with RawServer(faults[fault]) as server, client_of(server.base_url) as client:
        export = export_at(client, f"{server.base_url}/file.zip?{QUERY}")
        with pytest.raises(error) as caught:
            await export.wait()
        assert caught.value.attempts == FAST.attempts
        assert not clock.slept
        assert client.stats.paused_until is None


@pytest.mark.usefixtures("clock")
async def test_an_outage_at_the_end() -> None:
    """A timeout during an outage of the file host names the outage."""
    fault = once_then(answer(403, b""), send_then(b"", Exchange.reset))
    async with RawServer(fault) as server, client_of(server.base_url) as client:
        export = export_at(client, f"{server.base_url}/file.zip?{QUERY}")
        with pytest.raises(TransportError, match="was lost") as caught:
            await export.wait(timeout=60)
        assert not isinstance(caught.value, TimedOutError)


@pytest.mark.parametrize("status", [400, 401, 405, 410, 416])
async def test_a_host_that_refuses(status: int) -> None:
    """Any other refusal is raised at once."""
    async with RawServer(answer(status, b"<Error/>")) as server, client_of(server.base_url) as client:
        export = export_at(client, f"{server.base_url}/file.zip?{QUERY}")
        with pytest.raises(StatusError, match=f"{status} after 1 attempt: the host of the file refuses it"):
            await export.wait()
        assert len(server.requests) == 1


# --- left in the middle -------------------------------------------------------------------------------


async def test_the_client_is_closed_in_a_pause(braze: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the client ends a wait at once."""
    async with client_of(braze.base_url) as client:
        export = await client.export_users(braze.segment_ids[0], fields=FIELDS)
        paused = asyncio.Event()

        async def pause(_: float) -> None:
            paused.set()
            await asyncio.sleep(3_600)

        monkeypatch.setattr(users_export, "sleep", pause)
        waiting = asyncio.create_task(export.wait())
        await paused.wait()
        await client.aclose()
        with pytest.raises(ClosedError):
            await asyncio.wait_for(waiting, 1)
        with pytest.raises(ClosedError):
            await export.wait()


@pytest.mark.parametrize("where", ["in a pause", "at the host"])
@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_cancelled_while_waiting(where: str, how: str) -> None:
    """Cancellation is raised unchanged and at once; the export can be waited for again."""
    faults = {"in a pause": answer(403, b""), "at the host": send_then(b"", Exchange.wait_until_closed)}
    async with RawServer(faults[where]) as server, client_of(server.base_url) as client:
        export = export_at(client, f"{server.base_url}/file.zip?{QUERY}")
        waiting = asyncio.create_task(export.wait())
        while not server.requests:  # noqa: ASYNC110 - the server is not to know who waits
            await asyncio.sleep(0.001)
        if how == "cancel":
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        else:
            with pytest.raises(TimeoutError) as caught:
                await asyncio.wait_for(waiting, 0.01)
            assert not isinstance(caught.value, BrazeError)
        server.fault = FileHost(packed([people(2)]))
        assert len(await all_users(export)) == 2


async def test_before_and_after(braze: Sandbox) -> None:
    """A client that is not open says how to open it."""
    client = client_of(braze.base_url)
    with pytest.raises(ClosedError, match="open the client first"):
        await client.export_users(braze.segment_ids[0], fields=FIELDS)
    with pytest.raises(ClosedError, match="open the client first"):
        await client.cancel_exports(braze.segment_ids[0])
    assert not braze.requests


async def test_an_outage_of_the_file_host_costs_no_retries(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of the file host during a wait costs no retry budget."""
    sandbox.inject(Answer(status=503), endpoint="file", ordinals=range(2, 120))
    sandbox.inject(Answer(status=403), endpoint="file", ordinals=1)
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=RetryPolicy(backoff=0.0)
    ) as client:
        export = await client.export_users(sandbox.segment_ids[0], fields=["email"])
        monkeypatch.setattr(users_export, "sleep", lambda _: asyncio.sleep(0))
        await export.wait()
        assert sandbox.count("file") == 120
        assert client.stats.retries == 0
