"""One export: from the client through the journal into the file."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from braze_segments_async._fan_out import DetailsStream
from braze_segments_async._listing import prefetch_depth
from braze_segments_async._models import SegmentFailure
from braze_segments_async._support import file_errors, run_in_thread
from braze_segments_async.errors import BadRequestError, ReplyError

from ._formats import write_rows
from ._formats.ndjson import to_json_line
from ._journal import Journal
from ._journal_header import Header
from ._listing import ListingTracker, split_archived
from ._results import ExportProgress, ExportResult, IncompleteExportError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from pathlib import Path

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import Segment, SegmentDetails, SizePoint
    from braze_segments_async._support import CancelToken

    from ._destination import Target
    from ._options import ExportOptions

__all__ = ["ExportRun"]

_TELL_EVERY = 0.1  # seconds
_SYNC_EVERY = 10.0  # seconds


class ExportRun:
    """One export, from the first request to the file."""

    def __init__(
        self,
        client: BrazeSegments,
        target: Target,
        options: ExportOptions,
        on_progress: Callable[[ExportProgress], object] | None,
    ) -> None:
        """Nothing is opened or sent yet; for the arguments see `export_segments`."""
        self._client = client
        self._target = target
        self._options = options
        self._on_progress = on_progress
        self._began = self._told = self._synced = time.monotonic()
        self._failures: list[SegmentFailure] = []
        self._archived: set[str] = set()
        self._histories: dict[str, list[SizePoint]] = {}  # of segments about to be journaled

    async def run(self) -> ExportResult:
        """Do it; see `export_segments`."""
        options = self._options
        self._journal = self._new_journal()
        try:
            with file_errors(self._journal.path):
                begin = partial(
                    self._journal.open,
                    resume=options.resume,
                    resume_within=options.resume_within,
                    overwrite=options.overwrite,
                )
                await run_in_thread(begin)
            await self._fetch()
            await self._find_archived()
            if self._failures and not options.allow_partial:
                raise self._incomplete()
            self._journal.close()  # to be read, and removed, by the thread
            await run_in_thread(self._write)
        finally:
            self._journal.close()
        self._tell(last=True)
        return self._result()

    def _new_journal(self) -> Journal:
        header = Header(
            workspace=urlsplit(self._client.base_url).hostname or "",
            format=self._options.format,
            csv_safe=self._options.csv_safe,
            sizes=self._options.sizes,
            sizes_until=datetime.now(UTC).replace(microsecond=0),
        )
        return Journal(self._target.journal, header)

    async def _fetch(self) -> None:
        """Walk the list, and put into the journal what is not there yet."""
        prefetch = prefetch_depth(self._options.concurrency)
        listing = self._client.list(consistency=self._options.consistency, prefetch=prefetch)
        self._walk = ListingTracker(listing, self._journal.ids, self._tell)
        # A stream leaves an iterator of the caller's open, so it is closed here, after the stream.
        async with aclosing(self._walk.pending_segments()) as missing, self._stream(missing) as self._details:
            async for details in self._details:
                self._add(details)
                if time.monotonic() - self._synced >= _SYNC_EVERY:
                    with file_errors(self._journal.path):
                        await run_in_thread(lambda _: self._journal.sync())
                    self._synced = time.monotonic()
                self._tell()
        self._failures += self._details.failures
        self._walk.check_complete(self._done() + len(self._failures))

    def _stream(self, missing: AsyncGenerator[Segment, None]) -> DetailsStream:
        if self._options.sizes is None:
            return self._client.all_details(
                missing, concurrency=self._options.concurrency, on_error="collect"
            )
        # One after the other for each segment, so that no more requests than that are ever in flight.
        return DetailsStream(
            missing, self._with_history, concurrency=self._options.concurrency, on_error="collect"
        )

    async def _with_history(self, segment: str | Segment) -> SegmentDetails:
        details = await self._client.details(segment)
        days, until = self._options.sizes, self._journal.sizes_until
        assert days is not None  # noqa: S101 - as the caller saw
        try:
            history = await self._client.data_series(details.id, length=days, ending_at=until)
        except BadRequestError:
            if details.analytics_tracking_enabled is not False:
                raise
            history = []  # Braze keeps none of a segment that it does not track
        self._histories[details.id] = history
        return details

    def _add(self, details: SegmentDetails) -> None:
        try:
            line = to_json_line(details, sizes=self._histories.pop(details.id, None))
        except RecursionError:
            error = ReplyError("nested too deeply to be written")
            error.about("GET /segments/details", segment_id=details.id)
            self._failures.append(SegmentFailure(details.id, error))
            return
        with file_errors(self._journal.path):
            self._journal.add(line, details.id, details.created_at)

    async def _find_archived(self) -> None:
        """List again if details were refused: a segment that is not listed any more is no failure."""
        self._failures, refused = await split_archived(
            self._client, self._failures, self._options.consistency
        )
        self._archived = refused | self._walk.not_listed
        self._tell(last=True)

    def _write(self, stop: CancelToken) -> None:
        rows = stop.iter_until_cancelled(self._journal.rows(without=self._walk.not_listed))
        self._target.put(partial(self._write_rows, lines=rows), map(_failure_line, self._failures))

    def _write_rows(self, path: Path, lines: Iterable[bytes]) -> None:
        options = self._options
        sizes = options.sizes is not None
        write_rows(path, lines, options.format, sizes=sizes, csv_safe=options.csv_safe)

    def _incomplete(self) -> IncompleteExportError:
        first, count = self._failures[0], len(self._failures)
        error = IncompleteExportError(
            f"{count:,} of {self._walk.listed:,} segments could not be had, the first one: {first.error}; "
            "resume=True tries them again, and with allow_partial=True the file is written without them"
        )
        error.result = self._result()
        return error

    def _done(self) -> int:
        return len(self._journal.ids) - len(self._walk.not_listed)

    def _result(self) -> ExportResult:
        return ExportResult(
            path=self._target.path,
            rows=self._done(),
            failures=tuple(self._failures),
            archived=len(self._archived),
            recovered=self._walk.recovered,
            resumed=self._walk.resumed,
            pages=self._walk.pages,
            elapsed=time.monotonic() - self._began,
        )

    def _tell(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if self._on_progress is None or not (last or now - self._told >= _TELL_EVERY):
            return
        self._told = now
        walk = self._walk
        self._on_progress(
            ExportProgress(
                pages=walk.pages,
                listed=walk.listed,
                total=walk.listed if walk.ended else None,
                done=self._done(),
                failed=len(self._failures) + (0 if last else len(self._details.failures)),
                archived=len(self._archived),
                resumed=walk.resumed,
                rate_limit=self._client.rate_limit,
            )
        )


def _failure_line(failure: SegmentFailure) -> bytes:
    value = {
        "segment_id": failure.segment_id,
        "error": type(failure.error).__name__,
        "message": str(failure.error),
    }
    return (json.dumps(value) + "\n").encode()
