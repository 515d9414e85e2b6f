"""`BrazeSegments`, the client: one short method for each request or stream."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeVar, Unpack

from ._arguments import (
    ON_ERROR,
    Consistency,
    OnError,
    SortDirection,
    check_base_url,
    check_choice,
    check_integer,
    check_key,
    check_list,
    check_source,
)
from ._check import UNKNOWN_SEGMENT, CheckReport, build_report, is_conclusive
from ._fan_out import DetailsStream, SegmentStream, SizesStream
from ._http import SessionManager, endpoints
from ._listing import SegmentListing, prefetch_depth
from ._models import Segment, SegmentSizes
from ._settings import ClientSettings, Limits, RetryPolicy
from ._text import Secret
from ._users import UsersExport
from .errors import BrazeError, ClosedError, ConfigError

if TYPE_CHECKING:
    import builtins
    from collections.abc import (
        AsyncIterable,
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Hashable,
        Iterable,
        Mapping,
    )
    from types import TracebackType

    import aiohttp

    from ._models import SegmentDetails, SizePoint, Stats
    from ._rate_limit import RateLimit
    from ._settings import ClientOptions, PauseEvent, RetryEvent

__all__ = ["BrazeSegments"]

StreamT = TypeVar("StreamT", bound="SegmentStream[Any]")


class BrazeSegments:
    """A client for the segments of one Braze workspace.

    Open it with `async with`, in the event loop that uses it. Use one client for all requests to a workspace:
    it holds the connections and the state of the rate limit. All durations are in seconds.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str | Awaitable[str]],
        *,
        base_url: str,
        concurrency: int = 16,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        reserve: float = 0.1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
        direct: bool = True,
        on_retry: Callable[[RetryEvent], object] | None = None,
        on_pause: Callable[[PauseEvent], object] | None = None,
    ) -> None:
        """Check the arguments. Nothing is opened or sent yet, so no event loop is needed.

        Args:
            api_key: REST API key with the permissions `segments.list` and `segments.details`, for sizes
                `segments.data_series`, and for users `users.export.segment` (Braze: "REST API key"). Or a
                plain or async function that returns the key, for example from a secret store. It is called
                once, when the client is opened; an exception that it raises is not changed.
            base_url: REST endpoint of the workspace's cluster (Braze: "API overview"), as a URL, an
                `Instance`, or the name of an instance such as "US-01".
            concurrency: Maximum number of requests in flight, except in a stream with its own `concurrency`.
            timeout: Timeout of one attempt in seconds, from connecting to the last byte of the response.
            retry: Rules for retries.
            reserve: Fraction of the hourly rate limit that this client leaves to other uses of the workspace,
                such as sending messages through the API.
            limits: Safety limits in seconds, bytes, pages and retries.
            proxy: URL of a forward proxy for all requests, such as `http://proxy.example.com:3128`; it may
                contain a user and a password. Proxy variables such as `HTTPS_PROXY` are not read.
            session: Your own session, for its TLS settings or tracing. The client never closes it. It cannot
                be combined with `proxy`: a session has its own.
            direct: Whether GET requests bypass aiohttp's session to save CPU. Without effect if `session` is
                given, or if anything traces or replaces the requests of aiohttp's sessions.
            on_retry: Called with a `RetryEvent` before each retry. A plain function that must not block.
            on_pause: Called with a `PauseEvent` when all requests begin to wait for the rate limit, and when
                that wait becomes longer. A plain function that must not block.

        Raises:
            ConfigError: An argument is invalid; the message names it.
        """
        # Wrap secrets first: a traceback may show this frame's locals.
        base_url = Secret(base_url) if isinstance(base_url, str) else base_url  # type: ignore[redundant-expr]
        proxy = Secret(proxy) if isinstance(proxy, str) else proxy
        if not callable(api_key):
            api_key = Secret(api_key) if isinstance(api_key, str) else type(api_key)  # type: ignore[redundant-expr]
            api_key = check_key(api_key, base_url)
        self._url = check_base_url(base_url)
        settings = ClientSettings(
            concurrency=concurrency,
            timeout=timeout,
            retry=retry,
            reserve=reserve,
            limits=limits,
            proxy=proxy,
            session=session,
            direct=direct,
            on_retry=on_retry,
            on_pause=on_pause,
        )
        self._manager = SessionManager(self._url, api_key, settings)

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Create a client from the environment variables `BRAZE_API_KEY` and `BRAZE_BASE_URL`.

        Args:
            options: Other arguments of `BrazeSegments`. A `base_url` given here overrides `BRAZE_BASE_URL`.

        Returns:
            A client that is not open yet.

        Raises:
            ConfigError: A variable is not set, or an argument is invalid.
        """
        key = Secret(os.environ.get("BRAZE_API_KEY", ""))
        options.setdefault("base_url", os.environ.get("BRAZE_BASE_URL", ""))
        for name, value in (("BRAZE_API_KEY", key), ("BRAZE_BASE_URL", options["base_url"])):
            if not value:
                raise ConfigError(f"the environment variable {name} is not set")
        return cls(key, **options)

    def __repr__(self) -> str:
        if "_manager" not in vars(self):  # __init__ raised, and a traceback shows the locals
            return "<BrazeSegments>"
        return f"<BrazeSegments {self._url} {self._manager.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client cannot be pickled or copied: it holds the API key and open connections. Pass the name "
            "of the environment variable or the path of the file that contains the key, as WorkspaceConfig "
            "does, and create the client where it runs"
        )

    @property
    def base_url(self) -> str:
        """The REST endpoint, normalised: with a scheme and without a trailing slash."""
        return str(self._url)

    @property
    def concurrency(self) -> int:
        """The maximum number of requests in flight, except in a stream with its own `concurrency`."""
        return self._manager.settings.concurrency

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit from the most recent response that had one; `None` before the first.

        After its `resets_at` (by Braze's clock), `remaining` and `resets_at` are `None` until the next
        response.
        """
        return self._manager.rate_limit

    @property
    def stats(self) -> Stats:
        """A snapshot of the counts of requests and of the current pause, for progress and monitoring."""
        return self._manager.stats

    async def __aenter__(self) -> Self:
        await self._manager.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client: requests and streams in flight raise `ClosedError`.

        A session that you passed remains open. Closing a second time does nothing.
        """
        await self._manager.aclose()

    def list(
        self,
        *,
        sort_direction: SortDirection = "asc",
        start_page: int = 0,
        consistency: Consistency = "safe",
        prefetch: int = 1,
    ) -> SegmentListing:
        """List all segments that are not archived (`GET /segments/list`, permission `segments.list`).

        Args:
            sort_direction: Order by time of creation: "asc" is oldest first, "desc" is newest first.
            start_page: Number of the first page to fetch, counted from 0.
            consistency: Protection against changes of the list while it is read. Segments that are archived
                move the following ones to an earlier page, where a plain walk misses them. "safe" reads each
                page twice; a segment found only by the second reading follows the segments of its page.
                "fast" reads each page once, and can miss a segment without an error. "strict" reads the list
                in both directions until both have the same segments.
            prefetch: Maximum number of pages fetched at the same time, as long as pages are full. With more
                than 1, up to `prefetch - 1` requests beyond the last page are wasted.

        Returns:
            A listing to iterate. Each iteration reads the list anew; the first requests are sent, and all
            errors but `ConfigError` are raised, during iteration.

        Raises:
            ConfigError: An argument is invalid.
        """
        return self._listing(sort_direction, start_page, consistency, prefetch)

    def _listing(
        self,
        sort_direction: SortDirection,
        start_page: int,
        consistency: Consistency,
        prefetch: int,
        semaphore: asyncio.Semaphore | None = None,
    ) -> SegmentListing:
        check_list(sort_direction, start_page, consistency, prefetch)

        async def fetch(number: int, direction: SortDirection) -> tuple[Segment, ...]:
            return await self._manager.send(endpoints.list_page(number, direction), semaphore)

        return SegmentListing(
            fetch,
            sort_direction=sort_direction,
            start_page=start_page,
            consistency=consistency,
            prefetch=prefetch,
            max_pages=self._manager.settings.limits.pages,
        )

    async def details(self, segment_id: str | Segment) -> SegmentDetails:
        """Fetch the details of one segment (`GET /segments/details`, permission `segments.details`).

        Args:
            segment_id: Segment API identifier, or a segment from `list`.

        Returns:
            The details.

        Raises:
            ConfigError: The identifier is invalid.
            BadRequestError: The segment does not exist.
            BrazeError: Any other failure.
        """
        return await self._manager.send(endpoints.details(segment_id))

    def all_details(
        self,
        of: Iterable[str | Segment] | AsyncIterable[str | Segment] | None = None,
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        on_error: OnError = "raise",
        consistency: Consistency = "safe",
    ) -> DetailsStream:
        """Fetch the details of many segments, or of all (`GET /segments/details`, one request per segment).

        Args:
            of: Sync or async iterable of ids or segments; duplicate ids are skipped. `None` lists all
                segments, and fetches details while later pages are still being fetched.
            concurrency: Maximum number of requests in flight for this stream, including those for the list;
                by default the `concurrency` of the client.
            ordered: Whether to yield results in the order of the list or of `of`. By default they are yielded
                in the order in which they arrive.
            on_error: "raise" ends the stream at the first failure. "collect" continues and records failed
                segments in `.failures`; errors that would affect every segment (401, 403, the rate limit)
                are still raised.
            consistency: Consistency of the list, without `of`; see `list`.

        Returns:
            A stream to iterate once. The first requests are sent, and all errors but `ConfigError` are
            raised, during iteration.

        Raises:
            ConfigError: An argument is invalid.
        """

        def fetch(
            segment: str | Segment, semaphore: asyncio.Semaphore | None
        ) -> Coroutine[Any, Any, SegmentDetails]:
            return self._manager.send(endpoints.details(segment), semaphore)

        return self._stream(
            DetailsStream,
            of,
            fetch,
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            consistency=consistency,
        )

    async def data_series(
        self, segment_id: str | Segment, *, length: int = 30, ending_at: datetime | date | None = None
    ) -> builtins.list[SizePoint]:
        """Fetch a segment's size history (`GET /segments/data_series`, permission `segments.data_series`).

        Args:
            segment_id: Segment API identifier, or a segment from `list`.
            length: Number of days, at least 1. Braze returns up to 100 days per request, so a year takes four
                requests.
            ending_at: A date is the last day, up to and including that day in UTC. An aware datetime is sent
                unchanged; Braze excludes the day of a datetime at midnight. By default the current time.

        Returns:
            One point per day, oldest first.

        Raises:
            ConfigError: An argument is invalid.
            BrazeError: Any other failure. If one of the requests fails, nothing is returned.
        """
        spans = endpoints.series_spans(length, ending_at, datetime.now(UTC))
        return await self._series(segment_id, spans, None)

    def all_data_series(
        self,
        of: Iterable[str | Segment] | AsyncIterable[str | Segment] | None = None,
        *,
        length: int = 30,
        ending_at: datetime | date | None = None,
        tracked_only: bool = False,
        concurrency: int | None = None,
        ordered: bool = False,
        on_error: OnError = "raise",
        consistency: Consistency = "safe",
    ) -> SizesStream:
        """Fetch the size histories of many segments, or of all (`GET /segments/data_series`).

        All histories end at the same time.

        Args:
            of: See `all_details`.
            length: Number of days, at least 1; see `data_series`.
            ending_at: See `data_series`; by default the time of this call.
            tracked_only: Whether to skip segments whose `analytics_tracking_enabled` is false in the list.
            concurrency: See `all_details`.
            ordered: See `all_details`.
            on_error: See `all_details`.
            consistency: See `all_details`.

        Returns:
            A stream to iterate once; see `all_details`.

        Raises:
            ConfigError: An argument is invalid.
        """
        now = datetime.now(UTC)
        spans = endpoints.series_spans(length, now if ending_at is None else ending_at, now)

        async def fetch(segment: str | Segment, semaphore: asyncio.Semaphore | None) -> SegmentSizes:
            sizes = await self._series(segment, spans, semaphore)
            name = segment.name if isinstance(segment, Segment) else None
            return SegmentSizes(endpoints.identifier(segment), name, tuple(sizes))

        return self._stream(
            SizesStream,
            of,
            fetch,
            predicate=_may_be_tracked if tracked_only else None,
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            consistency=consistency,
        )

    async def export_users(
        self,
        segment_id: str | Segment,
        *,
        fields: Collection[str],
        custom_attributes: Collection[str] | None = None,
        callback_endpoint: str | None = None,
        output_format: Literal["zip", "gzip"] | None = None,
    ) -> UsersExport:
        """Start an export of a segment's users at Braze.

        Uses `POST /users/export/segment` (permission `users.export.segment`). The request is not repeated if
        it may have arrived, since that would start a second export.

        Args:
            segment_id: Segment API identifier, or a segment from `list`.
            fields: Names of the fields to export for each user (Braze: `fields_to_export`), such as
                "external_id".
            custom_attributes: Names of up to 500 custom attributes to export (Braze:
                `custom_attributes_to_export`). Then leave "custom_attributes", which exports all of them, out
                of `fields`.
            callback_endpoint: URL that Braze calls when the files are ready.
            output_format: Format of the files, if the workspace has connected cloud storage.

        Returns:
            The export, with methods that wait for the file, and read or save its users.

        Raises:
            ConfigError: An argument is invalid.
            ExportRunningError: An earlier export of this segment's users is still running at Braze.
            BrazeError: Any other failure.
        """
        request = endpoints.export_users(
            segment_id, fields, callback_endpoint, output_format, custom_attributes
        )
        started = await self._manager.send(request)
        return UsersExport(str(request.segment_id), started, self._manager)

    async def cancel_exports(self, segment_id: str | Segment) -> None:
        """Cancel all running exports of a segment's users at Braze.

        Uses `POST /export/segment/cancel` (permission `segments.list`).

        Args:
            segment_id: Segment API identifier, or a segment from `list`.

        Raises:
            ConfigError: The identifier is invalid.
            BrazeError: Any other failure.
        """
        await self._manager.send(endpoints.cancel_exports(segment_id))

    async def check(self) -> CheckReport:
        """Test the host, the key and each permission, with up to four requests that change nothing.

        Failed requests are recorded in the report and not raised. The client waits for the rate limit as
        `retry` says; `RetryPolicy(max_rate_limit_wait=0)` reports it at once instead.

        Returns:
            The report.

        Raises:
            ClosedError: The client is not open.
        """
        # Braze returns 400 for an unknown id, but only an existing segment proves a permission.
        ids = [UNKNOWN_SEGMENT]

        async def find_segment() -> None:
            async with aclosing(self.list().pages()) as pages:
                async for page in pages:
                    ids.append(page.segments[0].id)
                    return

        probes: dict[endpoints.Endpoint, Callable[[], Coroutine[object, object, object]]] = {
            endpoints.LIST: find_segment,
            endpoints.DETAILS: lambda: self.details(ids[-1]),
            endpoints.DATA_SERIES: lambda: self.data_series(ids[-1], length=1),
            # For an unknown segment, so that no export is started.
            endpoints.USERS: lambda: self.export_users(UNKNOWN_SEGMENT, fields=["external_id"]),
        }
        outcomes: dict[endpoints.Endpoint, BrazeError | None] = {}
        for endpoint, probe in probes.items():
            outcomes[endpoint] = None
            try:
                await probe()
            except ClosedError:
                raise
            except BrazeError as error:
                outcomes[endpoint] = error
                if not is_conclusive(endpoint, error):
                    break  # the next request would most likely fail in the same way
        return build_report(self.base_url, outcomes, self.rate_limit)

    async def _series(
        self,
        segment: str | Segment,
        spans: tuple[Mapping[str, str], ...],
        semaphore: asyncio.Semaphore | None,
    ) -> builtins.list[SizePoint]:
        days = {}
        for span in spans:
            for point in await self._manager.send(endpoints.data_series(segment, span), semaphore):
                days[point.time] = point
        return [days[day] for day in sorted(days)]

    def _stream(
        self,
        kind: type[StreamT],
        of: Iterable[str | Segment] | AsyncIterable[str | Segment] | None,
        fetch: Callable[[str | Segment, asyncio.Semaphore | None], Coroutine[Any, Any, object]],
        *,
        concurrency: int | None,
        ordered: bool,
        on_error: OnError,
        consistency: Consistency,
        predicate: Callable[[str | Segment], bool] | None = None,
    ) -> StreamT:
        """Return a stream that calls `fetch` for the given segments, or for all segments of the list."""
        check_source(of)
        check_choice("on_error", on_error, ON_ERROR)
        semaphore = None
        if concurrency is not None:
            check_integer("concurrency", concurrency, at_least=1)
            semaphore = asyncio.Semaphore(concurrency)
        concurrency = concurrency or self.concurrency
        listing = self._listing("asc", 0, consistency, prefetch_depth(concurrency, consistency), semaphore)
        return kind(
            listing if of is None else of,
            lambda segment: fetch(segment, semaphore),
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            dedupe_key=None if of is None else _dedupe_key,
            predicate=predicate,
            registry=self._manager.streams,
        )


# Both accept any object: an invalid item of an iterator is a failure of that item, when it is requested.
def _may_be_tracked(segment: object) -> bool:
    return getattr(segment, "analytics_tracking_enabled", None) is not False


def _dedupe_key(segment: object) -> Hashable:
    identifier = segment.id if isinstance(segment, Segment) else segment
    return identifier if isinstance(identifier, str) else id(segment)
