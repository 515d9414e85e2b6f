"""What came of the export of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from attrs import frozen

from braze_segments_async.errors import BrazeError, RateLimitedError
from braze_segments_async.export import IncompleteExportError

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async.export import ExportResult

    from ._config import WorkspaceConfig

__all__ = ["Outcome", "WorkspaceResult"]

Outcome = Literal["done", "skipped", "partial", "rate-limited", "failed"]


@frozen(kw_only=True)
class WorkspaceResult:
    """What came of the export of a workspace.

    Attributes:
        name: of the workspace.
        path: its file.
        rows: segments in the file or, if it was not written since some are missing, in the journal.
        failures: how many segments could not be had.
        archived: see `ExportResult`, as for the next two.
        recovered: see there.
        resumed: see there.
        elapsed: seconds.
        skipped: whether a finished file was there, so that nothing was requested; `failures` are those of
            the file.
        error: what kept the file from being written; `None` if it is there.
    """

    name: str
    path: Path
    rows: int = 0
    failures: int = 0
    archived: int = 0
    recovered: int = 0
    resumed: int = 0
    elapsed: float = 0.0
    skipped: bool = False
    error: BrazeError | None = None

    @property
    def outcome(self) -> Outcome:
        """One word for it: "partial" if segments are missing, "skipped" if a finished file was left alone."""
        if self.failures:
            return "partial"
        if self.error is not None:
            return "rate-limited" if isinstance(self.error, RateLimitedError) else "failed"
        return "skipped" if self.skipped else "done"

    @classmethod
    def of_export(
        cls, config: WorkspaceConfig, result: ExportResult, error: BrazeError | None = None
    ) -> Self:
        """From what `export_segments` tells."""
        return cls(
            name=config.name,
            path=config.path,
            rows=result.rows,
            failures=len(result.failures),
            archived=result.archived,
            recovered=result.recovered,
            resumed=result.resumed,
            elapsed=result.elapsed,
            error=error,
        )

    @classmethod
    def of_error(cls, config: WorkspaceConfig, error: BrazeError, elapsed: float = 0.0) -> Self:
        """From what ended the export."""
        if isinstance(error, IncompleteExportError):
            return cls.of_export(config, error.result, error)
        return cls(name=config.name, path=config.path, elapsed=elapsed, error=error)
