"""Progress and result of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from braze_segments_async.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from braze_segments_async._models import SegmentFailure
    from braze_segments_async._rate_limit import RateLimit
    from braze_segments_async.catalogue import Provenance

__all__ = ["ExportProgress", "ExportResult", "IncompleteExportError", "ResumeError"]


@frozen(kw_only=True)
class ExportProgress:
    """Progress of an export, at one moment.

    Attributes:
        pages: Pages of the list so far.
        listed: Segments listed so far.
        total: Segments of the whole list; `None` until the end of the list.
        done: Listed segments that are finished, those `resumed` included.
        failed: Listed segments that could not be fetched; at the end without those that were `archived`.
        archived: Segments archived during the export; known at the end.
        resumed: Listed segments that were in the journal of an earlier run.
        rate_limit: Rate limit from the most recent response; `None` before the first.
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
    """Result of an export.

    Attributes:
        path: The file.
        rows: Number of segments in the file.
        failures: The segments that could not be fetched, and why; empty unless `allow_partial`.
        archived: Segments archived between list and details, or since the run that was resumed; they are in
            neither `rows` nor `failures`.
        recovered: Rows that a plain listing would have missed; see `SegmentListing.recovered`.
        resumed: Rows from the journal of an earlier run.
        pages: Pages of the list.
        elapsed: Seconds.
        provenance: What the file records about the export, in formats that have a place for it.
    """

    path: Path
    rows: int
    failures: tuple[SegmentFailure, ...]
    archived: int
    recovered: int
    resumed: int
    pages: int
    elapsed: float
    provenance: Provenance | None = field(default=None, repr=False)


class IncompleteExportError(ExportError):
    """Some segments could not be fetched, so the file was not written; the others are in the journal.

    Attributes:
        result: The result with `allow_partial`, `failures` included.
    """

    def __init__(self, reason: str, result: ExportResult, *, remedy: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, remedy=remedy)
        self.result = result

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.result), vars(self)


class ResumeError(ExportError):
    """The journal of an interrupted export is too old to be resumed, of another export, or damaged."""
