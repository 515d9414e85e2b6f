"""`SegmentCache`: one refresh at a time, previous segments while a refresh runs or fails, a clean end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from braze_segments_async import (
    AuthenticationError,
    BrazeError,
    BrazeSegments,
    ClosedError,
    ConfigError,
    RetryPolicy,
    ServerError,
)
from braze_segments_async.cache import SegmentCache
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from braze_segments_async import SegmentDetails
    from braze_segments_async.sandbox import LoggedRequest

_AN_HOUR = 3_600.0
_AT_ONCE = 0.001  # seconds: the next refresh begins as soon as one has ended


@pytest.fixture
async def small() -> AsyncIterator[Sandbox]:
    """A sandbox of three segments, which are fetched quickly."""
    async with Sandbox(3) as sandbox:
        yield sandbox


def _client(sandbox: Sandbox, attempts: int = 2) -> BrazeSegments:
    return BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=RetryPolicy(attempts=attempts, backoff=0.0)
    )


def _requested(sandbox: Sandbox, answer: Answer | None = None) -> asyncio.Event:
    """Return an event that is set by the next request; `answer` answers it and all later ones."""
    event = asyncio.Event()

    def hook(_: LoggedRequest) -> Answer | None:
        event.set()
        return answer

    sandbox.inject(hook)
    return event


async def test_a_thousand_calls_cause_one_refresh(sandbox: Sandbox, client: BrazeSegments) -> None:
    """A thousand calls at the same time wait for one refresh, and later calls for none."""
    async with SegmentCache(client, max_age=_AN_HOUR) as cache:
        ids = [sandbox.segment_ids[n % 250] for n in range(1_000)]
        found = await asyncio.gather(*(cache.get(segment_id) for segment_id in ids))
        assert [details and details.id for details in found] == ids
        assert [details.id for details in await cache.all()] == sandbox.segment_ids
        assert await cache.get("unknown") is None
        assert (sandbox.count("list"), sandbox.count("details")) == (5, 250)


async def test_previous_segments_while_a_refresh_runs(small: Sandbox) -> None:
    """While a refresh waits for Braze, calls return the previous segments at once."""
    waiting: list[asyncio.Event] = []

    def on_refresh(_: object) -> None:
        small.rename(small.segment_ids[0], "New name")
        waiting.append(_requested(small, Answer(delay=60.0)))

    async with (
        _client(small) as client,
        SegmentCache(client, max_age=_AT_ONCE, on_refresh=on_refresh) as cache,
    ):
        before = await cache.all()
        await waiting[0].wait()
        async with asyncio.timeout(1.0):
            assert await cache.all() == before
        assert "New name" not in {details.name for details in before}


async def test_a_failed_refresh_replaces_nothing(small: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """If one segment fails, the previous segments are returned, and the next refresh replaces them."""
    errors: list[BrazeError] = []
    failed, refreshed = asyncio.Event(), asyncio.Event()

    def on_refresh(_: object) -> None:
        if not errors:
            small.rename(small.segment_ids[0], "New name")
            small.inject(Answer(status=422), segment_id=small.segment_ids[1], times=1)
        else:
            refreshed.set()

    def on_error(error: BrazeError) -> None:
        errors.append(error)
        failed.set()

    async with (
        _client(small) as client,
        SegmentCache(client, max_age=_AT_ONCE, on_refresh=on_refresh, on_error=on_error) as cache,
    ):
        before = await cache.all()
        await failed.wait()
        assert [details.name for details in await cache.all()] == [details.name for details in before]
        await refreshed.wait()
        first, *_ = await cache.all()
        assert (first.name, len(await cache.all())) == ("New name", 3)
    assert "422" in str(errors[0])
    assert [record.levelname for record in caplog.records if "refresh failed" in record.message] == ["ERROR"]
    assert small.api_key not in caplog.text


async def test_the_age_is_bounded(small: Sandbox) -> None:
    """Beyond `max_age` and `stale_if_error`, calls raise the error of the refresh instead."""
    failed = asyncio.Event()

    def on_error(_: object) -> None:
        failed.set()

    async with (
        _client(small) as client,
        SegmentCache(client, max_age=_AT_ONCE, stale_if_error=0.0, on_error=on_error) as cache,
    ):
        assert len(await cache.all()) == 3
        small.inject(Answer(status=500))
        await failed.wait()
        with pytest.raises(ServerError):
            await cache.all()
        assert cache.refreshed_at is not None


async def test_the_first_error_reaches_every_caller(small: Sandbox) -> None:
    """An error of the first refresh is raised by all calls that wait for it; the next call tries again."""
    small.inject(Answer(status=401), times=1)
    async with _client(small) as client, SegmentCache(client, max_age=_AN_HOUR) as cache:
        outcomes = await asyncio.gather(*(cache.all() for _ in range(50)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
        assert (small.count("list"), cache.refreshed_at) == (1, None)
        assert len(await cache.all()) == 3


async def test_a_cancelled_call_does_not_cancel_the_refresh(small: Sandbox) -> None:
    """The other calls receive their segments, and no segment is requested twice."""
    async with _client(small) as client, SegmentCache(client, max_age=_AN_HOUR) as cache:
        requested = _requested(small)
        calls = [asyncio.create_task(cache.all()) for _ in range(3)]
        await requested.wait()
        calls[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        assert [len(await call) for call in calls[1:]] == [3, 3]
        assert small.count("details") == 3


async def test_refresh_now(small: Sandbox) -> None:
    """`refresh` fetches all segments at once; simultaneous calls share one refresh."""
    refreshed: list[tuple[SegmentDetails, ...]] = []
    async with (
        _client(small) as client,
        SegmentCache(client, max_age=_AN_HOUR, on_refresh=refreshed.append) as cache,
    ):
        before = await cache.all()
        small.rename(small.segment_ids[0], "New name")
        await asyncio.gather(*(cache.refresh() for _ in range(10)))
        assert refreshed == [before, await cache.all()]
        details = await cache.get(small.segment_ids[0])
        assert details is not None
        assert details.name == "New name"
        assert cache.refreshed_at is not None
        assert 0 <= (datetime.now(UTC) - cache.refreshed_at).total_seconds() < 60


async def test_a_segment_archived_during_a_refresh(small: Sandbox) -> None:
    """A segment that is archived between the list and its details is left out, without an error."""
    archived = small.segment_ids[1]

    def archive(_: LoggedRequest) -> Answer:
        small.archive(archived)
        return Answer(status=400)

    small.inject(archive, endpoint="details", segment_id=archived)
    async with _client(small) as client, SegmentCache(client, max_age=_AN_HOUR) as cache:
        assert len(await cache.all()) == 2
        assert await cache.get(archived) is None


async def test_closing_ends_the_refresh(small: Sandbox) -> None:
    """Closing cancels the refresh promptly; calls that wait, and later calls, raise `ClosedError`."""
    requested = _requested(small, Answer(delay=60.0))
    async with _client(small) as client:
        cache = SegmentCache(client, max_age=_AN_HOUR)
        with pytest.raises(ClosedError, match="not open"):
            await cache.all()
        async with cache:
            with pytest.raises(ClosedError, match="open already"):
                await cache.__aenter__()
            call = asyncio.create_task(cache.all())
            await requested.wait()
            async with asyncio.timeout(1.0):
                await cache.aclose()
        with pytest.raises(ClosedError, match="was closed"):
            await call
        with pytest.raises(ClosedError, match="not open"):
            await cache.get("any")
        small.inject(Answer())
        async with cache:  # a closed cache can be opened again
            assert len(await cache.all()) == 3


async def test_a_hook_that_raises(small: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a hook is raised by the calls that wait, and logged; refreshes go on."""
    calls = 0
    again = asyncio.Event()

    def on_refresh(_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        again.set()

    async with (
        _client(small) as client,
        SegmentCache(client, max_age=_AT_ONCE, on_refresh=on_refresh) as cache,
    ):
        with pytest.raises(ZeroDivisionError):
            await cache.refresh()
        await again.wait()
    assert "ZeroDivisionError" in caplog.text


async def _async_hook(_: object) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_age": 0},
        {"max_age": float("inf")},
        {"max_age": 900, "stale_if_error": -1},
        {"max_age": 900, "consistency": "quick"},
        {"max_age": 900, "concurrency": 0},
        {"max_age": 900, "on_error": _async_hook},
        {"max_age": 900, "on_refresh": "print"},
    ],
    ids=lambda wrong: list(wrong)[-1],
)
async def test_wrong_arguments(wrong: dict[str, Any]) -> None:
    """Wrong arguments are refused by name, before anything is sent."""
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        SegmentCache(BrazeSegments("key", base_url="http://localhost"), **wrong)
