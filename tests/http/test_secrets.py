"""The key is in the Authorization header and nowhere else, after any failure."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import traceback
from base64 import b64encode
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from fault_client import CALLS, KEY, Call, Clock, Row, client_of, try_fault
from faults_table import CAP, ROWS
from key_leaks import HALF, exception_chain, leaks
from raw_server import Exchange, Fault, RawServer, answer, changed, gzipped, head, send_slowly, send_then

from braze_segments_async import BrazeError, BrazeSegments, ConfigError, ReplyError, RetryEvent, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EACH = pytest.mark.parametrize("call", CALLS, ids=str)


def texts_of(error: BaseException) -> Iterator[str]:
    """Yield all texts of an error that could be printed, logged or sent to an error tracker."""
    for one in exception_chain(error):
        yield f"{one} {one!r} {one.args!r} {vars(one)!r} {[*map(str, vars(one).values())]}"
        yield "".join(traceback.TracebackException.from_exception(one, capture_locals=True).format())
    if isinstance(error, BrazeError):
        yield str(pickle.dumps(error))


def _show(thing: object, depth: int = 5) -> Iterator[str]:
    """Yield the repr of an object of the package and of everything in it."""
    yield repr(thing)
    if depth and type(thing).__module__.startswith("braze_segments_async"):
        for value in getattr(thing, "__dict__", {}).values():
            yield from _show(value, depth - 1)
    if isinstance(thing, dict | set | list | tuple):
        yield from map(repr, thing)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return a function that returns all records at DEBUG with their attributes."""
    caplog.set_level(logging.DEBUG)
    return lambda: (
        caplog.text + " ".join(f"{vars(record)!r} {record.getMessage()}" for record in caplog.records)
    )


