"""All segments of a workspace in memory, refreshed in the background, for services."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from ._arguments import Consistency, check_callback, check_seconds
from ._support import cancel_and_wait, create_task
from ._text import logger
from .errors import BrazeError, ClosedError
from .export import ExportOptions, ExportRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._client import BrazeSegments
    from ._models import SegmentDetails

__all__ = ["SegmentCache"]

_MAX_RETRY_DELAY = 60.0  # seconds from a failed refresh to the next one


class SegmentCache:
    """All segments of a workspace with their details, in memory. Open it with `async with`.

    A background task fetches all segments when the cache is opened, and again every `max_age` seconds, or
    after a failure within a minute. The segments are replaced only when a refresh is complete. Until then,
    and if it fails, the previous segments are returned without waiting.
    """

    def __init__(
        self,
        client: BrazeSegments,
        *,
        max_age: float,
        stale_if_error: float = 86_400.0,
        consistency: Consistency = "safe",
        concurrency: int | None = None,
        on_refresh: Callable[[tuple[SegmentDetails, ...]], object] | None = None,
        on_error: Callable[[BrazeError], object] | None = None,
    ) -> None:
        """Check the arguments. Nothing is sent yet.

        Args:
            client: A client that stays open for as long as the cache.
            max_age: Seconds from one refresh to the next.
            stale_if_error: Seconds beyond `max_age` for which the previous segments are returned while
                refreshes run or fail, one day by default. Older segments are not returned.
            consistency: How the list is read; see `BrazeSegments.list`.
            concurrency: Maximum number of requests for details in flight; by default the client's. A lower
                number leaves more of them to the other requests of the service.
            on_refresh: Called with all segments after each refresh. A plain function that must not block.
            on_error: Called with the error of each failed refresh. A plain function that must not block.

        Raises:
            ConfigError: An argument is invalid.
        """
        check_seconds("max_age", max_age)
        check_seconds("stale_if_error", stale_if_error, zero=True)
        check_callback("on_refresh", on_refresh)
        check_callback("on_error", on_error)
        concurrency = client.concurrency if concurrency is None else concurrency
        self._options = ExportOptions(consistency=consistency, concurrency=concurrency)
        self._client = client
        self._max_age, self._stale_if_error = max_age, stale_if_error
        self._on_refresh, self._on_error = on_refresh, on_error
        self._segments: dict[str, SegmentDetails] = {}
        self._usable_until = float("-inf")  # by the clock of the event loop
        self._refreshed_at: datetime | None = None
        self._keeper: asyncio.Task[None] | None = None  # while the cache is open
        self._refresh: asyncio.Task[None] | None = None  # the latest

    @property
    def refreshed_at(self) -> datetime | None:
        """The end of the latest complete refresh (aware, UTC); `None` before the first."""
        return self._refreshed_at

    def __len__(self) -> int:
        """Return the number of segments at the latest refresh; 0 before the first."""
        return len(self._segments)

    async def __aenter__(self) -> Self:
        if self._keeper is not None:
            raise ClosedError("the cache is open already: open it once, and share it")
        self._keeper = create_task(self._keep_fresh())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the refresh, and wait for its end. Calls that wait for segments raise `ClosedError`."""
        tasks, self._keeper = (self._keeper, self._refresh), None
        await cancel_and_wait(task for task in tasks if task is not None)

    async def get(self, segment_id: str) -> SegmentDetails | None:
        """Return a segment, or `None` if the latest refresh found no segment with this id.

        Raises:
            ClosedError: The cache is not open.
            BrazeError: There are no segments yet, or they are too old, and the refresh failed.
        """
        return (await self._current()).get(segment_id)

    async def all(self) -> tuple[SegmentDetails, ...]:
        """Return all segments, the oldest first. It raises the same errors as `get`."""
        return tuple((await self._current()).values())

    async def refresh(self) -> None:
        """Fetch all segments now, or wait for the refresh that runs already.

        Raises:
            ClosedError: The cache is not open.
            BrazeError: The refresh failed. The previous segments remain.
        """
        if self._keeper is None:
            raise ClosedError("the cache is not open: use `async with SegmentCache(…) as cache`")
        if self._refresh is None or self._refresh.done():
            self._refresh = create_task(self._fetch())
        running = self._refresh
        await asyncio.wait([running])  # `await running` would pass a cancellation of this call on to the task
        if running.cancelled():
            raise ClosedError("the cache was closed before the refresh was complete")
        running.result()

    async def _current(self) -> dict[str, SegmentDetails]:
        if self._keeper is None or asyncio.get_running_loop().time() > self._usable_until:
            await self.refresh()
        return self._segments

    async def _fetch(self) -> None:
        # A run of an export: a segment that is archived before its details are fetched is not an error.
        run = ExportRun(self._client, self._options, ordered=True, fail_fast=True)
        try:
            async with aclosing(run.rows()) as rows:
                segments = {details.id: details async for details, _ in rows}
        except BrazeError as error:
            if self._on_error is not None:
                self._on_error(error)
            raise
        self._segments, self._refreshed_at = segments, datetime.now(UTC)
        self._usable_until = asyncio.get_running_loop().time() + self._max_age + self._stale_if_error
        if self._on_refresh is not None:
            self._on_refresh(tuple(segments.values()))

    async def _keep_fresh(self) -> None:
        while True:
            delay = min(self._max_age, _MAX_RETRY_DELAY)
            try:
                await self.refresh()
                delay = self._max_age
            except BrazeError as error:
                logger.error("segment cache: refresh failed, the previous segments remain: %s", error)
            except Exception:  # noqa: BLE001 - the next refresh may succeed
                logger.exception("segment cache: refresh failed, or its hook")
            await asyncio.sleep(delay)
