"""List all segments and yield those not yet in the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from braze_segments_async._models import Segment
from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from braze_segments_async._listing import SegmentListing

    from ._index import JournalIndex

__all__ = ["ListingTracker"]

_Found = tuple[list[str], list[bool | None]]  # two lists: a million pairs would take 60 MiB more


class ListingTracker:
    """One walk through the list, and its progress.

    The walk runs ahead of the details: so the total is known early, and the workspace changes less during a
    short walk. Of a segment that waits for its details only the id and one flag are in memory.

    Attributes:
        pages: Pages so far.
        listed: Segments so far.
        ended: Whether the walk has reached the end of the list.
        resumed: Listed segments that are in the journal.
    """

    def __init__(self, listing: SegmentListing, journaled: JournalIndex, on_page: Callable[[], None]) -> None:
        """Request nothing yet.

        Args:
            listing: A listing that was not iterated yet.
            journaled: The segments in the journal.
            on_page: Called after each page, and at the end of the list.
        """
        self._listing = listing
        self._journaled = journaled
        self._on_page = on_page
        self._queue: asyncio.Queue[_Found | None] = asyncio.Queue()
        self.pages = 0
        self.listed = 0
        self.ended = False
        self.resumed = 0

    @property
    def recovered(self) -> int:
        """Number of rows that a plain listing would have missed."""
        return self._listing.recovered

    async def pending_segments(self) -> AsyncGenerator[Segment, None]:
        """Yield the segments to fetch, with the id and the flag that only the list has.

        Raises:
            BrazeError: The walk failed; raised at once, not after the segments that it had found.
        """
        walking = create_task(self._walk())
        # A callback, not a `finally` in the task: a task that is cancelled before its first step runs none,
        # and the loop below would wait for ever. `None` is the last item: a finished task puts no page.
        walking.add_done_callback(lambda _: self._queue.put_nowait(None))
        try:
            while (found := await self._queue.get()) is not None:
                for segment_id, tracking in zip(*found, strict=True):
                    if walking.done():
                        # The walk may have failed while the consumer was at an earlier segment of this page.
                        walking.result()
                    yield Segment(segment_id, "", tracking)
            walking.result()
        finally:
            # The consumer may leave in the middle of the walk: it must not request another page.
            await cancel_and_wait([walking])

    def check_complete(self, accounted: int) -> None:
        """Check that every listed segment was fetched or has failed.

        Args:
            accounted: Number of listed segments that were fetched, were resumed or have failed.

        Raises:
            ExportError: The list was not read to its end, or has more segments.
        """
        if not self.ended or accounted != self.listed:
            raise ExportError(
                f"the export ended early: {accounted:,} of at least {self.listed:,} segments were fetched or "
                "have failed",
                remedy={"resume=True": "fetches the others"},
            )

    async def _walk(self) -> None:
        async for page in self._listing.pages():
            found: _Found = ([], [])
            for segment in page.segments:
                if self._journaled.mark_listed(segment.id):
                    self.resumed += 1
                else:
                    found[0].append(segment.id)
                    found[1].append(segment.analytics_tracking_enabled)
            # No await from here to the end of the block: nobody sees the page without its counts.
            self.pages += 1
            self.listed += len(page.segments)
            self._queue.put_nowait(found)
            self._on_page()
        self.ended = True
        self._on_page()