@pytest.mark.parametrize("row", [row for row in ROWS if row.error and "silence" not in row.variant], ids=str)
async def test_no_error_of_the_table_leaks(
    row: Row,
    logged: Callable[[], str],
    recwarn: pytest.WarningsRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No error of the fault table, log record, warning, event or part of the client has the key."""
    events: list[RetryEvent] = []
    shown: list[str] = []
    row.options["on_retry"] = events.append

    def look(client: BrazeSegments) -> None:
        shown.extend(_show(client))

    calls = [call for call in CALLS if call.concurrency == 1 or call.endpoint == "details"]
    clock = Clock()
    clock.drive(monkeypatch)
    tries = await asyncio.gather(
        *(try_fault(row, call, clock, look=look, direct=direct) for call in calls for direct in (True, False))
    )
    assert not leaks(logged())
    assert not leaks(" ".join(shown))
    assert not leaks(" ".join(f"{event!r} {event.error}" for event in events))
    assert not leaks(" ".join(str(vars(warning)) for warning in recwarn))
    for tried in tries:
        for error in tried.errors[:2]:  # the errors of a fan-out are alike
            assert not [leaks(text) for text in texts_of(error) if leaks(text)]


ECHOES = {
    "whole": KEY,
    "with Bearer": f"Bearer {KEY}",
    "the first half": KEY[:HALF],
    "the second half": KEY[HALF:],
    "percent-encoded": quote(KEY, safe=""),
    "percent-encoded, but for /": quote(KEY),
    "in base64": b64encode(KEY.encode()).decode(),
    "in base64 as Basic": b64encode(f"{KEY}:".encode()).decode(),
    "in base64 with Bearer": b64encode(f"Bearer {KEY}".encode()).decode(),
    "in upper case": KEY.upper(),
    "far behind": "x" * 190 + KEY,
    "often": KEY * 50,
}


@pytest.mark.parametrize("status", [200, 202, 302, 400, 401, 403, 404, 408, 429, 503])
@pytest.mark.parametrize("variant", ECHOES)
async def test_echoed_key_is_masked(variant: str, status: int) -> None:
    """A text of the service that echoes the key, whole or in part or encoded, is masked in the message."""
    body = changed(every={"message": f"Invalid API key: {ECHOES[variant]}"})
    async with RawServer(answer(status, body)) as server, client_of(server.base_url) as client:
        with pytest.raises(BrazeError) as caught:
            await client.details(server.ids[0])
    error = caught.value
    assert not leaks(f"{error} {error!r} {error.args} {vars(error)}")


_ECHO = f'{{"message": "Invalid API key: {KEY}"'.encode()
_LOCALS: dict[str, Fault] = {
    "message not success": answer(200, _ECHO + b"}"),
    "HTML": answer(200, f"<html>{KEY}</html>".encode()),
    "cut JSON": answer(200, _ECHO),
    "wrong root": answer(200, f'["{KEY}"]'.encode()),
    "message of a wrong type": answer(200, f'{{"message": ["{KEY}"]}}'.encode()),
    "field missing": answer(200, f'{{"message": "success", "key": "{KEY}"}}'.encode()),
    "field of a wrong type": answer(
        200,
        changed(
            list={"segments": [{"id": KEY}]},
            details={"created_at": KEY},
            data_series={"data": [{"time": KEY}]},
        ),
    ),
    "not UTF-8": answer(200, _ECHO + b"\xff"),
    "too large": answer(200, _ECHO + b" " * CAP),
    "not gzip": answer(200, _ECHO, {"Content-Encoding": "gzip"}),
    "gzip cut short": gzipped(_ECHO, cut=-6),
    "cut in the body": send_then(head(headers={"Content-Length": "999"}) + _ECHO, Exchange.close),
    "error statuses": answer(400, _ECHO + b"}"),
}


@pytest.mark.parametrize("fault", _LOCALS)
@EACH
async def test_echoed_key_is_in_no_local(call: Call, fault: str) -> None:
    """A body that echoes the key is in no local variable of a traceback."""
    async with RawServer(_LOCALS[fault]) as server, client_of(server.base_url) as client:
        outcomes = await call.outcomes(client, server.ids)
    assert outcomes
    for error in outcomes:
        assert isinstance(error, BrazeError)
        assert not [leaks(text) for text in texts_of(error) if leaks(text)]


async def test_echoed_key_in_a_header_is_masked() -> None:
    """A header that echoes the key is masked in messages."""
    async with (
        RawServer(answer(200, None, {"Content-Encoding": KEY})) as server,
        client_of(server.base_url) as client,
    ):
        with pytest.raises(ReplyError) as caught:
            await client.details(server.ids[0])
    assert not leaks(f"{caught.value} {caught.value!r} {vars(caught.value)}")


@EACH
@pytest.mark.parametrize(
    "where", ["before the response", "in the body", "before a retry", "during a pause", "in a slow body"]
)
@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_cancelled_request(call: Call, where: str, how: str, logged: Callable[[], str]) -> None:
    """The traceback of a cancelled or timed out request, with its locals, has no key; neither has a log."""
    faults = {
        "before the response": send_then(b"", Exchange.wait_until_closed),
        "in the body": send_then(head(headers={"Content-Length": "99"}) + b"{", Exchange.wait_until_closed),
        "before a retry": answer(503, b""),
        "during a pause": answer(429, b"", {"Retry-After": "60"}),
        "in a slow body": send_slowly(0.002),
    }
    slow = RetryPolicy(backoff=60.0, backoff_cap=60.0)
    async with RawServer(faults[where]) as server, client_of(server.base_url, retry=slow) as client:
        calls = [call.one(client, segment_id) for segment_id in server.ids[: call.concurrency]]
        if how == "timeout":
            calls = [asyncio.wait_for(one, 0.03) for one in calls]
        tasks = [asyncio.create_task(one) for one in calls]
        await asyncio.sleep(0.03)
        for one in tasks:
            one.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, TimeoutError}
    for error in outcomes:
        assert isinstance(error, BaseException)
        assert not [leaks(text) for text in texts_of(error) if leaks(text)]
    assert not leaks(logged())


async def test_no_part_of_the_client_shows_the_key() -> None:
    """The repr of a client and all its parts has no key: new, open, used and closed."""
    async with RawServer() as server:
        client = client_of(server.base_url)
        assert not leaks(" ".join(_show(client)))
        async with client:
            assert not leaks(" ".join(_show(client)))
            await client.details(server.ids[0])
            assert not leaks(" ".join(_show(client)))
            assert not leaks(" ".join(map(repr, vars(client._manager._transports[0]._session).values())))
        assert not leaks(" ".join(_show(client)) + repr(vars(client)))
    gc.collect()


@pytest.mark.parametrize(
    "key", [f"{KEY}\n", f" {KEY}", f"{KEY}é", f"Bearer {KEY}", f"{KEY[:HALF]} {KEY[HALF:]}"]
)
def test_wrong_key_is_in_no_local(key: str) -> None:
    """A refused key is neither in the error nor in a local variable of the package's frames."""
    with pytest.raises(ConfigError) as caught:
        BrazeSegments(key, base_url="https://rest.iad-01.braze.com")
    _assert_no_key_in_frames(caught.value)


@pytest.mark.parametrize(
    "options", [{"base_url": "http://a.example"}, {"concurrency": 0}, {"timeout": 0}, {"reserve": 2}], ids=str
)
def test_key_is_in_no_local_of_a_wrong_argument(options: dict[str, Any]) -> None:
    """The refusal of another argument has no key in a local variable of the package's frames."""
    with pytest.raises(ConfigError) as caught:
        BrazeSegments(KEY, **{"base_url": "https://rest.iad-01.braze.com", **options})
    _assert_no_key_in_frames(caught.value)


def _assert_no_key_in_frames(error: BaseException) -> None:
    """Assert that no local of the package's frames has the key; a frame of a caller may."""
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if "braze_segments_async/" in frame.f_code.co_filename
    ]
    assert frames
    summary = traceback.StackSummary.extract(iter(frames), capture_locals=True)
    assert not leaks(" ".join(summary.format()))
    assert not leaks(f"{error} {error!r} {vars(error)}")


@pytest.mark.parametrize("status", [200, 400, 403, 404, 409, 500, 503])
async def test_text_of_the_service_is_escaped(status: int) -> None:
    """Control characters of the service's text are escaped, and a long text is cut."""
    text = "a\x1b[2J\r\nERROR forged\x00\u202e\u2028\x85" + "long" * 10_000
    async with (
        RawServer(answer(status, changed(every={"message": text}))) as server,
        client_of(server.base_url) as client,
    ):
        with pytest.raises(BrazeError) as caught:
            await client.details(server.ids[0])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert "forged" in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [(KEY.encode(), "https://rest.iad-01.braze.com"), (KEY, f"https://{KEY}.example")]
)
def test_key_of_the_wrong_type_or_in_the_url(arguments: tuple[Any, str]) -> None:
    """A key as bytes or in the URL is refused, and is in no local variable of the package's frames."""
    with pytest.raises(ConfigError) as caught:
        BrazeSegments(arguments[0], base_url=arguments[1])
    _assert_no_key_in_frames(caught.value)
