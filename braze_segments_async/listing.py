"""The page walk: one page asked for while the caller works on another, and never a silent short end.

Knows nothing of HTTP: it is handed `fetch(page_number, sort_direction)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from .endpoints import LIST, PAGE_SIZE
from .errors import PaginationError
from .models import Segment, SegmentPage
from .tasks import start, stop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from .config import Consistency, SortDirection

__all__ = ["SegmentListing", "pages_at_once"]

Rows = tuple[Segment, ...]
Fetch = Callable[[int, "SortDirection"], Coroutine[Any, Any, Rows]]

_STALE_PAGES = 2  # full pages in a row with nothing new: one can be a mass un-archiving, two are a loop
_STRICT_ROUNDS = 5


def pages_at_once(concurrency: int, consistency: Consistency) -> int:
    """How many pages to ask for at once so that so many requests for details need not wait for pages.

    Pages of 100 that come one after another keep 100 requests at a time busy. Where pages are read twice,
    second readings come two at a time, so that first ones need not come faster.
    """
    pages = 1 + concurrency // PAGE_SIZE
    return pages if consistency == "fast" else min(pages, 2)


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
        consistency: Consistency = "fast",
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
                pages = self._walk(self._direction, set(), trailing=False)
            case "safe":
                pages = self._walk(self._direction, set(), trailing=True)
            case "strict":
                pages = self._strict()
        async with aclosing(pages):
            async for page in pages:
                if page.segments:
                    yield page

    async def _walk(
        self, direction: SortDirection, ids: set[str], *, trailing: bool
    ) -> AsyncGenerator[SegmentPage, None]:
        """One walk. Afterwards `ids` holds every id it saw, and `_last_page` is where it ended.

        Trailing, page k is read again once page k+1 came, while k+2 is on its way: a row that moved from k+1
        back onto k in between, since a segment before it was archived, is found there.
        """
        running: set[asyncio.Task[Rows]] = set()
        number, stale, depth = self._start_page, 0, 1
        upcoming = deque([start(self._fetch(number, direction), running)])
        held: SegmentPage | None = None
        again: asyncio.Task[Rows] | None = None  # the second reading of what is held
        try:
            while upcoming:
                rows = await upcoming.popleft()
                page = SegmentPage(number, _new(rows, ids))
                if len(rows) >= PAGE_SIZE:
                    stale = 0 if page.segments else stale + 1
                    self._check(number, stale)
                    depth = min(2 * depth, self._prefetch)
                    for later in range(number + 1 + len(upcoming), min(number + 1 + depth, self._end)):
                        upcoming.append(start(self._fetch(later, direction), running))
                else:  # what was asked for beyond the end is nobody's
                    await stop(upcoming)
                    upcoming.clear()
                if not trailing:
                    yield page
                else:
                    before, second, held, again = held, again, page, None
                    if upcoming:
                        # Begins by itself, while the caller still works on the page before.
                        again = start(self._read_after(upcoming[0], number, direction), running)
                    if before is not None and second is not None:
                        yield self._complete(before, await second, ids)
                number += 1
            if held is not None:
                yield held
            self._last_page = number - 1
        finally:
            await stop(tuple(running))

    async def _read_after(self, page: asyncio.Task[Rows], number: int, direction: SortDirection) -> Rows:
        """Read a page again once another one came; if that one did not, nobody will ask for this."""
        await asyncio.wait([page])
        return () if page.cancelled() or page.exception() else await self._fetch(number, direction)

    def _complete(self, page: SegmentPage, second: Rows, ids: set[str]) -> SegmentPage:
        """A page with the rows that its second reading adds.

        Rows keep their order: as long as one of the first reading is on the page still, no row can have moved
        past it unseen. A strict walk needs no such proof, since it is compared with another one.
        """
        first = {segment.id for segment in page.segments}
        if self._consistency == "safe" and first and first.isdisjoint(row.id for row in second):
            problem = f"{PAGE_SIZE} segments or more were archived while the list was read: walk it again"
            raise PaginationError(problem).about(str(LIST), page=page.number)
        late = _new(second, ids)
        self.recovered += len(late)
        return SegmentPage(page.number, page.segments + late)

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
            async with aclosing(
                self._unseen(self._walk(self._direction, first, trailing=True), seen)
            ) as pages:
                async for page in pages:
                    yield page
            end = self._last_page
            async with aclosing(self._unseen(self._walk(other, second, trailing=False), seen)) as pages:
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
