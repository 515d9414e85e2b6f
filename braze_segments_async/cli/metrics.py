"""Metrics of exports, as a file for the textfile collector of Prometheus' node_exporter."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from attrs import define

from braze_segments_async._support import atomic_write, create_private, file_errors
from braze_segments_async.errors import BrazeError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from braze_segments_async.workspaces import WorkspaceResult

__all__ = ["ExportMetrics", "check_library", "recorded_metrics", "write_metrics"]

_PREFIX = "braze_segments_export_"
_HELP = {
    "success": "Whether the last run wrote a complete file or found one: 1 or 0",
    "last_run_timestamp_seconds": "Time of the end of the last run",
    "last_success_timestamp_seconds": "Time at which the last complete file was written",
    "duration_seconds": "Duration of the last run",
    "failed_segments": "Segments that could not be fetched in the last run",
    "rows": "Segments in the file that was written last",
}


@define
class ExportMetrics:
    """The figures of one run.

    Attributes:
        workspace: Name of the workspace, or of the file without its suffix.
        complete: Whether the run ended without a failure.
        written: Whether the run wrote a file.
        rows: Segments in that file.
        failed: Segments that could not be fetched.
        elapsed: Seconds.
    """

    workspace: str
    complete: bool = False
    written: bool = False
    rows: int = 0
    failed: int = 0
    elapsed: float = 0.0

    def set_written(self, rows: int, failed: int) -> None:
        """Note that a file was written."""
        self.written, self.complete, self.rows, self.failed = True, not failed, rows, failed

    @classmethod
    def of_result(cls, result: WorkspaceResult) -> ExportMetrics:
        """Return the figures of the result of a workspace."""
        return cls(
            workspace=result.name,
            complete=result.outcome in {"done", "skipped"},
            written=result.error is None and not result.skipped,
            rows=result.rows,
            failed=result.failures,
            elapsed=result.elapsed,
        )


@contextmanager
def recorded_metrics(path: Path | None, workspace: str) -> Iterator[ExportMetrics]:
    """Write the metrics of a run at its end, also after an error; not if it was interrupted.

    Args:
        path: The file; `None` to write nothing.
        workspace: Label of the metrics.

    Yields:
        The figures, to be changed by the run.
    """
    metrics, began = ExportMetrics(workspace), time.monotonic()
    if path is not None:
        check_library()
    try:
        yield metrics
    except (BrazeError, OSError):
        with suppress(BrazeError):  # the error of the export is more important
            _write(path, metrics, began)
        raise
    _write(path, metrics, began)


def _write(path: Path | None, metrics: ExportMetrics, began: float) -> None:
    metrics.elapsed = time.monotonic() - began
    if path is not None:
        write_metrics(path, [metrics])


def write_metrics(path: Path, runs: Iterable[ExportMetrics]) -> None:
    """Update the figures of workspaces in a file, in one step.

    What a run does not change stays, as the time of the last success after a failure.

    Args:
        path: The file. node_exporter reads only names that end in .prom.
        runs: The figures.

    Raises:
        ConfigError: The library `prometheus-client` is not installed.
        ExportError: The file cannot be written.
    """
    client = check_library()
    values = _read(path)
    now = time.time()
    for run in runs:
        new = {
            "success": float(run.complete),
            "last_run_timestamp_seconds": now,
            "duration_seconds": run.elapsed,
            "failed_segments": run.failed,
        }
        if run.written:
            new["rows"] = run.rows
            if run.complete:
                new["last_success_timestamp_seconds"] = now
        values.setdefault(run.workspace, {}).update(new)
    registry = client.CollectorRegistry()
    for name, text in _HELP.items():
        gauge = client.Gauge(_PREFIX + name, text, ["workspace"], registry=registry)
        for workspace, figures in values.items():
            if name in figures:
                gauge.labels(workspace).set(figures[name])

    def fill(part: Path) -> None:
        with create_private(part, 0o666) as file:  # node_exporter is another user
            file.write(client.generate_latest(registry))

    with file_errors(path):
        atomic_write(path, fill, replace=True)


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Return the figures of a file by workspace and name."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - an extra

    values: dict[str, dict[str, float]] = {}
    with file_errors(path):
        if not path.exists():
            return values
        text = path.read_text(encoding="utf-8", errors="replace")
    with suppress(ValueError):  # an invalid file is replaced
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix(_PREFIX)
                if name in _HELP and "workspace" in sample.labels:
                    values.setdefault(sample.labels["workspace"], {})[name] = sample.value
    return values


def check_library() -> Any:
    """Return the library, an extra that is imported late.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import prometheus_client  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError('--metrics needs an extra: pip install "braze-segments-async[metrics]"') from None
    return prometheus_client
