"""The export of many workspaces on the workers of a dask cluster. It needs the extra `dask`.

    from braze_segments_async.dask import export_on_cluster

    results = await export_on_cluster(configs, address="tcp://scheduler:8786")

A worker needs this package, the key of each workspace in its environment or on its disk, and the directory of
the files. All workers share that directory, so that any of them can continue the export of another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from attrs import evolve

from ._arguments import check_base_url, check_callback, check_integer, check_seconds
from ._support import cancel_and_wait, create_task, file_errors
from ._text import escape_control, logger
from .errors import BrazeError, ConfigError, ExportError
from .export import ExportProgress, count_failures, destination_path, locked_destination
from .workspaces import WorkspaceResult, export_workspace
from .workspaces._config import load_api_keys
from .workspaces._parallel import parallel_exports
from .workspaces._rows import count_rows
from .workspaces._run import gather_or_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping

    from ._client import BrazeSegments
    from .workspaces import WorkspaceConfig
    from .workspaces._run import OnResult

    OnProgress = Callable[[WorkspaceConfig, ExportProgress], object]
    OnWaiting = Callable[[float], object]

__all__ = ["export_on_cluster"]

_CONNECT = 10.0  # seconds
_CANCEL_POLL_INTERVAL = 0.5
_CLEAR = 0.5  # seconds at most for the last message to the scheduler, so that a cancellation is prompt
_WORKER_TIMEOUT = 600.0
_WARN_EVERY = 10.0
_WORKER_POLL_INTERVAL = 1.0
_PROGRESS_EVERY = 1.0  # seconds between two messages of a workspace
_TOPIC = "braze-segments"  # one for all runs: the scheduler keeps the last messages of each topic
_COUNTS = ("pages", "listed", "total", "done", "failed", "archived", "resumed")
_RESUME = {"resume=True": "continues from there"}


async def export_on_cluster(
    configs: Iterable[WorkspaceConfig],
    *,
    address: str | None = None,
    parallel: int | None = None,
    worker_timeout: float = _WORKER_TIMEOUT,
    on_progress: OnProgress | None = None,
    on_result: OnResult | None = None,
    on_waiting: OnWaiting | None = None,
) -> tuple[WorkspaceResult, ...]:
    """Export workspaces on the workers of a cluster, each as a task of its own; see `export_workspaces`.

    When a worker dies, another continues its export from the journal; how often is up to dask's
    `distributed.scheduler.allowed-failures`. When the caller is cancelled or dies, the exports end, and their
    journals remain.

    A cluster runs as many exports at the same time as its workers have threads. An export mostly waits for
    responses, so give a worker many more threads than cores, such as `dask worker --nthreads 30`.

    Args:
        configs: The workspaces. The workers read their keys; this process reads only the keys that it has, to
            compare them.
        address: Address of the scheduler; by default a cluster is made in this process, for this call.
        parallel: Without `address`, the maximum number of exports at the same time; see `export_workspaces`.
        worker_timeout: Seconds without any worker after which the exports that have not ended fail. While
            there is no worker, a warning is logged every ten seconds.
        on_progress: Called with a workspace and its progress, once a second at most; a plain function that
            must not block. The progress has no `rate_limit`.
        on_result: Called with each result when its export ends; a plain function that must not block.
        on_waiting: Called every ten seconds while there is no worker, with the seconds since the last one.

    Returns:
        The results in the order of the workspaces.

    Raises:
        ConfigError: `distributed` is not installed, the address or a number is invalid, two workspaces have
            the same key, name or file, or a callback is an `async def`; nothing was sent.
        ExportError: There is no scheduler at the address.
    """
    check_callback("on_progress", on_progress)
    check_callback("on_result", on_result)
    check_callback("on_waiting", on_waiting)
    check_seconds("worker_timeout", worker_timeout)
    configs = tuple(configs)
    if address is None:
        parallel = parallel_exports(configs, parallel)
    elif parallel is not None:
        check_integer("parallel", parallel, at_least=1)
        raise ConfigError(
            "is for one process: on a cluster, the threads of the workers decide (dask worker --nthreads)",
            argument="parallel",
        )
    load_api_keys(configs)
    async with _connected(address, parallel or 1) as client:
        tasks = {f"{config.name}-{uuid4().hex}": config for config in configs}
        if on_progress is not None:
            client.subscribe_topic(_TOPIC, lambda event: _report(event, tasks, on_progress))
        no_workers = create_task(_no_workers(client, len(tasks), worker_timeout, on_waiting))
        try:
            return await gather_or_cancel(
                _result(client, key, config, no_workers, on_result) for key, config in tasks.items()
            )
        finally:
            await cancel_and_wait([no_workers])


async def _no_workers(client: Any, size: int, seconds: float, on_waiting: OnWaiting | None) -> ExportError:
    """Return an error when the cluster has had no worker for some time; warn before that."""
    seen = warned = time.monotonic()
    advised = False
    while (waited := time.monotonic() - seen) < seconds:
        threads: dict[str, int] | None = None
        with suppress(OSError):  # the scheduler has stopped: the tasks say so
            threads = await client.nthreads()
        if threads is None or threads:
            seen = warned = time.monotonic()
        elif time.monotonic() - warned >= _WARN_EVERY:
            warned = time.monotonic()
            logger.warning(
                "the dask scheduler has had no worker for %.0f s; start one with: dask worker", waited
            )
            if on_waiting is not None:
                on_waiting(waited)
        if threads and not advised and sum(threads.values()) < size:
            advised = True
            logger.info(
                "the cluster exports %d of %d workspaces at a time, one a thread; for more, start its "
                "workers with --nthreads",
                sum(threads.values()),
                size,
            )
        await asyncio.sleep(_WORKER_POLL_INTERVAL)
    return ExportError(
        f"the dask scheduler has had no worker for {seconds:g} s: start one with `dask worker`",
        remedy={"worker_timeout": "can be longer", **_RESUME},
    )


def _report(
    event: tuple[float, dict[str, Any]], tasks: Mapping[str, WorkspaceConfig], on_progress: OnProgress
) -> None:
    """Report the progress of an export of this run, from a message of its worker."""
    _, message = event
    if (config := tasks.get(message["key"])) is not None:
        on_progress(config, ExportProgress(**{name: message[name] for name in _COUNTS}, rate_limit=None))


def _distributed() -> Any:
    """Import the package late: it is large, and an extra. Most of it has no types."""
    try:
        import distributed  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ConfigError('dask needs an extra: pip install "braze-segments-async[dask]"') from None
    return distributed


@asynccontextmanager
async def _connected(address: str | None, threads: int) -> AsyncGenerator[Any, None]:
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
            worker = distributed.Worker(address, nthreads=threads, memory_limit=None, **private)
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


async def _result(
    client: Any,
    key: str,
    config: WorkspaceConfig,
    no_workers: asyncio.Task[ExportError],
    on_result: OnResult | None,
) -> WorkspaceResult:
    """Export a workspace on the cluster, and report its result."""
    try:
        result = await _submit(client, key, config, no_workers)
    except Exception as error:  # noqa: BLE001 - a cluster may raise anything, and this workspace fails alone
        result = WorkspaceResult.of_error(config, _to_export_error(error))
    if on_result is not None:
        on_result(result)
    return result


async def _submit(
    client: Any, key: str, config: WorkspaceConfig, no_workers: asyncio.Task[ExportError]
) -> WorkspaceResult:
    future = client.submit(run_on_worker, config, key, key=key)
    running = asyncio.ensure_future(future.result())
    try:
        await asyncio.wait([running, no_workers], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise no_workers.result()
        result: WorkspaceResult = running.result()
        return result
    finally:
        future.release()  # without an owner, dask does not run the task again when its worker dies
        await cancel_and_wait([running])
        with suppress(OSError):  # a scheduler that has stopped has lost the event, too
            async with asyncio.timeout(_CLEAR):
                await _distributed().Event(key, client=client).clear()


def _to_export_error(error: Exception) -> ExportError:
    if isinstance(error, ExportError):
        return error
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
    distributed = _distributed()
    tasks = distributed.get_worker().state.tasks
    export = create_task(_export(config, key))
    try:
        while key in tasks and tasks[key].state != "cancelled":
            if (await asyncio.wait([export], timeout=_CANCEL_POLL_INTERVAL))[0]:
                return export.result()
    finally:
        await cancel_and_wait([export])
    with suppress(OSError):  # the caller may have cleared the event before this task has set it
        await distributed.Event(key).clear()
    raise asyncio.CancelledError


async def _export(config: WorkspaceConfig, key: str) -> WorkspaceResult:
    """Export a workspace while no other worker does; resume if this task began on a worker that died."""
    distributed, options = _distributed(), config.options
    lock = distributed.Lock(f"braze-segments {check_base_url(config.base_url)} {config.name}")
    # A dead worker's lock is held until its lease expires: dask's `distributed.scheduler.locks`.
    async with lock:
        begun = distributed.Event(key)
        try:
            if await begun.is_set():
                if config.finished and not options.overwrite:
                    return await asyncio.to_thread(_finished_before, config)
            elif not (options.resume and not options.overwrite and config.finished):
                _check_destination(config)
                await begun.set()
            config = evolve(config, options=evolve(options, resume=True))
        except BrazeError as error:
            return WorkspaceResult.of_error(config, error)
        return await export_workspace(config, on_progress=_Reporter(key, distributed.get_worker()))


class _Reporter:
    """Sends the progress of an export to its caller, by way of the scheduler; for `on_progress`."""

    def __init__(self, key: str, worker: Any) -> None:
        """Start with no message sent."""
        self._key, self._worker = key, worker
        self._sent = 0.0

    def __call__(self, _config: WorkspaceConfig, _client: BrazeSegments, progress: ExportProgress) -> None:
        """Send the progress, unless the last message is too recent."""
        now = time.monotonic()
        if now - self._sent >= _PROGRESS_EVERY:
            self._sent = now
            counts = {name: getattr(progress, name) for name in _COUNTS}
            self._worker.log_event(_TOPIC, {"key": self._key, **counts})


def _finished_before(config: WorkspaceConfig) -> WorkspaceResult:
    """Return the result of a worker that died when its export was finished."""
    return WorkspaceResult(
        name=config.name,
        path=config.path,
        rows=count_rows(config.path, config.options.format),
        failures=count_failures(config.path),
    )


def _check_destination(config: WorkspaceConfig) -> None:
    """Check that the export may write there, once: later a journal that exists is from this task."""
    options, path = config.options, config.path
    with file_errors(path):
        path = destination_path(path)  # a journal is beside what a link leads to
        with locked_destination(path, resume=options.resume, overwrite=options.overwrite) as target:
            if not options.resume:
                target.journal.unlink(missing_ok=True)
