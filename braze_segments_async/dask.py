"""The export of many workspaces on the workers of a dask cluster. It needs the extra `dask`.

    from braze_segments_async.dask import export_on_cluster

    results = await export_on_cluster(configs, address="tcp://scheduler:8786")

A worker needs this package, the key of each workspace in its environment or on its disk, and the directory of
the files. All workers share that directory, so that any of them can continue the export of another.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from attrs import evolve

from ._arguments import check_base_url, check_callback
from ._support import cancel_and_wait, create_task, file_errors
from ._text import escape_control
from .errors import BrazeError, ConfigError, ExportError
from .export import destination_path, locked_destination
from .workspaces import WorkspaceResult, export_workspace
from .workspaces._config import load_api_keys
from .workspaces._run import gather_or_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from .workspaces import WorkspaceConfig
    from .workspaces._run import OnResult

__all__ = ["export_on_cluster"]

_CONNECT = 10.0  # seconds
_CANCEL_POLL_INTERVAL = 0.5
_RESUME = {"resume=True": "continues from there"}


async def export_on_cluster(
    configs: Iterable[WorkspaceConfig], *, address: str | None = None, on_result: OnResult | None = None
) -> tuple[WorkspaceResult, ...]:
    """Export workspaces on the workers of a cluster, each as a task of its own; see `export_workspaces`.

    When a worker dies, another continues its export from the journal; how often is up to dask's
    `distributed.scheduler.allowed-failures`. When the caller is cancelled or dies, the exports end, and their
    journals remain.

    Args:
        configs: The workspaces. The workers read their keys; this process reads only the keys that it has, to
            compare them.
        address: Address of the scheduler; by default a cluster is made in this process, for this call.
        on_result: Called with each result when its export ends; a plain function that must not block.

    Returns:
        The results in the order of the workspaces.

    Raises:
        ConfigError: `distributed` is not installed, the address is invalid, two workspaces have the same key,
            name or file, or `on_result` is an `async def`; nothing was sent.
        ExportError: There is no scheduler at the address.
    """
    check_callback("on_result", on_result)
    configs = tuple(configs)
    load_api_keys(configs)
    async with _connected(address, len(configs)) as client:
        return await gather_or_cancel(_result(client, config, on_result) for config in configs)


def _distributed() -> Any:
    """Import the package late: it is large, and an extra. Most of it has no types."""
    try:
        import distributed  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigError('dask needs an extra: pip install "braze-segments-async[dask]"') from None
    return distributed


@asynccontextmanager
async def _connected(address: str | None, size: int) -> AsyncGenerator[Any, None]:
    distributed = _distributed()
    async with AsyncExitStack() as stack:
        # Errors are in the results; dask would print them too, with their tracebacks.
        stack.enter_context(distributed.utils.silence_logging_cmgr(logging.CRITICAL))
        if address is None:
            # The HTTP server of a LocalCluster listens on all interfaces, with a dashboard or without.
            private = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
            scheduler = await stack.enter_async_context(
                distributed.Scheduler(protocol="inproc://", **private)
            )
            address = str(scheduler.address)
            worker = distributed.Worker(address, nthreads=max(size, 1), memory_limit=None, **private)
            await stack.enter_async_context(worker)
        client = distributed.Client(address, asynchronous=True, set_as_default=False)
        stack.push_async_callback(client.close)
        await _connect(client, address)
        yield client


async def _connect(client: Any, address: str) -> None:
    try:
        # Another kind of server can accept the connection and never respond.
        async with asyncio.timeout(_CONNECT):
            await client
    except Exception as error:  # noqa: BLE001 - each kind of address has errors of its own
        kind = ConfigError if isinstance(error, ValueError) else ExportError
        problem = escape_control(str(error)) or "no answer"
    else:
        return
    raise kind(f"cannot reach a dask scheduler at {escape_control(address)}: {problem}")


async def _result(client: Any, config: WorkspaceConfig, on_result: OnResult | None) -> WorkspaceResult:
    """Export a workspace on the cluster, and report its result."""
    try:
        result = await _submit(client, config)
    except Exception as error:  # noqa: BLE001 - a cluster may raise anything, and this workspace fails alone
        result = WorkspaceResult.of_error(config, _to_export_error(error))
    if on_result is not None:
        on_result(result)
    return result


async def _submit(client: Any, config: WorkspaceConfig) -> WorkspaceResult:
    key = f"{config.name}-{uuid4().hex}"
    future = client.submit(run_on_worker, config, key, key=key)
    try:
        result: WorkspaceResult = await future
    finally:
        future.release()  # without an owner, dask does not run the task again when its worker dies
    with suppress(OSError):  # a scheduler that has stopped has lost the event, too
        await _distributed().Event(key, client=client).clear()
    return result


def _to_export_error(error: Exception) -> ExportError:
    if isinstance(error, _distributed().KilledWorker):
        died = error.allowed_failures + 1
        return ExportError(f"{died} workers died while they exported it", remedy=_RESUME)
    if isinstance(error, CancelledError):
        return ExportError("the dask scheduler has stopped, or has dropped the export", remedy=_RESUME)
    problem = escape_control(f"{type(error).__name__}: {error}")
    return ExportError(
        f"no worker could run it; check that all have the same version of this package: {problem}"
    )


async def run_on_worker(config: WorkspaceConfig, key: str) -> WorkspaceResult:
    """Export a workspace until the task is cancelled: dask itself never ends a task that runs.

    Args:
        config: The workspace.
        key: Key of the task.
    """
    tasks = _distributed().get_worker().state.tasks
    export = create_task(_export(config, key))
    try:
        while key in tasks and tasks[key].state != "cancelled":
            if (await asyncio.wait([export], timeout=_CANCEL_POLL_INTERVAL))[0]:
                return export.result()
        raise asyncio.CancelledError
    finally:
        await cancel_and_wait([export])


async def _export(config: WorkspaceConfig, key: str) -> WorkspaceResult:
    """Export a workspace while no other worker does; resume if this task began on a worker that died."""
    distributed = _distributed()
    lock = distributed.Lock(f"braze-segments {check_base_url(config.base_url)} {config.name}")
    # A dead worker's lock is held until its lease expires: dask's `distributed.scheduler.locks`.
    async with lock:
        begun = distributed.Event(key)
        try:
            if not await begun.is_set():
                _check_destination(config)
                await begun.set()
            config = evolve(config, options=evolve(config.options, resume=True))
        except BrazeError as error:
            return WorkspaceResult.of_error(config, error)
        return await export_workspace(config)


def _check_destination(config: WorkspaceConfig) -> None:
    """Check that the export may write there, once: later a journal that exists is from this task."""
    options, path = config.options, config.path
    if options.resume and not options.overwrite and config.finished:
        return
    with file_errors(path):
        path = destination_path(path)  # a journal is beside what a link leads to
        with locked_destination(path, resume=options.resume, overwrite=options.overwrite) as target:
            if not options.resume:
                target.journal.unlink(missing_ok=True)
