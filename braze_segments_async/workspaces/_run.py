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
from ._results import WorkspaceResult

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from braze_segments_async._text import Secret

    from ._config import WorkspaceConfig

    OnProgress = Callable[[WorkspaceConfig, BrazeSegments, ExportProgress], object]
    OnResult = Callable[[WorkspaceResult], object]

__all__ = ["export_workspace", "export_workspaces", "gather_or_cancel"]

T = TypeVar("T")

_NOTHING_YET = ExportProgress(
    pages=0, listed=0, total=None, done=0, failed=0, archived=0, resumed=0, rate_limit=None
)


async def export_workspace(
    config: WorkspaceConfig, *, on_progress: OnProgress | None = None
) -> WorkspaceResult:
    """Export one workspace, with a client of its own; what goes wrong is in the result and not raised.

    Args:
        config: the workspace; its key is read here, in this process.
        on_progress: see `export_workspaces`.

    Raises:
        ConfigError: `on_progress` cannot be called, or is an `async def`.
    """
    check_callback("on_progress", on_progress)
    return await _export(config, config.read_key, on_progress)


async def export_workspaces(
    configs: Iterable[WorkspaceConfig],
    *,
    on_progress: OnProgress | None = None,
    on_result: OnResult | None = None,
) -> tuple[WorkspaceResult, ...]:
    """Export workspaces, all at the same time, each with a client, a rate limit and a journal of its own.

    Args:
        configs: the workspaces.
        on_progress: called with the workspace, its open client and how far it is: when the client is opened,
            then up to ten times a second, and at the end. Its `stats` say whether the client waits. A plain
            function that must not block.
        on_result: called with each result when it is there; a plain function that must not block.

    Returns:
        The results in the order of the workspaces; what went wrong with one is in its own.

    Raises:
        ConfigError: two of them have the same key, name or file, or a callback cannot be called or is an
            `async def`; nothing was sent.
    """
    check_callback("on_progress", on_progress)
    check_callback("on_result", on_result)
    configs = tuple(configs)
    keys = load_api_keys(configs)

    async def export(config: WorkspaceConfig) -> WorkspaceResult:
        # Read once: the file of a key may be a pipe. One that was not there is read again, to fail here.
        key = keys.get(config.name)
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
            read_key(), base_url=config.base_url, concurrency=options.concurrency, retry=options.retry
        ) as client:

            def tell(progress: ExportProgress) -> None:
                if on_progress is not None:
                    on_progress(config, client, progress)

            tell(_NOTHING_YET)
            result = await export_to_file(client, config.path, options, tell)
            return WorkspaceResult.of_export(config, result)
    except BrazeError as error:
        return WorkspaceResult.of_error(config, error, time.monotonic() - began)


async def gather_or_cancel(works: Iterable[Coroutine[Any, Any, T]]) -> tuple[T, ...]:
    """Do all of it at the same time; end the rest if one raises, as only a caller's own callback should."""
    running = [create_task(work) for work in works]
    try:
        return tuple(await asyncio.gather(*running))
    finally:
        await cancel_and_wait(running)
