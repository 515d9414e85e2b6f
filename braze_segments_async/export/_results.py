"""Progress and result of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from braze_segments_async.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async._models import SegmentFailure
    from braze_segments_async._rate_limit import RateLimit

__all__ = ["ExportProgress", "ExportResult", "IncompleteExportError", "ResumeError"]


@frozen(kw_only=True)
class ExportProgress:
    """How far an export is, at one moment.

    Attributes:
        pages: pages of the list so far.
        listed: segments of the list so far.
        total: segments of the whole list; `None` while the walk goes on.
        done: of those listed, how many are in the journal, the `resumed` ones included.
        failed: of those listed, how many could not be had; at the end without those that were `archived`.
        archived: segments that left the list meanwhile; known at the end.
        resumed: of those listed, how many an earlier run had put into the journal.
        rate_limit: the allowance as the latest reply told it; `None` before the first.
    """

    pages: int
    listed: int
    total: int | None
    done: int
    failed: int
    archived: int
    resumed: int
    rate_limit: RateLimit | None


@frozen(kw_only=True)
class ExportResult:
    """What came of an export.

    Attributes:
        path: the file.
        rows: segments in it.
        failures: the segments that are missing, and why; empty unless `allow_partial`.
        archived: segments that left the list between list and details, or since the run that was resumed;
            they are in neither `rows` nor `failures`.
        recovered: rows a plain walk of the list would have lost; see `SegmentListing.recovered`.
        resumed: rows that an earlier run had put into the journal.
        pages: pages of the list.
        elapsed: seconds.
    """

    path: Path
    rows: int
    failures: tuple[SegmentFailure, ...]
    archived: int
    recovered: int
    resumed: int
    pages: int
    elapsed: float


class IncompleteExportError(ExportError):
    """Some segments could not be had, so that the file was not written; the rest is in the journal.

    Attributes:
        result: what would have been written, and the `failures`.
    """

    result: ExportResult


class ResumeError(ExportError):
    """The journal of an interrupted export is too old to be resumed, of another export, or damaged."""
