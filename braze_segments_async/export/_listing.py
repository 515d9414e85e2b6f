"""List all segments and yield those not yet in the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from braze_segments_async._models import Segment
from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async.errors import BadRequestError, ExportError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from braze_segments_async._arguments import Consistency
    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._listing import SegmentListing
    from braze_segments_async._models import SegmentFailure

__all__ = ["REFUSALS", "ListingTracker", "split_archived"]

REFUSALS = (BadRequestError, NotFoundError)  # what details of a segment may get that was archived
_Found = list[tuple[str, bool | None]]


class ListingTracker:
    """One walk through the list.

    It runs ahead of the details: only then can anybody say early how long they will take, and the shorter a
    walk, the less the workspace changes under it. What waits for its details is kept small.

    Attributes:
        pages: how many so far.
        listed: segments so far.
        ended: whether that is all of them.
        resumed: how many of them are in the journal.
        not_listed: segments in the journal that were not listed so far; at the end they are archived.
    """

    def __init__(self, listing: SegmentListing, known: Iterable[str], on_page: Callable[[], None]) -> None:
        """See the class.

        Args:
            listing: not walked yet.
            known: the segments in the journal.
            on_page: called after each page.
        """
        self._listing = listing
        self._on_page = on_page
        self._queue: asyncio.Queue[_Found | None] = asyncio.Queue()
        self.pages = 0
        self.listed = 0
        self.ended = False
        self.resumed = 0
        self.not_listed = set(known)

    @property
    def recovered(self) -> int:
        """Rows a plain walk would have lost."""
        return self._listing.recovered

    async def pending_segments(self) -> AsyncGenerator[Segment, None]:
        """The segments to ask for. They have the id and what only the list knows; details have the rest.

        Raises:
            BrazeError: the walk failed; raised as soon as it did, not after what it had found.
        """
        walking = create_task(self._walk())
        walking.add_done_callback(lambda _: self._queue.put_nowait(None))
        try:
            while (found := await self._queue.get()) is not None:
                for segment_id, tracking in found:
                    if walking.done():
                        walking.result()
                    yield Segment(segment_id, "", tracking)
            walking.result()
        finally:
            await cancel_and_wait([walking])

    def check_complete(self, accounted: int) -> None:
        """Refuse to finish an export in which a listed segment is missing without a word.

        Args:
            accounted: listed segments that were fetched, were resumed or have failed.

        Raises:
            ExportError: the list was not read to its end, or has other segments besides.
        """
        if not self.ended or accounted != self.listed:
            raise ExportError(
                f"the export ended early: {accounted:,} of at least {self.listed:,} segments were fetched or "
                "have failed; resume=True fetches the others"
            )

    async def _walk(self) -> None:
        async for page in self._listing.pages():
            found: _Found = []
            for segment in page.segments:
                if segment.id in self.not_listed:
                    self.not_listed.discard(segment.id)
                    self.resumed += 1
                else:
                    found.append((segment.id, segment.analytics_tracking_enabled))
            self.pages += 1
            self.listed += len(page.segments)
            self._queue.put_nowait(found)
            self._on_page()
        self.ended = True
        self._on_page()


async def split_archived(
    client: BrazeSegments, failures: list[SegmentFailure], consistency: Consistency
) -> tuple[list[SegmentFailure], set[str]]:
    """List again if details were refused: a segment that is not listed any more was archived.

    Args:
        client: open.
        failures: of the details.
        consistency: of the export's walk.

    Returns:
        The failures that remain, and the ids that were archived.

    Raises:
        BrazeError: the list could not be had.
    """
    refused = {failure.segment_id for failure in failures if isinstance(failure.error, REFUSALS)}
    if refused:
        # A fast walk could overlook a segment, which would then be taken for archived.
        async for segment in client.list(consistency="safe" if consistency == "fast" else consistency):
            refused.discard(segment.id)
    return [failure for failure in failures if failure.segment_id not in refused], refused
