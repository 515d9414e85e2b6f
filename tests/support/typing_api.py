"""The types of the public API. Only mypy reads this file: it fails where a type has changed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, assert_type

import braze_segments_async
from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    BrazeSegments,
    CheckReport,
    ClosedError,
    ConfigError,
    DetailsStream,
    ExportError,
    ExportExpiredError,
    ExportRunningError,
    Instance,
    Limits,
    NotFoundError,
    PaginationError,
    PauseEvent,
    PermissionDeniedError,
    RateLimit,
    RateLimitedError,
    RedirectError,
    ReplyError,
    ResponseStats,
    RetryEvent,
    RetryPolicy,
    Segment,
    SegmentDetails,
    SegmentFailure,
    SegmentListing,
    SegmentPage,
    SegmentSizes,
    SegmentStream,
    ServerError,
    SizePoint,
    SizesStream,
    Stats,
    StatusError,
    TimedOutError,
    TransportError,
    UsersExport,
)

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp

assert_type(braze_segments_async.__version__, str)


async def fetch_key() -> str:
    """Return a key, as from a secret store."""
    return "KEY"


async def client(session: aiohttp.ClientSession, events: list[RetryEvent], pauses: list[PauseEvent]) -> None:
    """Check the constructors and the lifecycle of a client."""
    configured = BrazeSegments(
        "KEY",
        base_url="https://rest.iad-01.braze.com",
        concurrency=16,
        timeout=30.0,
        retry=RetryPolicy(attempts=5, backoff=0.5, backoff_cap=20.0, max_rate_limit_wait=120.0),
        reserve=0.1,
        limits=Limits(connect=10.0, read_timeout=15.0, body=1, file=1, pages=1, retry_quota=0),
        session=session,
        on_retry=events.append,
        on_pause=pauses.append,
    )
    assert_type(BrazeSegments.from_env(), BrazeSegments)
    assert_type(BrazeSegments.from_env(base_url="https://host", timeout=5, session=None), BrazeSegments)
    assert_type(configured.base_url, str)
    assert_type(configured.concurrency, int)
    assert_type(configured.rate_limit, RateLimit | None)
    assert_type(configured.stats, Stats)
    assert_type(configured.stats.responses, tuple[ResponseStats, ...])
    BrazeSegments(str, base_url="US-01", proxy="http://proxy.example.com:3128")
    BrazeSegments(fetch_key, base_url="US-01")
    async with configured as segments:
        assert_type(segments, BrazeSegments)
    await configured.aclose()


class Subclass(BrazeSegments):
    """A subclass of the client."""


async def subclass() -> None:
    """Check that a subclass keeps its type."""
    assert_type(Subclass.from_env(), Subclass)
    async with Subclass.from_env() as segments:
        assert_type(segments, Subclass)


async def listing(segments: BrazeSegments) -> None:
    """Check the listing of segments and of pages."""
    assert_type(segments.list(), SegmentListing)
    listed = segments.list(sort_direction="desc", start_page=3, consistency="safe")
    assert_type(aiter(listed), AsyncIterator[Segment])
    assert_type(listed.pages(), AsyncGenerator[SegmentPage, None])
    assert_type(listed.recovered, int)
    async for segment in listed:
        assert_type(segment, Segment)
    async for page in listed.pages():
        assert_type(page.number, int)
        assert_type(page.segments, tuple[Segment, ...])
    assert_type([segment.id async for segment in segments.list(consistency="strict")], list[str])


async def fan_out(segments: BrazeSegments, ids: AsyncIterator[str]) -> None:
    """Check streams of details, of all segments, of ids or of segments."""
    stream = segments.all_details()
    assert_type(stream, DetailsStream)
    async with stream as same:
        assert_type(same, DetailsStream)
        async for one in same:
            assert_type(one, SegmentDetails)
    assert_type(segments.all_details(["a", "b"], concurrency=4, ordered=True), DetailsStream)
    assert_type(segments.all_details(segments.list(), on_error="collect"), DetailsStream)
    assert_type(segments.all_details(ids, on_error="raise", concurrency=None), DetailsStream)
    assert_type(segments.all_details({Segment("a", "A")}), DetailsStream)
    assert_type(segments.all_details(consistency="strict"), DetailsStream)
    assert_type(stream.failures, list[SegmentFailure])
    for failure in stream.failures:
        assert_type(failure.segment_id, str)
        assert_type(failure.error, BrazeError)
    await stream.aclose()


async def single(segments: BrazeSegments, row: Segment, moment: datetime) -> None:
    """Check the details and the sizes of one segment."""
    assert_type(await segments.details("a"), SegmentDetails)
    assert_type(await segments.details(row), SegmentDetails)
    assert_type(await segments.data_series("a"), list[SizePoint])
    assert_type(await segments.data_series("a", length=365, ending_at=moment), list[SizePoint])
    assert_type(await segments.data_series("a", ending_at=moment.date()), list[SizePoint])


async def sizes(segments: BrazeSegments, moment: datetime) -> None:
    """Check streams of sizes."""
    stream = segments.all_data_series(length=90, ending_at=moment, tracked_only=True)
    assert_type(stream, SizesStream)
    as_any: SegmentStream[SegmentSizes] = segments.all_data_series(
        segments.list(), ending_at=moment.date(), concurrency=4, ordered=True, on_error="collect"
    )
    assert_type(as_any.failures, list[SegmentFailure])
    async with stream as same:
        async for one in same:
            assert_type((one.id, one.name), tuple[str, str | None])
            assert_type(one.sizes, tuple[SizePoint, ...])


async def users(segments: BrazeSegments, row: Segment, path: Path) -> None:
    """Check the export of the users of a segment."""
    export = await segments.export_users("a", fields=["email"])
    assert_type(export, UsersExport)
    assert_type(await segments.export_users(row, fields={"email"}, output_format="zip"), UsersExport)
    assert_type((export.segment_id, export.object_prefix), tuple[str, str])
    assert_type((export.received, export.size), tuple[int, int | None])
    url: str | None = export.url
    await export.wait(timeout=60)
    async for user in export.users():
        assert_type(user, dict[str, Any])
    async for line in export.lines():
        assert_type(line, bytes)
    assert_type(await export.save(path), int)
    assert_type(await export.save(url or "users.zip", overwrite=True), int)
    await segments.cancel_exports(row)


async def check(segments: BrazeSegments) -> None:
    """Check the report of a key's permissions, and the instances."""
    BrazeSegments("KEY", base_url=Instance.US_01)
    assert_type(Instance.EU_01.label, str)
    report = await segments.check()
    assert_type(report, CheckReport)
    assert_type((report.ready, report.host, report.key), tuple[bool, bool, bool | None])
    assert_type(report.permissions, Mapping[str, bool | None])


