"""`braze-segments export --workspaces`: many workspaces at the same time, each into a file of its own."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from braze_segments_async._support import file_errors, sibling
from braze_segments_async._text import escape_control
from braze_segments_async.cli.progress import ProgressTracker, log_prefix, pluralize, print_err, watching
from braze_segments_async.cli.rendering import result_json, results_table
from braze_segments_async.cli.runner import OPTIONS, RATE_LIMITED, run
from braze_segments_async.cli.stdio import in_terminal, to_stdout
from braze_segments_async.errors import ConfigError
from braze_segments_async.export import ResumeError, journal_of
from braze_segments_async.workspaces import export_workspaces, read_workspaces

from .export import PARTIAL, RESUME

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async.cli.arguments import Connection, ExportArguments, WorkspacesArguments
    from braze_segments_async.export import ExportProgress
    from braze_segments_async.workspaces import Outcome, WorkspaceConfig, WorkspaceResult

__all__ = ["run_workspaces"]

# The worst of them is that of the command.
_CODES: dict[Outcome, int] = {"failed": 1, "rate-limited": RATE_LIMITED, "partial": PARTIAL}
# The file of the workspaces has a word of its own for the endpoint.
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
    """Do `braze-segments export --workspaces`; see there for the options, and for the exit code."""
    configs: tuple[WorkspaceConfig, ...] = ()

    async def export() -> int:
        nonlocal configs
        file, output = _checked(many, choices, connection)
        options = choices.to_options("ndjson", concurrency=concurrency, max_wait=max_wait)
        configs = read_workspaces(file, output=output, options=options)
        with file_errors(output):
            output.mkdir(exist_ok=True)
        overview = Overview(configs)
        async with watching(overview, bar=True, quiet=choices.quiet, verbose=choices.verbose):
            results = await _results(configs, many.dask, overview)
        await _tell(results, quiet=choices.quiet)
        return next((code for outcome, code in _CODES.items() if outcome in {r.outcome for r in results}), 0)

    return run(export(), lambda: _hint(config.path for config in configs), _WORDS)


def _checked(
    many: WorkspacesArguments, choices: ExportArguments, connection: Connection
) -> tuple[Path, Path]:
    """The file and the directory, of options that do not contradict each other."""
    if many.workspaces is None:
        raise ConfigError("--dask shares out many workspaces: it needs --workspaces")
    for option in fields(connection):
        if getattr(connection, option.name) != option.default:
            name = option.name.replace("_", "-")
            raise ConfigError(f"--workspaces names endpoints and keys in its file: leave --{name} out")
    if choices.file is None:
        raise ConfigError("--workspaces writes a file for each: name the directory of them with --output")
    if choices.file.exists() and not choices.file.is_dir():
        shown = escape_control(str(choices.file))
        raise ConfigError(f"{shown} is a file; with --workspaces, --output is the directory of the files")
    return many.workspaces, choices.file


async def _results(
    configs: tuple[WorkspaceConfig, ...], dask: str | None, overview: Overview
) -> tuple[WorkspaceResult, ...]:
    if dask is None:
        return await export_workspaces(configs, on_progress=overview.progressed, on_result=overview.ended)
    from braze_segments_async.dask import export_on_cluster  # noqa: PLC0415 - of an extra

    address = None if dask == _IN_PROCESS else dask
    return await export_on_cluster(configs, address=address, on_result=overview.ended)


class Overview:
    """How far each workspace is, a line each. What a cluster does is seen when it is done."""

    def __init__(self, configs: Iterable[WorkspaceConfig]) -> None:
        """Nothing has begun yet."""
        self._names = [config.name for config in configs]
        self._watches: dict[str, ProgressTracker] = {}
        self._results: dict[str, WorkspaceResult] = {}

    def progressed(self, config: WorkspaceConfig, client: BrazeSegments, progress: ExportProgress) -> None:
        """Hear how far an export is; for the `on_progress` of all, which each calls in a task of its own."""
        if config.name not in self._watches:
            log_prefix.set(f"{config.name}: ")
            self._watches[config.name] = ProgressTracker(client, resumable=True)
        self._watches[config.name].exported(progress)

    def ended(self, result: WorkspaceResult) -> None:
        """Hear what came of one."""
        self._results[result.name] = result

    def lines(self) -> list[str]:
        """How far they are, for a pipe."""
        return [f"{name}: {' · '.join(filter(None, self._words(name)))}" for name in self._names]

    def drawn(self) -> Table:
        """How far they are, for a terminal."""
        table = Table.grid(expand=True, padding=(0, 2, 0, 0))
        for width in (None, 20, None):
            table.add_column(width=width, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True)
        for name in self._names:
            (far, going), watch = self._words(name), self._watches.get(name)
            if watch is None or name in self._results:
                table.add_row(name, "", far, Text(going, style="dim", overflow="ellipsis"))
            else:
                table.add_row(name, watch.bar(), far, watch.going(going))
        return table

    def _words(self, name: str) -> tuple[str, str]:
        if (result := self._results.get(name)) is not None:
            rows = pluralize(result.rows, "segment") if result.rows else ""
            return result.outcome, _problem(result) or rows
        watch = self._watches.get(name)
        return ("under way", "") if watch is None else watch.words()


def _problem(result: WorkspaceResult) -> str:
    """What is wrong, and what to do about it; nothing if all is well."""
    if result.error is not None:
        return result.error.message(_WORDS)
    if result.failures:
        listed = escape_control(str(sibling(result.path, ".failures.ndjson")))
        return f"{pluralize(result.failures, 'segment')} could not be had: see {listed}"
    return ""


async def _tell(results: Collection[WorkspaceResult], *, quiet: bool) -> None:
    """Say what went wrong, and show what came of all."""
    for result in results:
        if problem := _problem(result):
            print_err(f"braze-segments: {result.name}: {problem}")
        elif result.skipped and not quiet:
            shown = escape_control(str(result.path))
            print_err(f"{result.name}: {shown} is finished, nothing to do; --overwrite replaces it")
    if hint := _hint(result.path for result in results if not isinstance(result.error, ResumeError)):
        print_err(f"braze-segments: {hint}")
    if quiet or sys.stdout is None:
        return
    with suppress(BrokenPipeError):  # whoever reads it has read enough: that changes nothing about the files
        if in_terminal():
            await to_stdout(results_table(results))
        else:
            await to_stdout(b"".join(result_json(result, _problem(result)) for result in results))


def _hint(paths: Iterable[Path]) -> str:
    return RESUME if any(journal_of(path).exists() for path in paths) else ""
