"""Any response in any order of faults gives a value or an error of the package."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fault_client import KEY, client_of, series_windows
from faults_table import ROWS
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from raw_server import Exchange, RawServer, answer, send_then

from braze_segments_async import BrazeError, Limits, ReplyError, RetryPolicy
from braze_segments_async._http import endpoints
from braze_segments_async._http.headers import parse_rate_limit, parse_retry_after, response_date
from braze_segments_async._http.responses import Response, parse_response

if TYPE_CHECKING:
    from braze_segments_async._http.endpoints import Request

REQUESTS: list[Request[Any]] = [
    endpoints.list_page(0, "asc"),
    endpoints.details("a"),
    *series_windows("a", 7, None, datetime.now(UTC)),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["success", "2026-11-20"])
)
NAMES = st.text() | st.sampled_from(
    [
        "message",
        "segments",
        "data",
        "id",
        "name",
        "tags",
        "teams",
        "time",
        "size",
        "created_at",
        "estimated_size",
    ]
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=12)
ROW = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "name", "tags", "time", "size"), JSON))
BODIES = JSON | st.fixed_dictionaries(
    {"message": st.just("success")},
    optional={"segments": st.lists(ROW) | JSON, "data": st.lists(ROW) | JSON, "name": LEAVES, "tags": JSON},
)
REQUEST = st.sampled_from(REQUESTS)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["Date", "Retry-After", "X-RateLimit-Retry-After", "X-RateLimit-Reset", "X-RateLimit-Remaining"]
    ),
    st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str),
)


def _judged(request: Request[Any], status: int, body: bytes, headers: dict[str, str] | None = None) -> Any:
    fields = CIMultiDict(headers or {})
    sent = response_date(fields, 1_795_341_600.0)
    return parse_response(request, Response(status, fields, body, parse_rate_limit(fields, sent), sent), KEY)


@settings(max_examples=80)
@given(REQUEST, BODIES)
def test_any_json(request_: Request[Any], body: Any) -> None:
    """Any JSON in a success response is a value or a `ReplyError`."""
    try:
        assert isinstance(_judged(request_, 200, json.dumps(body).encode()), object)
    except ReplyError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right


@settings(max_examples=100)
@given(REQUEST, st.integers(100, 599), st.binary(), HEADERS)
def test_any_response(request_: Request[Any], status: int, body: bytes, headers: dict[str, str]) -> None:
    """Any status, bytes and headers are a value or a `BrazeError`; a wait is above 0 and finite."""
    try:
        _judged(request_, status, body, headers)
    except BrazeError as error:
        assert str(error).isprintable()  # noqa: PT017 - either outcome is right
    wait = parse_retry_after(CIMultiDict(headers), response_date(CIMultiDict(headers), 1_795_341_600.0))
    assert wait is None or 0 < wait < float("inf")


@settings(max_examples=100)
@given(REQUEST, st.sampled_from([200, 400, 403, 404, 409, 500, 503]), st.text(), st.text())
def test_any_text_of_the_service(request_: Request[Any], status: int, before: str, after: str) -> None:
    """Any text of the service that contains the key gives a printable message without the key."""
    body = json.dumps({"message": f"{before}{KEY}{after}"}).encode()
    try:
        _judged(request_, status, body)
    except BrazeError as error:
        text = str(error)
    assert text.isprintable()
    assert not any(part.lower() in text.lower() for part in (KEY, KEY[:14], KEY[14:]))
    assert len(text) < 500


_PASSING = [
    row
    for row in ROWS
    if row.times == 1 and not row.waits and "timeout" not in row.options and row.requests == 2
]


@settings(max_examples=25)
@given(st.lists(st.none() | st.sampled_from(_PASSING), max_size=30))
def test_any_schedule(schedule: list[Any]) -> None:
    """Under any schedule of temporary faults a listing with details is complete or raises, never short."""

    async def walk() -> None:
        turns = iter(schedule)

        async def fault(exchange: Exchange) -> None:
            row = next(turns, None)
            await (answer() if row is None else row.respond)(exchange)

        async with RawServer(fault, segments=120) as server, client_of(server.base_url) as client:
            got: list[str] = []
            try:
                async for details in client.all_details(ordered=True):
                    got.append(details.id)  # noqa: PERF401 - what came before an error counts
            except BrazeError:
                assert got == server.ids[: len(got)]
            else:
                assert got == server.ids

    asyncio.run(walk())


@settings(max_examples=25)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
)
def test_any_bytes(garbage: bytes, start: bytes) -> None:
    """Any bytes in place of a response give a `BrazeError`."""

    async def ask() -> None:
        fault = send_then(start + garbage, Exchange.close)
        options: dict[str, Any] = {
            "retry": RetryPolicy(attempts=1),
            "limits": Limits(body=1_000),
            "timeout": 2.0,
        }
        async with RawServer(fault) as server, client_of(server.base_url, **options) as client:
            try:
                await client.details("a")
            except BrazeError as error:
                assert str(error).isprintable()  # noqa: PT017 - either outcome is right

    asyncio.run(ask())
