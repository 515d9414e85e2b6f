"""`braze-segments export --workspaces`: many workspaces at the same time, each into its own file."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING

from attrs import evolve

from braze_segments_async._support import file_errors
from braze_segments_async._text import escape_control
from braze_segments_async.cli.bars import progress_table
from braze_segments_async.cli.configuration import environment_proxy
from braze_segments_async.cli.metrics import ExportMetrics, check_library, write_metrics
from braze_segments_async.cli.progress import (
    ProgressTracker,
    log_prefix,
    pluralize,
    print_err,
    show_progress,
)
from braze_segments_async.cli.rendering import results_table
from braze_segments_async.cli.runner import NOT_ALLOWED, OPTIONS, PARTIAL, RATE_LIMITED, error_code, run
from braze_segments_async.cli.stdio import in_terminal, to_stdout
from braze_segments_async.errors import ConfigError
from braze_segments_async.export import ResumeError, destination_path, failures_of
from braze_segments_async.export._formats.ndjson import to_json
from braze_segments_async.workspaces import export_workspaces, read_workspaces

from .export import resume_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async.cli.arguments import Connection, ExportArguments, WorkspacesArguments
    from braze_segments_async.export import ExportProgress
    from braze_segments_async.workspaces import Outcome, WorkspaceConfig, WorkspaceResult

__all__ = ["run_workspaces"]

_CODES: dict[Outcome, int] = {"done": 0, "skipped": 0, "partial": PARTIAL, "rate-limited": RATE_LIMITED}
# The command exits with the first of these that any workspace has: those that a retry can help come first.
_BY_WEIGHT = (1, RATE_LIMITED, PARTIAL, NOT_ALLOWED)
# The workspaces file has the key `base_url`, where the command has --base-url.
_WORDS = {name: option for name, option in OPTIONS.items() if name != "base_url"}
_IN_PROCESS = "local"


def run_workspaces(
    many: WorkspacesArguments,
    choices: ExportArguments,
    connection: Connection,
    *,
    concurrency: int,
    max_wait: float,
) -> int:
    """Run `braze-segments export --workspaces`, and return the exit code."""
    configs: tuple[WorkspaceConfig, ...] = ()

    async def export() -> int:
        nonlocal configs
        file, output = _checked(many, choices, connection)
        if choices.metrics is not None:
            check_library()
        options = choices.to_options("ndjson", concurrency=concurrency, max_wait=max_wait)
        configs = read_workspaces(file, output=output, options=options)
        with file_errors(output):
            output.mkdir(exist_ok=True)
        configs = tuple(_with_proxy(config, connection.proxy, many.dask) for config in configs)
        overview = Overview(configs)
        async with show_progress(overview, bar=True, quiet=choices.quiet, verbose=choices.verbose):
            results = await _results(configs, many, overview)
        await _print_results(results, quiet=choices.quiet)
        if choices.metrics is not None:
            write_metrics(choices.metrics, map(ExportMetrics.of_result, results))
        codes = {_code(result) for result in results}
        return next((code for code in _BY_WEIGHT if code in codes), 0)

    return run(export(), lambda: _hint(config.path for config in configs), _WORDS)


def _checked(
    many: WorkspacesArguments, choices: ExportArguments, connection: Connection
) -> tuple[Path, Path]:
    """Return the workspaces file and the output directory, once the options are consistent."""
    if many.workspaces is None:
        alone = next(field.name for field in fields(many) if getattr(many, field.name) is not None)
        raise ConfigError(f"--{alone.replace('_', '-')} is for many workspaces: it needs --workspaces")
    if many.worker_timeout is not None and many.dask is None:
        raise ConfigError("--worker-timeout needs --dask")
    for option in fields(connection):
        if option.name != "proxy" and getattr(connection, option.name) != option.default:
            name = option.name.replace("_", "-")
            raise ConfigError(f"the --workspaces file names endpoints and keys: leave --{name} out")
    if choices.file is None:
        raise ConfigError("--workspaces writes a file for each workspace: name their directory with --output")
    if choices.file.exists() and not choices.file.is_dir():
        shown = escape_control(str(choices.file))
        raise ConfigError(f"{shown} is a file; with --workspaces, --output is a directory")
    return many.workspaces, choices.file


def _with_proxy(config: WorkspaceConfig, proxy: str | None, dask: str | None) -> WorkspaceConfig:
    """Return the workspace with the proxy of the option, else of the environment, else its own.

    The environment of this process says nothing about the machines of a cluster.
    """
    here = environment_proxy(config.base_url) if dask in {None, _IN_PROCESS} else None
    return evolve(config, proxy=proxy or here or config.proxy)


async def _results(
    configs: tuple[WorkspaceConfig, ...], many: WorkspacesArguments, overview: Overview
) -> tuple[WorkspaceResult, ...]:
    parallel, dask = many.parallel, many.dask
    if dask is None:
        return await export_workspaces(
            configs, parallel=parallel, on_progress=overview.update, on_result=overview.finish
        )
    from braze_segments_async.dask import export_on_cluster  # noqa: PLC0415 - needs an extra

    return await export_on_cluster(
        configs,
        address=None if dask == _IN_PROCESS else dask,
        parallel=parallel,
        **({} if many.worker_timeout is None else {"worker_timeout": many.worker_timeout}),
        on_progress=overview.update_remote,
        on_result=overview.finish,
        on_waiting=overview.set_waiting,
    )


class Overview:
    """Progress of all workspaces."""

    def __init__(self, configs: Iterable[WorkspaceConfig]) -> None:
        """Start with no progress."""
        self._names = [config.name for config in configs]
        self._trackers: dict[str, ProgressTracker] = {}
        self._results: dict[str, WorkspaceResult] = {}
        self._remote: dict[str, ExportProgress] = {}
        self._without_workers = 0.0

    def update_remote(self, config: WorkspaceConfig, progress: ExportProgress) -> None:
        """Take the progress of an export on a cluster; for `on_progress` of `export_on_cluster`."""
        self._remote[config.name] = progress
        self._without_workers = 0.0

    def set_waiting(self, seconds: float) -> None:
        """Note that the cluster has no worker; for `on_waiting`."""
        self._without_workers = seconds

    def update(self, config: WorkspaceConfig, client: BrazeSegments, progress: ExportProgress) -> None:
        """Take the progress of an export; for `on_progress`, which each export calls in its own task."""
        if config.name not in self._trackers:
            log_prefix.set(f"{config.name}: ")
            self._trackers[config.name] = ProgressTracker(client, resumable=True)
        self._trackers[config.name].update(progress)

    def finish(self, result: WorkspaceResult) -> None:
        """Take the result of an export; for `on_result`."""
        self._results[result.name] = result

    def lines(self) -> list[str]:
        """Return a line for each workspace, and one if the cluster has no worker."""
        lines = [f"{name}: {self._line(name)}" for name in self._names]
        return [*lines, self._warning()] if self._without_workers else lines

    def _warning(self) -> str:
        return (
            f"the dask scheduler has had no worker for {self._without_workers:.0f} s: start one with `dask "
            "worker`; --worker-timeout ends the waiting"
        )

    def _line(self, name: str) -> str:
        if (result := self._results.get(name)) is not None:
            return " · ".join(filter(None, (result.outcome, _status(result))))
        if (remote := self._remote.get(name)) is not None:
            return _counts(remote)
        tracker = self._trackers.get(name)
        return "waiting" if tracker is None else tracker.line()

    def display(self) -> Callable[[], RenderableType]:
        """Return a function that returns the rows of the workspaces at the moment, as many as fit."""
        from rich.console import Group  # noqa: PLC0415 - only a terminal needs it
        from rich.text import Text  # noqa: PLC0415

        table = progress_table(rows=True)
        ids = {
            name: table.add_task(name, total=None, counts="waiting", status="", paused=False)
            for name in self._names
        }

        def render() -> RenderableType:
            shown = self._names_that_fit(shutil.get_terminal_size().lines - 3)
            for name, task_id in ids.items():
                table.update(task_id, visible=name in shown)
                if (result := self._results.get(name)) is not None:
                    table.update(
                        task_id,
                        total=max(1, result.rows + result.failures),
                        completed=result.rows,
                        counts=result.outcome,
                        status=_status(result),
                        paused=False,
                    )
                elif (tracker := self._trackers.get(name)) is not None:
                    tracker.update_task(table, task_id)
                elif (remote := self._remote.get(name)) is not None:
                    table.update(task_id, total=remote.total, completed=remote.done, counts=_counts(remote))
            summary = Text(self._summary(), style="dim", no_wrap=True, overflow="ellipsis")
            warning = [Text(self._warning(), style="yellow")] if self._without_workers else []
            return Group(table, summary, *warning)

        return render

    def _names_that_fit(self, rows: int) -> set[str]:
        """Return the names to show: exports that run, problems, exports that wait, then the others."""

        def rank(name: str) -> int:
            result = self._results.get(name)
            if result is None:
                return 0 if name in self._running() else 2
            return 1 if _problem(result) else 3

        return set(sorted(self._names, key=rank)[: max(rows, 1)])

    def _running(self) -> set[str]:
        return self._trackers.keys() | self._remote.keys()

    def _summary(self) -> str:
        """Return the number of workspaces in each state."""
        counts = Counter[str](result.outcome for result in self._results.values())
        running = len(self._running() - self._results.keys())
        waiting = len(self._names) - len(self._results) - running
        states: dict[str, int] = {"running": running, "waiting": waiting, **counts}
        return " · ".join(f"{count:,} {state}" for state, count in states.items() if count)


def _code(result: WorkspaceResult) -> int:
    return error_code(result.error) if result.outcome == "failed" else _CODES[result.outcome]


def _counts(progress: ExportProgress) -> str:
    return f"{progress.done:,} of {progress.listed:,}{' so far' if progress.total is None else ''}"


def _status(result: WorkspaceResult) -> str:
    return _problem(result) or (pluralize(result.rows, "segment") if result.rows else "")


def _problem(result: WorkspaceResult) -> str:
    """Return the problem and its remedy; an empty text if there is none."""
    if result.error is not None:
        return result.error.message(_WORDS)
    if result.failures:
        listed = escape_control(str(failures_of(destination_path(result.path))))
        return f"{pluralize(result.failures, 'segment')} could not be fetched: see {listed}"
    return ""


async def _print_results(results: Sequence[WorkspaceResult], *, quiet: bool) -> None:
    """Print the problems on standard error, and all results on standard output.

    The table of a terminal contains the problems. Elsewhere, standard error has them.
    """
    problems = {result.name: problem for result in results if (problem := _problem(result))}
    table = not quiet and in_terminal()
    apart = not table or sys.stderr is None or not sys.stderr.isatty()
    for result in results:
        if result.name in problems:
            if apart:
                print_err(f"braze-segments: {result.name}: {problems[result.name]}")
        elif result.skipped and not quiet:
            shown = escape_control(str(result.path))
            print_err(f"{result.name}: {shown} is finished, nothing to do; --overwrite replaces it")
    if hint := _hint(result.path for result in results if not isinstance(result.error, ResumeError)):
        print_err(f"braze-segments: {hint}")
    if quiet or sys.stdout is None:
        return
    with suppress(BrokenPipeError):  # the reader of a pipe may leave early; the files are complete
        if table:
            await to_stdout(results_table(results, problems))
        else:
            await to_stdout(b"".join(_result_json(result) for result in results))


def _result_json(result: WorkspaceResult) -> bytes:
    """Return a result as a line of NDJSON."""
    value: dict[str, object] = {"name": result.name, "outcome": result.outcome, "path": str(result.path)}
    for name in ("rows", "failures", "archived", "recovered", "resumed", "elapsed"):
        value[name] = getattr(result, name)
    value["error"] = None if result.error is None else type(result.error).__name__
    value["message"] = _problem(result) or None
    return f"{to_json(value)}\n".encode()


def _hint(paths: Iterable[Path]) -> str:
    return next(filter(None, map(resume_hint, paths)), "")
