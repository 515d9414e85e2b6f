"""The page walk: one page asked for while the caller works on another, and never a silent short end.

Knows nothing of HTTP: it is handed `fetch(page_number, sort_direction)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

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

_STALE_PAGES = 2  # full pages in a row with nothing new: one can be a mass un-archiving, two are a loop
_STRICT_ROUNDS = 5


def prefetch_depth(concurrency: int) -> int:
    """Return how many pages to fetch at once so that `concurrency` requests for details never wait for one.

    Pages of 100 segments, fetched one after another, keep 100 requests at a time busy.
    """
    return 1 + concurrency // PAGE_SIZE


class SegmentListing:
    """All segments of a workspace, page after page of `GET /segments/list`.

    Iterate it for `Segment`s, or `pages()` for `SegmentPage`s. Nothing is sent before; every iteration is a
    fresh walk. Only a page of fewer than 100 in a well-formed reply ends it: anything else raises.

    Attributes:
        recovered: rows the latest walk would have lost without reading pages again, because segments before
            them were archived meanwhile; always 0 with `consistency="fast"`.
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
        """See `BrazeSegments.list`."""
        self._fetch = fetch
        self._direction = sort_direction
        self._start_page = start_page
        self._consistency = consistency
        self._prefetch = prefetch
        self._end = start_page + max_pages
        self._max_pages = max_pages
        self._last_page = start_page
        self.recovered = 0

    async def __aiter__(self) -> AsyncIterator[Segment]:
        """Segment after segment, each once.

        Raises:
            PaginationError: the walk does not move forward, or is longer than `limits.pages`.
            BrazeError: a page could not be had.
        """
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for segment in page.segments:
                    yield segment

    async def pages(self) -> AsyncGenerator[SegmentPage, None]:
        """Page after page, without rows that an earlier page had. An empty page ends the walk unseen.

        Raises:
            PaginationError: see `__aiter__`.
            BrazeError: a page could not be had.
        """
        self.recovered = 0
        match self._consistency:
            case "fast":
                pages = self._walk(self._direction, set(), reread=False)
            case "safe":
                pages = self._walk(self._direction, set(), reread=True)
            case "strict":
                pages = self._strict()
        async with aclosing(pages):
            async for page in pages:
                if page.segments:
                    yield page

    async def _walk(
        self, direction: SortDirection, ids: set[str], *, reread: bool
    ) -> AsyncGenerator[SegmentPage, None]:
        """Read the list once, from the first page to the short one, with up to `prefetch` pages in flight.

        With `reread`, every page but the last is read a second time, after the page that follows it has
        arrived: a row that moved from the following page back onto this one in between, because a segment
        before it was archived, is found there. No page waits for a second reading.

        Args:
            direction: the order of the list.
            ids: the ids of all rows yielded so far; rows already in it are left out.
            reread: whether to read pages twice.

        Yields:
            Each page when it has arrived. The rows that only a second reading has come as another page of
            the same number.
        """
        running: set[asyncio.Task[Rows]] = set()
        number, stale, depth = self._start_page, 0, 1
        upcoming = deque([create_task(self._fetch(number, direction), running)])
        rereads: deque[tuple[SegmentPage, asyncio.Task[Rows]]] = deque()
        try:
            while upcoming or rereads:
                if await self._reread_is_next(upcoming, rereads):
                    page, second = rereads.popleft()
                    yield self._missing_rows(page, await second, ids)
                    continue
                rows = await upcoming.popleft()
                page = SegmentPage(number, _new(rows, ids))
                if len(rows) >= PAGE_SIZE:
                    stale = 0 if page.segments else stale + 1
                    self._check(number, stale)
                    depth = min(2 * depth, self._prefetch)
                    for later in range(number + 1 + len(upcoming), min(number + 1 + depth, self._end)):
                        upcoming.append(create_task(self._fetch(later, direction), running))
                    if reread:
                        # Started now: it must be under way while the caller still works on this page.
                        second = create_task(self._read_after(upcoming[0], number, direction), running)
                        rereads.append((page, second))
                else:  # a short page is the last one: cancel the requests for pages after it
                    await cancel_and_wait(upcoming)
                    upcoming.clear()
                self._last_page = number
                number += 1
                yield page
        finally:
            await cancel_and_wait(tuple(running))

    async def _reread_is_next(
        self, upcoming: deque[asyncio.Task[Rows]], rereads: deque[tuple[SegmentPage, asyncio.Task[Rows]]]
    ) -> bool:
        """Wait until a page or a second reading has arrived, and say which to yield: a page, if both have.

        The second reading of a page comes after the first reading of the following one: else rows of the
        latter would be counted as missed by the first readings.
        """
        if not upcoming or len(rereads) > self._prefetch + 1:  # bounds the second readings in flight
            return True
        if len(rereads) > 1:
            await asyncio.wait((upcoming[0], rereads[0][1]), return_when=asyncio.FIRST_COMPLETED)
            return not upcoming[0].done()
        return False

    async def _read_after(self, page: asyncio.Task[Rows], number: int, direction: SortDirection) -> Rows:
        """Read a page again once the following one has arrived; if that failed, so does the walk."""
        await asyncio.wait([page])
        return () if page.cancelled() or page.exception() else await self._fetch(number, direction)

    def _missing_rows(self, page: SegmentPage, second: Rows, ids: set[str]) -> SegmentPage:
        """Return the rows of a page that only its second reading has.

        Rows keep their order: as long as one row of the first reading is still on the page, no row can have
        moved past it unseen. A strict walk needs no such proof, since it is compared with another one.
        """
        first = {segment.id for segment in page.segments}
        if self._consistency == "safe" and first and first.isdisjoint(row.id for row in second):
            problem = f"{PAGE_SIZE} segments or more were archived while the list was read: walk it again"
            raise PaginationError(problem).about(str(LIST), page=page.number)
        missing = _new(second, ids)
        self.recovered += len(missing)
        return SegmentPage(page.number, missing)

    def _check(self, number: int, stale: int) -> None:
        """Refuse to ask for yet another page when the walk runs in circles or has no end."""
        if stale >= _STALE_PAGES:
            problem = f"{stale} full pages in a row hold nothing new: the walk does not move forward"
        elif number + 1 >= self._end:
            problem = f"the list goes on after limits.pages ({self._max_pages:,} pages): it is not complete"
        else:
            return
        raise PaginationError(problem).about(str(LIST), page=number)

    async def _strict(self) -> AsyncGenerator[SegmentPage, None]:
        """Walk both ways until the first walk's segments are all in the second's; yield each segment once."""
        other: SortDirection = "desc" if self._direction == "asc" else "asc"
        seen: set[str] = set()
        for _ in range(_STRICT_ROUNDS):
            first: set[str] = set()
            second: set[str] = set()
            async with aclosing(self._unseen(self._walk(self._direction, first, reread=True), seen)) as pages:
                async for page in pages:
                    yield page
            end = self._last_page
            async with aclosing(self._unseen(self._walk(other, second, reread=False), seen)) as pages:
                async for page in pages:
                    self.recovered += len(page.segments)
                    yield page
            if first <= second and not await self._fetch(end + 1, self._direction):
                return
        problem = (
            f"in {_STRICT_ROUNDS} rounds, walking one way and the other never gave the same segments "
            f"({len(first - second)} only the one way, {len(second - first)} only the other): "
            "the list changes too fast"
        )
        error = PaginationError(problem).about(str(LIST))
        error.only_first, error.only_second = frozenset(first - second), frozenset(second - first)
        raise error

    async def _unseen(
        self, pages: AsyncGenerator[SegmentPage, None], seen: set[str]
    ) -> AsyncGenerator[SegmentPage, None]:
        async with aclosing(pages):
            async for page in pages:
                yield SegmentPage(page.number, _new(page.segments, seen))


def _new(rows: Rows, ids: set[str]) -> Rows:
    """Those not met before; from now on they are."""
    new = []
    for row in rows:
        if row.id not in ids:
            ids.add(row.id)
            new.append(row)
    return tuple(new)
