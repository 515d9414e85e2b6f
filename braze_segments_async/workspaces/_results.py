"""Result of the export of one workspace."""

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
    """Result of the export of one workspace.

    Attributes:
        name: Name of the workspace.
        path: The file.
        rows: Segments in the file or, if the file was not written because some failed, in the journal.
        failures: Number of segments that could not be fetched.
        archived: See `ExportResult`.
        recovered: See `ExportResult`.
        resumed: See `ExportResult`.
        elapsed: Seconds.
        skipped: Whether the file was finished before, so that nothing was requested; `failures` are those of
            that file.
        error: Why the file was not written; `None` if it was.
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
        """The result in one word: "partial" if segments failed, "skipped" if the file was finished before."""
        if self.failures:
            return "partial"
        if self.error is not None:
            return "rate-limited" if isinstance(self.error, RateLimitedError) else "failed"
        return "skipped" if self.skipped else "done"

    @classmethod
    def of_export(
        cls, config: WorkspaceConfig, result: ExportResult, error: BrazeError | None = None
    ) -> Self:
        """Return the result for a result of `export_segments`."""
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
        """Return the result for an error that ended the export."""
        if isinstance(error, IncompleteExportError):
            return cls.of_export(config, error.result, error)
        return cls(name=config.name, path=config.path, elapsed=elapsed, error=error)
