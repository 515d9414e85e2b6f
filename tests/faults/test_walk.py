"""Faults of a listing and of a fan-out: pages, rate limit, an outage, failures of one id."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from fault_client import CALLS, KEY, Call, Clock, client_of
from raw_server import Exchange, Fault, RawServer, answer

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeSegments,
    Limits,
    NotFoundError,
    PaginationError,
    PermissionDeniedError,
    RateLimitedError,
    ReplyError,
    ServerError,
    StatusError,
)
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_795_341_600
WAYS = ["list", "pages", "all_details@1", "all_details@8"]


def _rows(first: int, count: int) -> list[dict[str, Any]]:
    return [{"id": f"{number}", "name": f"n{number}"} for number in range(first, first + count)]


def _pages(rows_of: Callable[[int], list[dict[str, Any]]]) -> Fault:
    """Serve any pages as the list, and details for any id."""

    def body(exchange: Exchange) -> bytes:
        if exchange.endpoint == "details":
            return json.dumps({"message": "success", "name": "n" + exchange.query["segment_id"]}).encode()
        return json.dumps({"message": "success", "segments": rows_of(int(exchange.query["page"]))}).encode()

    return answer(200, body)


async def _walk(client: BrazeSegments, way: str) -> list[str]:
    """Return the ids in the order of the list."""
    if way == "list":
        return [segment.id async for segment in client.list()]
    if way == "pages":
        return [segment.id async for page in client.list().pages() for segment in page.segments]
    stream = client.all_details(concurrency=int(way[-1]), ordered=True)
    return [details.id async for details in stream]


@pytest.mark.parametrize("way", WAYS)
async def test_same_id_twice(way: str) -> None:
    """A duplicate id, in a page or on two pages, is yielded once."""
    pages = [_rows(0, 99) + _rows(98, 1), _rows(90, 100), _rows(189, 2) + _rows(0, 1)]
    async with RawServer(_pages(pages.__getitem__)) as server, client_of(server.base_url) as client:
        assert await _walk(client, way) == [str(number) for number in range(191)]


@pytest.mark.parametrize("way", WAYS)
async def test_101_rows_in_a_page(way: str) -> None:
    """All 101 rows of a page are yielded, and the listing continues."""
    pages = [_rows(0, 101), _rows(101, 100), _rows(201, 3)]
    async with RawServer(_pages(pages.__getitem__)) as server, client_of(server.base_url) as client:
        assert await _walk(client, way) == [str(number) for number in range(204)]


@pytest.mark.parametrize("way", WAYS)
async def test_same_full_page_forever(way: str) -> None:
    """An endlessly repeated full page is a `PaginationError` within 5 requests."""
    async with RawServer(_pages(lambda _: _rows(0, 100))) as server, client_of(server.base_url) as client:
        with pytest.raises(PaginationError, match="does not advance"):
            await _walk(client, way)
        assert sum(exchange.endpoint == "list" for exchange in server.requests) <= 5


@pytest.mark.parametrize("way", WAYS)
async def test_endless_new_pages(way: str) -> None:
    """Endless new pages are a `PaginationError` at `limits.pages`, raised and not truncated."""
    async with (
        RawServer(_pages(lambda page: _rows(100 * page, 100))) as server,
        client_of(server.base_url, limits=Limits(pages=4)) as client,
    ):
        with pytest.raises(PaginationError, match=r"limits\.pages"):
            await _walk(client, way)
        asked = [exchange.query["page"] for exchange in server.requests if exchange.endpoint == "list"]
        assert set(asked) == {"0", "1", "2", "3", "4"}  # the last one shows that the list continues
        assert len(asked) <= 2 * 4 + 1  # each is read twice at the most, but for the last one


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [answer(200, b""), answer(204), answer(200, b'{"message": "success"}')])
async def test_bad_page_is_not_the_end(way: str, fault: Fault) -> None:
    """A malformed page is a `ReplyError` that names the page; it never ends the listing."""
    full = _pages(lambda page: _rows(100 * page, 100))

    async def third(exchange: Exchange) -> None:
        await (fault if exchange.query.get("page") == "2" else full)(exchange)

    async with RawServer(third) as server, client_of(server.base_url) as client:
        with pytest.raises(ReplyError) as caught:
            await _walk(client, way)
        assert caught.value.page == 2


def _pool(remaining: int, seconds: int) -> Fault:
    headers = {
        "X-RateLimit-Limit": "250000",
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(NOW + seconds),
        "Date": formatdate(NOW, usegmt=True),
    }
    return answer(200, None, headers)


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_rate_limit_at_the_reserve_waits(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests pause until the reset if `Remaining` is at the reserve, without a 429."""
    clock = Clock()
    async with RawServer(_pool(25_000, 30), times=1) as server, client_of(server.base_url) as client:
        clock.drive(monkeypatch)
        await call.one(client, server.ids[0])
        assert not clock.slept
        outcomes = await call.outcomes(client, server.ids)
        assert not any(isinstance(outcome, Exception) for outcome in outcomes)
        assert clock.slept
        assert all(30.0 <= slept <= 31.0 for slept in clock.slept)
        assert len(server.requests) == 1 + call.concurrency


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_rate_limit_at_the_reserve_beyond_the_maximum(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`RateLimitedError` with `.resets_at` is raised at once if the reset is too far away."""
    clock = Clock()
    async with RawServer(_pool(25_000, 1_800)) as server, client_of(server.base_url) as client:
        clock.drive(monkeypatch)
        await call.one(client, server.ids[0])
        outcomes = await call.outcomes(client, server.ids)
        for error in outcomes:
            assert type(error) is RateLimitedError
            assert error.resets_at is not None
            assert error.resets_at.timestamp() == NOW + 1_800
            assert "1,800 s" in str(error)
            assert f"{error.resets_at:%Y-%m-%d %H:%M:%S}" in str(error)
        assert not clock.slept
        assert len(server.requests) == 1


@pytest.mark.parametrize("remaining", [25_001, 250_000])
async def test_rate_limit_above_the_reserve(remaining: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Remaining` above the reserve delays no sequential request."""
    clock = Clock()
    async with RawServer(_pool(remaining, 1_800)) as server, client_of(server.base_url) as client:
        clock.drive(monkeypatch)
        for segment_id in server.ids:
            await client.details(segment_id)
        assert not clock.slept


@pytest.mark.parametrize("call", CALLS, ids=str)
async def test_429_beyond_the_maximum_says_when(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 with a wait beyond the maximum raises at once; the message says when and how long."""
    headers = {"X-RateLimit-Reset": str(NOW + 3_000), "Date": formatdate(NOW, usegmt=True)}
    clock = Clock()
    async with RawServer(answer(429, b"", headers)) as server, client_of(server.base_url) as client:
        clock.drive(monkeypatch)
        for error in await call.outcomes(client, server.ids):
            assert type(error) is RateLimitedError
            assert error.resets_at is not None
            assert error.resets_at.timestamp() == NOW + 3_000
            assert "3,000 s" in str(error)
            assert f"{error.resets_at:%Y-%m-%d %H:%M:%S}" in str(error)
        assert not clock.slept
        assert len(server.requests) <= call.concurrency


@pytest.mark.parametrize("how", ["epoch without Date", "nothing but the status"])
async def test_429_without_date(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local clock is used without a `Date`, and backoff without any header."""
    headers = {"X-RateLimit-Reset": str(int(time.time()) + 60)} if how == "epoch without Date" else {}
    clock = Clock()
    async with RawServer(answer(429, b"", headers), times=1) as server, client_of(server.base_url) as client:
        clock.drive(monkeypatch)
        await client.details(server.ids[0])
    assert [58.0 <= slept <= 61.0 for slept in clock.slept] == [True] * len(headers)


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_real_limit_under_a_fan_out(concurrency: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All requests of a fan-out wait for a real limit together and complete; at most one burst per window."""
    clock = Clock(float(NOW))
    sandbox = Sandbox(300, rate_limit=(60, 60.0), clock=clock)
    sandbox.inject(Answer(headers={"X-RateLimit-Remaining": None}))  # hides the limit until the 429
    async with sandbox, BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        clock.drive(monkeypatch)
        got = [details.id async for details in client.all_details(concurrency=concurrency)]
        assert sorted(got) == sorted(sandbox.segment_ids)
        assert sandbox.count("details", 200) == 300
        refused = sum(request.status == 429 for request in sandbox.requests)
        assert 1 <= refused <= len(sandbox.windows) * concurrency
        assert clock.now - NOW <= 2 * 61.0 * len(sandbox.windows)


def _outage(after: int, until: int | None = None) -> Fault:
    """Fail requests for details after the first `after`, up to number `until`."""
    seen = 0

    async def fault(exchange: Exchange) -> None:
        nonlocal seen
        seen += exchange.endpoint == "details"
        out = exchange.endpoint == "details" and seen > after and (until is None or seen <= until)
        await (answer(503, b"<html>down</html>") if out else answer())(exchange)

    return fault


async def test_outage_collected() -> None:
    """An outage during 3,000 details costs at most a few hundred requests; finished details are kept."""
    async with RawServer(_outage(1_000), segments=3_000) as server, client_of(server.base_url) as client:
        stream = client.all_details(server.ids, on_error="collect")
        got = {details.id async for details in stream}
        failed = {failure.segment_id for failure in stream.failures}
        assert len(got) == 1_000
        assert got | failed == set(server.ids)
        assert not got & failed
        assert {type(failure.error) for failure in stream.failures} == {ServerError}
        assert len(server.requests) <= 3_300
        assert "retry quota" in str(stream.failures[-1].error)


async def test_outage_raised() -> None:
    """An outage ends a stream after a few requests; earlier results were yielded."""
    got = []
    async with RawServer(_outage(1_000), segments=3_000) as server, client_of(server.base_url) as client:
        with pytest.raises(ServerError):
            async for details in client.all_details(server.ids):
                got.append(details.id)  # noqa: PERF401 - what came before the error counts
        assert 950 <= len(got) <= 1_000
        assert len(server.requests) <= 1_100


async def test_outage_that_passes() -> None:
    """A short outage during 3,000 details is invisible: all are fetched."""
    async with (
        RawServer(_outage(1_000, 1_030), segments=3_000) as server,
        client_of(server.base_url) as client,
    ):
        got = {details.id async for details in client.all_details(server.ids)}
        assert got == set(server.ids)
        assert len(server.requests) == 3_030


@pytest.mark.parametrize("on_error", ["raise", "collect"])
@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, PermissionDeniedError)])
async def test_401_and_403_stop_a_fan_out(
    status: int, error: type[StatusError], concurrency: int, on_error: Any
) -> None:
    """A 401 or 403 stops the whole fan-out, with any `on_error`."""
    async with RawServer(answer(status, b""), segments=200) as server, client_of(server.base_url) as client:
        with pytest.raises(error):
            async for _ in client.all_details(server.ids, concurrency=concurrency, on_error=on_error):
                pass
        assert len(server.requests) <= 2 * concurrency


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize(("status", "error"), [(400, BadRequestError), (404, NotFoundError)])
async def test_one_id_fails_alone(status: int, error: type[StatusError], concurrency: int) -> None:
    """A 400 or 404 of one id is the failure of that id, and takes one request."""
    sandbox = Sandbox(60, api_key=KEY)
    bad = sandbox.segment_ids[20]
    sandbox.inject(Answer(status=status), segment_id=bad)
    async with sandbox, client_of(sandbox.base_url) as client:
        stream = client.all_details(concurrency=concurrency, on_error="collect", ordered=True)
        got = [details.id async for details in stream]
        assert got == [segment_id for segment_id in sandbox.segment_ids if segment_id != bad]
        assert [(failure.segment_id, type(failure.error)) for failure in stream.failures] == [(bad, error)]
        assert sandbox.count("details") == 60


@pytest.mark.parametrize("consistency", ["fast", "safe", "strict"])
async def test_listing_over_faults(consistency: Any) -> None:
    """Temporary faults on every page leave a listing of any consistency complete and in order."""
    sandbox = Sandbox(450, api_key=KEY)
    limited = Answer(429, headers={"X-RateLimit-Reset": None})
    for page, fault in enumerate([Answer(503), limited, Answer(202), Answer(body=b"{"), Answer(500)]):
        sandbox.inject(fault, endpoint="list", page=page, times=1)
    async with sandbox, client_of(sandbox.base_url) as client:
        got = [segment.id async for segment in client.list(consistency=consistency)]
        assert got == sandbox.segment_ids
