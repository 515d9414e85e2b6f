"""`BrazeSegments`: the session manager. Short methods that put the rest together."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from attrs import evolve

from . import config, endpoints
from .config import ON_ERROR, Consistency, Limits, OnError, SortDirection
from .errors import ClosedError, ConfigError
from .fanout import DetailsStream, FanOut
from .listing import SegmentListing
from .pipeline import Pipeline
from .rate_limit import RateGate, RateLimit
from .retry import Retrier, RetryEvent, RetryPolicy, RetryQuota, check_policy
from .text import Secret

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncIterable, Callable, Iterable
    from types import TracebackType

    import aiohttp

    from .models import Segment, SegmentDetails, SizePoint, Stats
    from .options import ClientOptions

__all__ = ["BrazeSegments"]

T = TypeVar("T")


class BrazeSegments:
    """All segments of one Braze workspace.

    Open it with `async with`, in the event loop that uses it, and keep it for as long as you need it: it
    holds the connections and knows how the rate limit stands.

    Attributes:
        concurrency: requests in flight at once, at most, unless a stream asks for its own number.
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
        on_retry: Callable[[RetryEvent], object] | None = None,
    ) -> None:
        """Check the arguments; nothing is opened yet, so this may be called outside an event loop.

        Args:
            api_key: a REST API key with the permissions `segments.list`, `segments.details` and, for sizes,
                `segments.data_series` (Braze: "REST API key").
            base_url: the REST endpoint of the workspace's cluster (Braze: "API endpoints").
            concurrency: requests in flight at once, at most.
            timeout: seconds for one attempt, from connecting to the last byte.
            retry: when and how often a failed request is repeated.
            reserve: the share of the hourly allowance that is left to others, such as message sending.
            limits: bounds in seconds, bytes, pages and retries.
            session: your own, with its proxy, TLS or tracing; it is used, and never closed.
            on_retry: called with a `RetryEvent` before a request is repeated; must not block.

        Raises:
            ConfigError: an argument is wrong; the message names it.
        """
        # First of all: whatever is raised below may be printed with this frame's locals, and their reprs.
        self._state = "new"
        api_key = Secret(api_key) if isinstance(api_key, str) else type(api_key)  # type: ignore[redundant-expr]
        base_url = Secret(base_url) if isinstance(base_url, str) else base_url  # type: ignore[redundant-expr]
        self._key = config.check_key(api_key, base_url)
        self._url = config.check_base_url(base_url)
        config.check_integer("concurrency", concurrency, at_least=1)
        config.check_client(
            timeout=timeout, reserve=reserve, limits=limits, session=session, on_retry=on_retry
        )
        self.concurrency, self._timeout, self._limits, self._session = concurrency, timeout, limits, session
        self._gate = RateGate(reserve=reserve, max_wait=check_policy(retry).max_rate_limit_wait)
        self._retrier = Retrier(retry, RetryQuota(limits.retry_quota), self._gate, on_retry)
        self._streams: set[FanOut[Any, Any]] = set()

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Take the key and the REST endpoint from `BRAZE_API_KEY` and `BRAZE_BASE_URL`.

        Args:
            options: the other arguments; a `base_url` given here wins over the environment.

        Raises:
            ConfigError: a variable is missing, or an argument is wrong.
        """
        key = Secret(os.environ.get("BRAZE_API_KEY", ""))
        options.setdefault("base_url", os.environ.get("BRAZE_BASE_URL", ""))
        for name, value in (("BRAZE_API_KEY", key), ("BRAZE_BASE_URL", options["base_url"])):
            if not value:
                raise ConfigError(f"the environment variable {name} is not set")
        return cls(key, **options)

    def __repr__(self) -> str:
        return f"<BrazeSegments {getattr(self, '_url', '')} {self._state}>"

    @property
    def base_url(self) -> str:
        """The REST endpoint in use, normalised."""
        return str(self._url)

    @property
    def rate_limit(self) -> RateLimit | None:
        """The allowance as the latest reply told it; `None` before the first."""
        return self._gate.latest

    @property
    def stats(self) -> Stats:
        """What this client has sent so far, and whether it waits: a snapshot, for progress and monitoring."""
        return evolve(self._gate.stats, retries=self._retrier.retries)

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise ClosedError("a client is opened once; make a new one")
        # aiohttp takes most of the time the package takes to import, and --help does without it.
        from .transport import Transport  # noqa: PLC0415

        transport = Transport(
            self._url, self._key, timeout=self._timeout, limits=self._limits, session=self._session
        )
        transport.open()
        self._pipeline = Pipeline(transport, self._gate, self._retrier, self._key)
        self._slots = asyncio.Semaphore(self.concurrency)
        self._state = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is under way, with `ClosedError` to those who await it; close the session if it is ours.

        The second time it does nothing.
        """
        was, self._state = self._state, "closed"
        if was != "open":
            return
        try:
            await self._pipeline.aclose()
        finally:  # when that is interrupted, too
            for stream in list(self._streams):
                await stream.aclose()

    def list(
        self,
        *,
        sort_direction: SortDirection = "asc",
        start_page: int = 0,
        consistency: Consistency = "fast",
    ) -> SegmentListing:
        """All segments that are not archived (`GET /segments/list`, permission `segments.list`).

        Args:
            sort_direction: by time of creation: "asc" oldest first, "desc" newest first.
            start_page: where the walk begins, counted from 0.
            consistency: what a walk does about edits in the workspace meanwhile. "fast": one request a page;
                a segment archived during the walk can hide another. "safe": pages are read twice, which finds
                it. "strict": the list is walked both ways until both walks agree.

        Raises:
            ConfigError: an argument is wrong. Requests are only sent, and other errors only raised, when the
                listing is iterated.
        """
        return self._listing(sort_direction, start_page, consistency, None)

    def _listing(
        self,
        sort_direction: SortDirection,
        start_page: int,
        consistency: Consistency,
        slots: asyncio.Semaphore | None,
    ) -> SegmentListing:
        config.check_list(sort_direction, start_page, consistency)

        async def fetch(number: int, direction: SortDirection) -> tuple[Segment, ...]:
            return await self._call(endpoints.list_page(number, direction), slots)

        return SegmentListing(
            fetch,
            sort_direction=sort_direction,
            start_page=start_page,
            consistency=consistency,
            max_pages=self._limits.pages,
        )

    async def details(self, segment_id: str | Segment) -> SegmentDetails:
        """The details of one segment (`GET /segments/details`, permission `segments.details`).

        Args:
            segment_id: the segment API identifier, or a segment of the list.

        Raises:
            BadRequestError: there is no such segment.
            BrazeError: any other.
        """
        return await self._call(endpoints.details(segment_id))

    def all_details(
        self,
        of: Iterable[str | Segment] | AsyncIterable[str | Segment] | None = None,
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        on_error: OnError = "raise",
        consistency: Consistency = "fast",
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
        config.check_source(of)
        config.check_choice("on_error", on_error, ON_ERROR)
        config.check_list("asc", 0, consistency)
        slots = None
        if concurrency is not None:
            config.check_integer("concurrency", concurrency, at_least=1)
            slots = asyncio.Semaphore(concurrency)

        async def work(segment: str | Segment) -> SegmentDetails:
            return await self._call(endpoints.details(segment), slots)

        return DetailsStream(
            self._listing("asc", 0, consistency, slots) if of is None else of,
            work,
            concurrency=concurrency or self.concurrency,
            ordered=ordered,
            on_error=on_error,
            key=None if of is None else endpoints.identifier,
            running=self._streams,
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
        windows = endpoints.series_windows(segment_id, length, ending_at, datetime.now(UTC))
        days = {}
        for window in windows:
            for point in await self._call(window):
                days[point.time] = point
        return [days[day] for day in sorted(days)]

    async def _call(self, request: endpoints.Request[T], slots: asyncio.Semaphore | None = None) -> T:
        if self._state != "open":
            if self._state == "closed":
                raise ClosedError("this client is closed, and cannot be opened again; make a new one")
            raise ClosedError("open the client first: async with BrazeSegments(…) as segments: …")
        return await self._pipeline.call(request, slots or self._slots)
