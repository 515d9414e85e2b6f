"""Read the list of segments page by page, prefetching pages. An incomplete list raises an error.

Knows nothing about HTTP: it gets `fetch(page_number, sort_direction)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from attrs import define

from ._http import LIST, PAGE_SIZE
from ._models import Segment, SegmentPage
from ._support import cancel_and_wait, create_task
from .errors import PaginationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from ._arguments import Consistency, SortDirection

__all__ = ["SegmentListing", "prefetch_depth"]

Rows = tuple[Segment, ...]
Fetch = Callable[[int, "SortDirection"], Coroutine[Any, Any, Rows]]

_MAX_REPEATED_PAGES = 1  # consecutive full pages without a new segment: one can be a mass un-archiving
_MAX_STRICT_ROUNDS = 5


def prefetch_depth(concurrency: int, consistency: Consistency) -> int:
    """Return how many pages to prefetch so that `concurrency` requests for details do not wait for pages.

    While one page is fetched, the 100 segments of the previous page keep up to 100 requests in flight. Second
    readings compete with the pages for free requests, so with them one more page is fetched early, except
    where 100 segments last for two pages anyway.
    """
    depth = 1 + concurrency // PAGE_SIZE
    return depth if consistency == "fast" or 2 * concurrency <= PAGE_SIZE else depth + 1


@define(eq=False)
class _Recovered:
    """The number of segments that only a second reading found, in one iteration."""

    count: int = 0


class SegmentListing:
    """All segments of a workspace (`GET /segments/list`).

    Iterate it to get each `Segment`, or iterate `pages()` to get each `SegmentPage`. Each iteration reads the
    list anew. The list ends with a valid page of fewer than 100 segments; anything else raises an error.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        sort_direction: SortDirection = "asc",
        start_page: int = 0,
        consistency: Consistency = "safe",
        prefetch: int = 1,
        max_pages: int = 10_000,
    ) -> None:
        """Send nothing yet.

        Args:
            fetch: Fetches one page in one sort direction.
            sort_direction: As of `BrazeSegments.list`; so are the next three.
            start_page: Number of the first page to fetch.
            consistency: Protection against changes of the list.
            prefetch: Maximum number of pages fetched at the same time.
            max_pages: Maximum number of pages; a longer list raises an error.
        """
        self._fetch = fetch
        self._direction = sort_direction
        self._start_page = start_page
        self._consistency = consistency
        self._prefetch = prefetch
        self._end = start_page + max_pages
        self._max_pages = max_pages
        self._latest = _Recovered()

    @property
    def recovered(self) -> int:
        """Number of segments that a plain walk would have missed, in the iteration that began last.

        Segments before them were archived during the walk. Always 0 with `consistency="fast"`.
        """
        return self._latest.count

    async def __aiter__(self) -> AsyncIterator[Segment]:
        """Yield each segment once.

        Yields:
            Each segment, as soon as its page has arrived.

        Raises:
            PaginationError: The list is incomplete, does not advance, or has more than `limits.pages` pages.
            BrazeError: A page could not be fetched.
        """
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for segment in page.segments:
                    yield segment

    async def pages(self) -> AsyncGenerator[SegmentPage, None]:
        """Yield the pages, without segments of earlier pages and without empty pages.

        Yields:
            Each page, as soon as it has arrived. Segments found only by a second reading are in another page
            of the same number.

        Raises:
            PaginationError: The list is incomplete, does not advance, or has more than `limits.pages` pages.
            BrazeError: A page could not be fetched.
        """
        recovered = self._latest = _Recovered()  # of this iteration: others can run at the same time
        match self._consistency:
            case "fast":
                pages = self._walk(self._direction, set(), None)
            case "safe":
                pages = self._walk(self._direction, set(), recovered)
            case "strict":
                pages = self._strict(recovered)
        async with aclosing(pages):
            async for page in pages:
                if page.segments:
                    yield page

    async def _walk(
        self, direction: SortDirection, ids: set[str], recovered: _Recovered | None
    ) -> AsyncGenerator[SegmentPage, None]:
        """Read the list once, from the first page to the short one, with up to `prefetch` pages in flight.

        With `recovered`, every page but the last is read a second time, after the page that follows it has
        arrived. If a segment is archived between the first readings of the two pages, a row moves from the
        following page back onto this one, and only the second reading finds it. No page waits for a second
        reading.

        Args:
            direction: Order of the list.
            ids: Ids of all rows yielded so far; rows that are already in it are left out.
            recovered: Counts rows found only by a second reading; `None` to read each page once.

        Yields:
            Each page when it has arrived; rows found only by a second reading, as another page of the same
            number.
        """
        # One function with and without second readings: a second reading waits for the task of the next page
        # and must start before this page is yielded, so it cannot be added around a plain walk.
        running: set[asyncio.Task[Rows]] = set()
        number, repeated_pages, depth = self._start_page, 0, 1
        upcoming = deque([create_task(self._fetch(number, direction), running)])
        rereads: deque[tuple[int, Rows, asyncio.Task[Rows]]] = deque()
        try:
            while upcoming or rereads:
                if recovered is not None and await self._reread_is_next(upcoming, rereads):
                    reread_number, first, reread_task = rereads.popleft()
                    page = self._missing_rows(reread_number, first, await reread_task, ids)
                    recovered.count += len(page.segments)
                    yield page
                    continue
                rows = await upcoming.popleft()
                self._check_limit(number, rows)
                page = SegmentPage(number, _deduplicate(rows, ids))
                if len(rows) >= PAGE_SIZE:
                    repeated_pages = 0 if page.segments else repeated_pages + 1
                    if repeated_pages > _MAX_REPEATED_PAGES:
                        raise PaginationError(
                            f"{repeated_pages} full pages in a row have no new segment: the list does not "
                            "advance"
                        ).about(str(LIST), page=number)
                    # Prefetch before the yield: pages must arrive while the caller works on this one. The
                    # depth doubles with each full page: a short list costs few requests beyond its end.
                    depth = min(2 * depth, self._prefetch)
                    for later in range(number + 1 + len(upcoming), min(number + 1 + depth, self._end + 1)):
                        upcoming.append(create_task(self._fetch(later, direction), running))
                    if recovered is not None:
                        # Started before the yield, too: the next page can arrive, and the second reading be
                        # sent, while the caller works on this page.
                        reread_task = create_task(self._reread_after(upcoming[0], number, direction), running)
                        rereads.append((number, rows, reread_task))
                else:
                    # A short page is the last one: cancel the requests for pages after it. The loop then ends
                    # once the remaining second readings have arrived.
                    await cancel_and_wait(upcoming)
                    upcoming.clear()
                number += 1
                yield page
        finally:
            # The caller can leave at any yield: no request may be in flight after that.
            await cancel_and_wait(tuple(running))

    async def _reread_is_next(
        self, upcoming: deque[asyncio.Task[Rows]], rereads: deque[tuple[int, Rows, asyncio.Task[Rows]]]
    ) -> bool:
        """Wait until a page or a second reading has arrived; return false if a page is to be yielded next.

        If both have arrived, the page is first.
        """
        if not upcoming or len(rereads) > self._prefetch + 1:
            return True  # no page is left, or enough second readings are in flight
        # A single second reading is that of the previous page, and is sent only after upcoming[0] arrived. It
        # is yielded after that page: else rows of that page would count as missed by first readings.
        if len(rereads) > 1:
            await asyncio.wait((upcoming[0], rereads[0][2]), return_when=asyncio.FIRST_COMPLETED)
            return not upcoming[0].done()
        return False

    async def _reread_after(
        self, next_page: asyncio.Task[Rows], number: int, direction: SortDirection
    ) -> Rows:
        """Fetch a page again after the next page has arrived."""
        # asyncio.wait neither raises the failure of the next page nor cancels it together with this task.
        await asyncio.wait([next_page])
        if next_page.cancelled() or next_page.exception():
            return ()  # the walk raises the failure of the next page before it uses this result
        return await self._fetch(number, direction)

    def _missing_rows(self, number: int, first: Rows, second: Rows, ids: set[str]) -> SegmentPage:
        """Return the rows of a page that only its second reading has, and add them to `ids`.

        Rows keep their order: as long as one row of the first reading is still on the page, no row can have
        moved past the page between the readings. A strict walk is compared with another one instead.

        Raises:
            PaginationError: Rows may have moved past the page.
        """
        if self._consistency == "safe" and {row.id for row in first}.isdisjoint(row.id for row in second):
            problem = f"{PAGE_SIZE} segments or more were archived while the list was read: read it again"
            raise PaginationError(problem).about(str(LIST), page=number)
        return SegmentPage(number, _deduplicate(second, ids))

    def _check_limit(self, number: int, rows: Rows) -> None:
        """Raise an error if the pages are too many. The page after the last one allowed must be empty."""
        if number >= self._end and rows:
            raise PaginationError(
                f"the list has more pages than limits.pages ({self._max_pages:,}); raise that limit if "
                "you expect so many"
            ).about(str(LIST), page=number)

    async def _strict(self, recovered: _Recovered) -> AsyncGenerator[SegmentPage, None]:
        """Walk in both directions until the second walk has all segments of the first one.

        Yields:
            Pages as they arrive, with each segment once, whichever walk or round has found it.
        """
        other: SortDirection = "desc" if self._direction == "asc" else "asc"
        seen: set[str] = set()
        for _ in range(_MAX_STRICT_ROUNDS):
            first: set[str] = set()
            second: set[str] = set()
            end = 0
            walk = self._walk(self._direction, first, recovered)
            async with aclosing(self._deduplicate_pages(walk, seen)) as pages:
                async for page in pages:
                    end = max(end, page.number)
                    yield page
            walk = self._walk(other, second, None)
            async with aclosing(self._deduplicate_pages(walk, seen)) as pages:
                async for page in pages:
                    recovered.count += len(page.segments)
                    yield page
            # A segment that only the first walk has was archived, or missed by the second walk: then other
            # segments can be missing, too. Braze does not document that a short page is the last one, so
            # fetch the page after it, too.
            if first <= second and not await self._fetch(end + 1, self._direction):
                return
        if first <= second:
            problem = (
                f"the page after the last one was not empty, in {_MAX_STRICT_ROUNDS} rounds: the list can "
                "have segments beyond its first short page; read it again later"
            )
        else:
            problem = (
                "the second direction did not have all segments of the first one "
                f"({len(first - second)} only in the first, {len(second - first)} only in the second), "
                f"in {_MAX_STRICT_ROUNDS} rounds: the list changes too fast; read it again later"
            )
        only_first, only_second = frozenset(first - second), frozenset(second - first)
        raise PaginationError(problem, only_first=only_first, only_second=only_second).about(str(LIST))

    async def _deduplicate_pages(
        self, pages: AsyncGenerator[SegmentPage, None], seen: set[str]
    ) -> AsyncGenerator[SegmentPage, None]:
        async with aclosing(pages):
            async for page in pages:
                yield SegmentPage(page.number, _deduplicate(page.segments, seen))


def _deduplicate(rows: Rows, ids: set[str]) -> Rows:
    """Return the rows whose ids are not in `ids`, each once, and add their ids to it."""
    new = []
    for row in rows:
        if row.id not in ids:
            ids.add(row.id)
            new.append(row)
    return tuple(new)
