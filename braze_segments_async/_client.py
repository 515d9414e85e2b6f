"""`BrazeSegments`: one short method for each thing that can be requested."""

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
from ._check import CONCLUSIVE_ERRORS, UNKNOWN_SEGMENT, CheckReport, report_of
from ._fan_out import DetailsStream, SegmentStream, SizesStream
from ._http import SessionManager, endpoints
from ._listing import SegmentListing, prefetch_depth
from ._models import Segment, SegmentSizes
from ._settings import Limits, RetryPolicy, check_client_options
from ._text import Secret
from ._users import UsersExport
from .errors import BrazeError, ClosedError, ConfigError

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterable, Callable, Collection, Coroutine, Iterable, Mapping
    from types import TracebackType

    import aiohttp

    from ._models import SegmentDetails, SizePoint, Stats
    from ._rate_limit import RateLimit
    from ._settings import ClientOptions, PauseEvent, RetryEvent

__all__ = ["BrazeSegments"]

StreamT = TypeVar("StreamT", bound="SegmentStream[Any]")


class BrazeSegments:
    """All segments of one Braze workspace.

    Open it with `async with`, in the event loop that uses it, and keep it for as long as you need it: it
    holds the connections and the state of the rate limit.
    """

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str,
        concurrency: int = 16,
        timeout: float = 30.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        reserve: float = 0.1,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        session: aiohttp.ClientSession | None = None,
        direct: bool = True,
        on_retry: Callable[[RetryEvent], object] | None = None,
        on_pause: Callable[[PauseEvent], object] | None = None,
    ) -> None:
        """Check the arguments. Nothing is opened yet, so this may be called outside an event loop.

        Args:
            api_key: A REST API key with the permissions `segments.list`, `segments.details`, for sizes
                `segments.data_series` and for users `users.export.segment` (Braze: "REST API key").
            base_url: The REST endpoint of the workspace's cluster (Braze: "API endpoints"), such as an
                `Instance`.
            concurrency: Requests in flight at once, at most, unless a stream has a number of its own.
            timeout: Seconds for one attempt, from connecting to the last byte.
            retry: When and how often a failed request is repeated.
            reserve: The share of the hourly rate limit that is left to others, such as message sending.
            limits: Bounds in seconds, bytes, pages and retries.
            session: Your own session, with its proxy, TLS settings or tracing; it is used, and never closed.
            direct: Whether GET requests skip aiohttp's session to save CPU, where there is no `session` and
                nothing watches or replaces the requests of aiohttp's sessions.
            on_retry: Called with a `RetryEvent` before each retry; a plain function that must not block.
            on_pause: Called with a `PauseEvent` when all requests begin to wait for the rate limit, and when
                that wait becomes longer; a plain function that must not block.

        Raises:
            ConfigError: An argument is wrong; the message names it.
        """
        # Wrap secrets first: a traceback may show this frame's locals.
        api_key = Secret(api_key) if isinstance(api_key, str) else type(api_key)  # type: ignore[redundant-expr]
        base_url = Secret(base_url) if isinstance(base_url, str) else base_url  # type: ignore[redundant-expr]
        key = check_key(api_key, base_url)
        url = check_base_url(base_url)
        check_integer("concurrency", concurrency, at_least=1)
        check_client_options(
            timeout=timeout,
            reserve=reserve,
            retry=retry,
            limits=limits,
            session=session,
            direct=direct,
            on_retry=on_retry,
            on_pause=on_pause,
        )
        self._url = url
        self._manager = SessionManager(
            url,
            key,
            concurrency=concurrency,
            timeout=timeout,
            retry=retry,
            reserve=reserve,
            limits=limits,
            session=session,
            direct=direct,
            on_retry=on_retry,
            on_pause=on_pause,
        )

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Take the key and the REST endpoint from `BRAZE_API_KEY` and `BRAZE_BASE_URL`.

        Args:
            options: The other arguments; a `base_url` given here wins over the environment.

        Raises:
            ConfigError: A variable is missing, or an argument is wrong.
        """
        key = Secret(os.environ.get("BRAZE_API_KEY", ""))
        options.setdefault("base_url", os.environ.get("BRAZE_BASE_URL", ""))
        for name, value in (("BRAZE_API_KEY", key), ("BRAZE_BASE_URL", options["base_url"])):
            if not value:
                raise ConfigError(f"the environment variable {name} is not set")
        return cls(key, **options)

    def __repr__(self) -> str:
        if "_manager" not in vars(self):  # the arguments are wrong, and a traceback shows them
            return "<BrazeSegments>"
        return f"<BrazeSegments {self._url} {self._manager.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client cannot be pickled or copied: it holds the API key and open connections. Send the name "
            "of the environment variable or the path of the file that has the key, as WorkspaceConfig does, "
            "and make the client where it runs"
        )

    @property
    def base_url(self) -> str:
        """The REST endpoint in use, normalised."""
        return str(self._url)

    @property
    def concurrency(self) -> int:
        """Requests in flight at once, at most, unless a stream has a number of its own."""
        return self._manager.concurrency

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit from the most recent response; `None` before the first."""
        return self._manager.rate_limit

    @property
    def stats(self) -> Stats:
        """Counts of the requests so far, and the current pause: a snapshot, for progress and monitoring."""
        return self._manager.stats

    async def __aenter__(self) -> Self:
        self._manager.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the requests in flight, each with `ClosedError`; close the session unless it is yours.

        Closing a second time does nothing.
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
        """All segments that are not archived (`GET /segments/list`, permission `segments.list`).

        Args:
            sort_direction: by time of creation: "asc" oldest first, "desc" newest first.
            start_page: where the walk begins, counted from 0.
            consistency: what a walk does about edits in the workspace meanwhile. "safe": pages are read
                twice, so that a segment archived during the walk hides no other; a row that only the second
                reading has follows the rows of its page. "fast": one request a page; it can miss a segment
                without an error. "strict": the list is walked both ways until both walks agree.
            prefetch: pages asked for at once, at most, once pages are full; with more than 1, up to
                `prefetch - 1` requests are wasted at the end.

        Raises:
            ConfigError: an argument is wrong. Requests are only sent, and other errors only raised, when the
                listing is iterated.
        """
        return self._listing(sort_direction, start_page, consistency, prefetch)

    def _listing(
        self,
        sort_direction: SortDirection,
        start_page: int,
        consistency: Consistency,
        prefetch: int,
        slots: asyncio.Semaphore | None = None,
    ) -> SegmentListing:
        check_list(sort_direction, start_page, consistency, prefetch)

        async def fetch(number: int, direction: SortDirection) -> tuple[Segment, ...]:
            return await self._manager.send(endpoints.list_page(number, direction), slots)

        return SegmentListing(
            fetch,
            sort_direction=sort_direction,
            start_page=start_page,
            consistency=consistency,
            prefetch=prefetch,
            max_pages=self._manager.limits.pages,
        )

    async def details(self, segment_id: str | Segment) -> SegmentDetails:
        """The details of one segment (`GET /segments/details`, permission `segments.details`).

        Args:
            segment_id: the segment API identifier, or a segment of the list.

        Raises:
            BadRequestError: there is no such segment.
            BrazeError: any other.
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
        """The details of many segments; of all, without `of`.

        Args:
            of: ids or segments, sync or async; each id is asked for once. `None` walks the list, and asks
                for the details of the first page while later ones are still coming.
            concurrency: requests in flight at once for this stream, those of the walk included; by default
                as many as the client has.
            ordered: in the order of the list or of `of`, else as they come.
            on_error: "raise" ends the stream with the first failure. "collect" goes on and gathers
                `.failures`, unless every other segment would meet the same: 401, 403 or the rate limit.
            consistency: of the walk, if there is one; see `list`.

        Raises:
            ConfigError: an argument is wrong. Requests are only sent, and other errors only raised, when the
                stream is iterated.
        """

        def ask(
            segment: str | Segment, slots: asyncio.Semaphore | None
        ) -> Coroutine[Any, Any, SegmentDetails]:
            return self._manager.send(endpoints.details(segment), slots)

        return self._stream(
            DetailsStream,
            of,
            ask,
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            consistency=consistency,
        )

    async def data_series(
        self, segment_id: str | Segment, *, length: int = 30, ending_at: datetime | date | None = None
    ) -> builtins.list[SizePoint]:
        """The estimated size per day (`GET /segments/data_series`, permission `segments.data_series`).

        Args:
            segment_id: the segment API identifier, or a segment of the list.
            length: days, any number; Braze gives 100 at a time, so a year takes four requests.
            ending_at: the last day, or an aware moment of it; by default now.

        Returns:
            Oldest first, each day once.

        Raises:
            ConfigError: an argument is wrong.
            BrazeError: any other; one failing window fails the whole, so that no gap goes unseen.
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
        """The size histories of many segments, all up to the same moment; of all segments, without `of`.

        Args:
            of: see `all_details`.
            length: days, any number.
            ending_at: the last day, or an aware moment of it; by default the time of this call.
            tracked_only: leave out segments whose `analytics_tracking_enabled` the list says is false.
            concurrency: see `all_details`.
            ordered: see `all_details`.
            on_error: see `all_details`.
            consistency: of the walk, if there is one; see `list`.

        Raises:
            ConfigError: an argument is wrong; other errors come when the stream is iterated.
        """
        now = datetime.now(UTC)
        spans = endpoints.series_spans(length, now if ending_at is None else ending_at, now)

        async def ask(segment: str | Segment, slots: asyncio.Semaphore | None) -> SegmentSizes:
            sizes = await self._series(segment, spans, slots)
            name = segment.name if isinstance(segment, Segment) else None
            return SegmentSizes(endpoints.identifier(segment), name, tuple(sizes))

        return self._stream(
            SizesStream,
            of,
            ask,
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
        callback_endpoint: str | None = None,
        output_format: Literal["zip", "gzip"] | None = None,
    ) -> UsersExport:
        """Start an export of a segment's users (`POST /users/export/segment`, `users.export.segment`).

        Args:
            segment_id: the segment API identifier, or a segment of the list.
            fields: which fields to export of each user (Braze: `fields_to_export`), such as "external_id".
            callback_endpoint: a url that Braze calls when the files are ready.
            output_format: of the files, if the workspace has cloud storage of its own connected.

        Returns:
            The job: wait for it, read its users or save them.

        Raises:
            ConfigError: an argument is wrong.
            ExportRunningError: Braze is still busy with an earlier export of this segment's users.
            BrazeError: any other. The request is never sent twice where the first may have arrived.
        """
        request = endpoints.export_users(segment_id, fields, callback_endpoint, output_format)
        started = await self._manager.send(request)
        return UsersExport(str(request.segment_id), started, self._manager)

    async def cancel_exports(self, segment_id: str | Segment) -> None:
        """End all running exports of a segment's users (`POST /export/segment/cancel`, `segments.list`).

        Raises:
            ConfigError: the identifier is not one.
            BrazeError: any other.
        """
        await self._manager.send(endpoints.cancel_exports(segment_id))

    async def check(self) -> CheckReport:
        """Try the host, the key and each permission, with four harmless requests at most.

        What Braze refuses is in the report and not raised. A pause for the rate limit is waited for as
        `retry` says: `RetryPolicy(max_rate_limit_wait=0)` has it reported at once.

        Raises:
            ClosedError: the client is not open.
        """
        # Braze answers an unknown id with 400, but only a segment that exists leaves no doubt.
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
            # Of an unknown segment, so that no export is started.
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
                if not isinstance(error, CONCLUSIVE_ERRORS):
                    break  # the next request would most likely fail in the same way
        return report_of(self.base_url, outcomes, self.rate_limit)

    async def _series(
        self,
        segment: str | Segment,
        spans: tuple[Mapping[str, str], ...],
        slots: asyncio.Semaphore | None,
    ) -> builtins.list[SizePoint]:
        days = {}
        for span in spans:
            for point in await self._manager.send(endpoints.data_series(segment, span), slots):
                days[point.time] = point
        return [days[day] for day in sorted(days)]

    def _stream(
        self,
        kind: type[StreamT],
        of: Iterable[str | Segment] | AsyncIterable[str | Segment] | None,
        ask: Callable[[str | Segment, asyncio.Semaphore | None], Coroutine[Any, Any, object]],
        *,
        concurrency: int | None,
        ordered: bool,
        on_error: OnError,
        consistency: Consistency,
        predicate: Callable[[str | Segment], bool] | None = None,
    ) -> StreamT:
        """The one way to all fan-outs: the walk, or what the caller names, and a request for each."""
        check_source(of)
        check_choice("on_error", on_error, ON_ERROR)
        slots = None
        if concurrency is not None:
            check_integer("concurrency", concurrency, at_least=1)
            slots = asyncio.Semaphore(concurrency)
        concurrency = concurrency or self.concurrency
        listing = self._listing("asc", 0, consistency, prefetch_depth(concurrency), slots)
        return kind(
            listing if of is None else of,
            lambda segment: ask(segment, slots),
            concurrency=concurrency,
            ordered=ordered,
            on_error=on_error,
            dedupe_key=None if of is None else endpoints.identifier,
            predicate=predicate,
            registry=self._manager.streams,
        )


def _may_be_tracked(segment: str | Segment) -> bool:
    return isinstance(segment, str) or segment.analytics_tracking_enabled is not False
