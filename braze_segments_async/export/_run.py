"""One export run, for a file and for standard output: list, fetch details, account for every segment."""

from __future__ import annotations

import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from braze_segments_async._fan_out import DetailsStream
from braze_segments_async._listing import prefetch_depth
from braze_segments_async._models import SegmentFailure
from braze_segments_async.errors import BadRequestError, NotFoundError, ReplyError

from ._formats.ndjson import to_json_line
from ._index import JournalIndex
from ._listing import ListingTracker
from ._results import ExportProgress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import Segment, SegmentDetails, SizePoint

    from ._options import ExportOptions

__all__ = ["ExportRun"]

_REPORT_EVERY = 0.1  # seconds
_MAY_BE_ARCHIVED = (BadRequestError, NotFoundError)  # responses to a request for an archived segment


class ExportRun:
    """One walk through the list, with the details of every segment that is not in the journal yet.

    Attributes:
        listing: The progress of the walk.
        archived: Number of segments archived during the export; known at the end.
    """

    def __init__(
        self,
        client: BrazeSegments,
        options: ExportOptions,
        *,
        journaled: JournalIndex | None = None,
        sizes_until: datetime | None = None,
        ordered: bool = False,
        fail_fast: bool = False,
        on_progress: Callable[[ExportProgress], object] | None = None,
    ) -> None:
        """Send nothing yet.

        Args:
            client: An open client.
            options: The options of the export.
            journaled: The segments that an earlier run has finished.
            sizes_until: The end of all size histories; by default the time of each request.
            ordered: Whether the rows come in the order of the list.
            fail_fast: Raise the first failure, unless the segment turns out to be archived; else collect it.
            on_progress: See `export_segments`.
        """
        self._client = client
        self._options = options
        self._sizes_until = sizes_until
        self._ordered = ordered
        self._fail_fast = fail_fast
        self._on_progress = on_progress
        self._reported = time.monotonic()
        prefetch = prefetch_depth(options.concurrency, options.consistency)
        listing = client.list(consistency=options.consistency, prefetch=prefetch)
        self._journaled = JournalIndex() if journaled is None else journaled
        self.listing = ListingTracker(listing, self._journaled, self.report)
        self.archived = 0
        self._fetched = 0
        self._failures: list[SegmentFailure] = []
        self._stream: DetailsStream | None = None
        self._histories: dict[str, list[SizePoint]] = {}  # of segments whose row is not yielded yet

    @property
    def done(self) -> int:
        """Number of listed segments that were fetched, or are in the journal of an earlier run."""
        return self.listing.resumed + self._fetched

    @property
    def failures(self) -> list[SegmentFailure]:
        """The segments that failed so far; at the end, without those that were archived."""
        return self._failures + ([] if self._stream is None else self._stream.failures)

    async def rows(self) -> AsyncGenerator[tuple[SegmentDetails, bytes], None]:
        """Yield every segment that is not in the journal, with its line of NDJSON.

        Raises:
            ExportError: A listed segment was neither fetched nor failed.
            BrazeError: The list failed, or what every other segment would meet, too; or see `fail_fast`.
        """
        pending = self.listing.pending_segments()
        # A stream leaves the iterator of its caller open: `pending` is closed here, after the stream.
        async with aclosing(pending), self._fetch(pending) as self._stream:
            async for details in self._stream:
                if line := self._line(details):
                    yield details, line
                    self._fetched += 1  # only now: the caller has written the row when it asks for the next
                self.report()
                self._raise_failure(unless=_MAY_BE_ARCHIVED)
        self._failures, self._stream = self.failures, None
        self.listing.check_complete(self.done + len(self._failures))
        await self._find_archived()
        self._raise_failure()
        self.report(final=True)

    def _fetch(self, pending: AsyncGenerator[Segment, None]) -> DetailsStream:
        # Not `all_details`, which keeps every id in memory to recognise repeated ones: the list repeats none.
        # With the history, `concurrency` segments at a time are as many requests in flight.
        return DetailsStream(
            pending,
            self._client.details if self._options.sizes is None else self._with_history,
            concurrency=self._options.concurrency,
            ordered=self._ordered,
            on_error="collect",
        )

    async def _with_history(self, segment: str | Segment) -> SegmentDetails:
        details = await self._client.details(segment)
        days = self._options.sizes or 0
        try:
            history = await self._client.data_series(details.id, length=days, ending_at=self._sizes_until)
        except BadRequestError:
            if details.analytics_tracking_enabled is not False:
                raise
            history = []  # Braze may have no sizes of a segment without analytics tracking: sources disagree
        self._histories[details.id] = history
        return details

    def _line(self, details: SegmentDetails) -> bytes:
        """Return the line of a segment; nothing if it has none, which is a failure of that segment."""
        try:
            return to_json_line(details, sizes=self._histories.pop(details.id, None))
        except RecursionError:
            error = ReplyError("nested too deeply to be written")
            error.about("GET /segments/details", segment_id=details.id)
            self._failures.append(SegmentFailure(details.id, error))
            return b""

    def _raise_failure(self, *, unless: tuple[type[Exception], ...] = ()) -> None:
        if self._fail_fast:
            for failure in self.failures:
                if not isinstance(failure.error, unless):
                    raise failure.error

    async def _find_archived(self) -> None:
        """List again if segments may have been archived, and count those that are not listed any more.

        That is if details were refused, and if a fast listing, which can miss a segment, lacked segments of
        the journal.
        """
        refused = {each.segment_id for each in self._failures if isinstance(each.error, _MAY_BE_ARCHIVED)}
        fast = self._options.consistency == "fast"
        if refused or (fast and self._journaled.not_listed):
            not_listed = self._journaled.not_listed
            async for segment in self._client.list(consistency="safe" if fast else self._options.consistency):
                refused.discard(segment.id)
                self._journaled.mark_listed(segment.id)
            found = not_listed - self._journaled.not_listed
            self.listing.listed += found
            self.listing.resumed += found
        self._failures = [failure for failure in self._failures if failure.segment_id not in refused]
        self.archived = len(refused) + self._journaled.not_listed

    def report(self, *, final: bool = False) -> None:
        """Call `on_progress`, ten times a second at most unless the call is the final one."""
        now = time.monotonic()
        if self._on_progress is None or not (final or now - self._reported >= _REPORT_EVERY):
            return
        self._reported = now
        listing = self.listing
        self._on_progress(
            ExportProgress(
                pages=listing.pages,
                listed=listing.listed,
                total=listing.listed if listing.ended else None,
                done=self.done,
                failed=len(self.failures),
                archived=self.archived,
                resumed=listing.resumed,
                rate_limit=self._client.rate_limit,
            )
        )
