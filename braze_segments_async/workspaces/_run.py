"""The export of one workspace, and of many at the same time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from braze_segments_async._arguments import check_callback
from braze_segments_async._client import BrazeSegments
from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async.errors import BrazeError
from braze_segments_async.export import ExportProgress, count_failures, export_to_file

from ._config import load_api_keys
from ._parallel import parallel_exports
from ._results import WorkspaceResult

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from braze_segments_async._text import Secret

    from ._config import WorkspaceConfig

    OnProgress = Callable[[WorkspaceConfig, BrazeSegments, ExportProgress], object]
    OnResult = Callable[[WorkspaceResult], object]

__all__ = ["export_workspace", "export_workspaces", "gather_or_cancel"]

T = TypeVar("T")

_NO_PROGRESS = ExportProgress(
    pages=0, listed=0, total=None, done=0, failed=0, archived=0, resumed=0, rate_limit=None
)


async def export_workspace(
    config: WorkspaceConfig, *, on_progress: OnProgress | None = None
) -> WorkspaceResult:
    """Export one workspace, with a client of its own. An error is in the result, and not raised.

    Args:
        config: The workspace; its key is read in this process.
        on_progress: See `export_workspaces`.

    Returns:
        The result.

    Raises:
        ConfigError: `on_progress` cannot be called, or is an `async def`.
    """
    check_callback("on_progress", on_progress)
    return await _export(config, config.read_key, on_progress)


async def export_workspaces(
    configs: Iterable[WorkspaceConfig],
    *,
    parallel: int | None = None,
    on_progress: OnProgress | None = None,
    on_result: OnResult | None = None,
) -> tuple[WorkspaceResult, ...]:
    """Export workspaces at the same time, each with a client, a rate limit and a journal of its own.

    Args:
        configs: The workspaces.
        parallel: Maximum number of exports that run at the same time; the others wait for their turn. By
            default as many as the process may have open files for. Either way, the soft limit of open files
            (`RLIMIT_NOFILE`) is raised to what the exports need, as far as the system allows.
        on_progress: Called with the workspace, its open client and its progress: when the client is opened,
            then up to ten times a second, and at the end. The client's `stats` show whether it waits. A plain
            function that must not block.
        on_result: Called with each result when its export ends; a plain function that must not block.

    Returns:
        The results in the order of the workspaces, each with the error of its own export.

    Raises:
        ConfigError: Two of them have the same key, name or file, `parallel` is not a positive integer, or a
            callback cannot be called or is an `async def`; nothing was sent.
    """
    check_callback("on_progress", on_progress)
    check_callback("on_result", on_result)
    configs = tuple(configs)
    slots = asyncio.Semaphore(parallel_exports(configs, parallel))
    keys = load_api_keys(configs)

    async def export(config: WorkspaceConfig) -> WorkspaceResult:
        # A key is read once: its file may be a pipe. A missing key is read again here, so that its error is
        # in the result of this workspace.
        key = keys.get(config.name)
        async with slots:
            result = await _export(config, config.read_key if key is None else lambda: key, on_progress)
        if on_result is not None:
            on_result(result)
        return result

    return await gather_or_cancel(export(config) for config in configs)


async def _export(
    config: WorkspaceConfig, read_key: Callable[[], Secret], on_progress: OnProgress | None
) -> WorkspaceResult:
    began, options = time.monotonic(), config.options
    try:
        if options.resume and not options.overwrite and config.finished:
            missing = count_failures(config.path)
            return WorkspaceResult(name=config.name, path=config.path, failures=missing, skipped=True)
        async with BrazeSegments(
            read_key(),
            base_url=config.base_url,
            concurrency=options.concurrency,
            retry=options.retry,
            proxy=config.proxy,
        ) as client:

            def report(progress: ExportProgress) -> None:
                if on_progress is not None:
                    on_progress(config, client, progress)

            report(_NO_PROGRESS)
            result = await export_to_file(client, config.path, options, report)
            return WorkspaceResult.of_export(config, result)
    except BrazeError as error:
        return WorkspaceResult.of_error(config, error, time.monotonic() - began)


async def gather_or_cancel(coroutines: Iterable[Coroutine[Any, Any, T]]) -> tuple[T, ...]:
    """Run all at the same time; if one raises, as only a callback of the caller should, cancel the others."""
    running = [create_task(coroutine) for coroutine in coroutines]
    try:
        return tuple(await asyncio.gather(*running))
    finally:
        await cancel_and_wait(running)