def values(row: Segment, details: SegmentDetails, point: SizePoint, limit: RateLimit, stats: Stats) -> None:
    """Check the fields of the values that the client returns."""
    assert_type((row.id, row.name, row.tags), tuple[str, str, tuple[str, ...]])
    assert_type(row.analytics_tracking_enabled, bool | None)
    assert_type(row.extra, Mapping[str, Any])
    assert_type((details.id, details.name), tuple[str, str])
    assert_type((details.description, details.text_description), tuple[str | None, str | None])
    assert_type((details.tags, details.teams), tuple[tuple[str, ...], tuple[str, ...]])
    assert_type((details.created_at, details.updated_at), tuple[datetime | None, datetime | None])
    assert_type(details.estimated_size, int | float | None)
    assert_type(details.estimated_size_updated_at, datetime | None)
    assert_type(details.analytics_tracking_enabled, bool | None)
    assert_type(details.extra, Mapping[str, Any])
    assert_type((point.time, point.size), tuple[date, int | float])
    assert_type((limit.limit, limit.remaining), tuple[int | None, int | None])
    assert_type(limit.resets_at, datetime | None)
    assert_type((stats.requests, stats.retries, stats.in_flight), tuple[int, int, int])
    assert_type((stats.waits, stats.bytes), tuple[int, int])
    assert_type((stats.paused_until, stats.pause_reason), tuple[datetime | None, str])


def options(policy: RetryPolicy, limits: Limits, event: RetryEvent, pause: PauseEvent) -> None:
    """Check the fields of the settings and the events."""
    assert_type((pause.seconds, pause.until, pause.reason), tuple[float, datetime, str])
    assert_type((policy.attempts, policy.backoff, policy.backoff_cap), tuple[int, float, float])
    assert_type(policy.max_rate_limit_wait, float)
    assert_type((limits.connect, limits.read_timeout), tuple[float, float])
    assert_type((limits.body, limits.pages, limits.retry_quota), tuple[int, int, int])
    assert_type((event.endpoint, event.segment_id, event.page), tuple[str, str | None, int | None])
    assert_type((event.attempt, event.wait, event.error), tuple[int, float, BrazeError])


def errors(error: BrazeError) -> None:
    """Check the fields of the exceptions."""
    assert_type((error.reason, error.retryable), tuple[str, bool])
    assert_type((error.endpoint, error.segment_id, error.page), tuple[str | None, str | None, int | None])
    assert_type((error.attempts, error.elapsed), tuple[int, float])
    match error:
        case RateLimitedError():
            assert_type((error.resets_at, error.retry_after), tuple[datetime | None, float | None])
            assert_type(error.rate_limit, RateLimit | None)
        case ServerError():
            assert_type(error.retry_after, float | None)
        case BadRequestError() | AuthenticationError() | PermissionDeniedError():
            assert_type(error.status, int)
        case NotFoundError() | RedirectError() | ExportRunningError():
            assert_type(error.status, int)
        case StatusError():
            assert_type(error.status, int)
        case ReplyError():
            assert_type(error.path, str | None)
        case PaginationError():
            assert_type((error.only_first, error.only_second), tuple[frozenset[str], frozenset[str]])


def builtin_bases(
    wrong: ConfigError,
    closed: ClosedError,
    late: TimedOutError,
    lost: TransportError,
    file: ExportError | ExportExpiredError,
) -> None:
    """Check which exceptions have a built-in base class."""
    as_value: ValueError = wrong
    as_runtime: RuntimeError = closed
    as_timeout: TimeoutError = late
    as_transport: TransportError = late
    as_braze: BrazeError = lost if lost.attempts else file
    print(as_value, as_runtime, as_timeout, as_transport, as_braze)  # noqa: T201 - the linter requires a use
