"""The exports of an app, as tasks that its lifespan owns."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from braze_segments_async._client import BrazeSegments
from braze_segments_async._support import create_task
from braze_segments_async._text import logger
from braze_segments_async.errors import BrazeError, ClosedError, ExportError, RateLimitedError
from braze_segments_async.export import ExportOptions, ExportProgress, export_segments
from braze_segments_async.export._formats.ndjson import replace_surrogates

from ._errors import public_text, seconds_to_reset
from ._schemas import Export, ExportRequest, State
from ._store import ExportStore, StoreError

__all__ = ["ExportJobs"]

# All in seconds.
_TICK = 0.2  # between two reads or writes of a record
_RESUME_EVERY = 1.0  # between two searches for an export to resume
_LOCK_TIMEOUT = 1.0  # for the lock, while no record says which export runs
_CANCEL_TIMEOUT = 5.0  # for the end of a cancelled export
_LAST_EVENT_TIMEOUT = 0.1  # for a reader to receive the last event
_MAX_RATE_LIMIT_WAIT = 3_900.0  # without progress: an hour, as the windows of the rate limit, and a little
_MIN_RATE_LIMIT_WAIT = 5.0
_MAX_RESUME_DELAY = 300.0  # from one run to the next, which doubles with each run
_MAX_RUNS = 100  # so that an export that kills its worker does not do so for ever
_COUNTS = ("pages", "listed", "total", "done", "failed", "archived", "resumed")


class ExportJobs:
    """The exports of one workspace, of which one at a time runs, in any worker.

    Attributes:
        store: The records and files of all exports.
        streams: Time limits of the open streams of events, which `stop` sets.
    """

    def __init__(self, segments: BrazeSegments, directory: Path, *, keep: int) -> None:
        """Create the directory, or raise `ExportError`; for the arguments see `braze_lifespan`."""
        self.store = ExportStore(directory)
        self.streams: set[asyncio.Timeout] = set()
        self._segments = segments
        self._keep = keep
        self._export: Export  # the latest one that this process runs or ran, in `_task`
        self._task: asyncio.Task[None] | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._problem = ""  # which prevents that an export is resumed, and is logged once
        self._stopping = False
        self._stopped = asyncio.Event()

    async def start(self, request: ExportRequest) -> tuple[Export, bool]:
        """Return a new or resumed export and `True`, or the export that runs already and `False`.

        Raises:
            ConfigError: The options do not go together.
            ClosedError: The server is being stopped.
            ExportError: The directory or the database cannot be written to.
        """
        ExportOptions(**request.options())  # raises if they do not go together
        lock = await self._lock()
        if isinstance(lock, Export):
            return lock, False
        with lock:
            self.store.mark_interrupted()
            self._remove_old()  # here, too: a process that is killed never removes anything at the end
            export = next((export for export in self.store.all() if request.matches(export.order)), None)
            if request.resume and export is not None and export.state != "done":
                export = _new_run(export, **request.model_dump(exclude_unset=True))
            else:
                export = _new_run(Export(id=uuid4(), created_at=datetime.now(UTC), order=request))
            return self._run(export, lock), True

    async def resume_unfinished(self) -> None:
        """Resume the latest export now and until `stop`, each time that no worker runs it and it is due."""
        await self._resume_if_due()
        self._resuming = create_task(self._keep_resuming())

    async def cancel(self, export: Export) -> Export:
        """Cancel an export, in whichever worker it runs, keep its journal, and return its last state."""
        if export.state != "running":
            return export
        self.store.request_cancel(export)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_TIMEOUT), aclosing(self.follow(export)) as states:
                async for state in states:
                    export = state
        return export

    async def follow(self, export: Export) -> AsyncGenerator[Export, None]:
        """Yield an export each time it has changed, until it ends or is removed, or the server is stopped.

        A slow reader delays nothing, and misses the states in between.
        """
        yield export
        while export.state == "running" and not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK)
            latest = self.store.get(export.id)
            if latest is None:
                return
            if latest != export:
                yield (export := latest)

    async def stop(self) -> None:
        """Cancel the export of this process, keep its journal, and then end the streams."""
        if self._stopping:  # by a signal, before the end of the lifespan
            await self._stopped.wait()
            return
        self._stopping = True
        if self._resuming is not None:
            self._resuming.cancel()
        if self._task is not None:
            self._cancel("shutdown")
            _, late = await asyncio.wait([self._task], timeout=_CANCEL_TIMEOUT)
            if late:  # such as a task that an exception of a signal handler has taken out of the event loop
                logger.error("export %s does not end: it counts as interrupted", self._export.id)
                self._end("interrupted")
                self._save()
        self._stopped.set()
        for limit in self.streams:
            limit.reschedule(asyncio.get_running_loop().time() + _LAST_EVENT_TIMEOUT)

    async def _keep_resuming(self) -> None:
        while True:
            await asyncio.sleep(_RESUME_EVERY)
            await self._resume_if_due()

    async def _resume_if_due(self) -> None:
        try:
            if any(latest.is_due for latest in self.store.all()[:1]):
                lock = await self._lock()
                if isinstance(lock, Export):  # another worker was faster
                    return
                with lock:
                    for latest in self.store.mark_interrupted()[:1]:
                        if (
                            latest.is_due
                        ):  # still: another worker may have resumed it, until the lock was free
                            logger.warning("export %s is resumed: it was %s", latest.id, latest.state)
                            self._run(_new_run(latest, runs=latest.runs + 1), lock)
            self._problem = ""
        except ExportError as error:
            if not isinstance(error, StoreError) and str(error) != self._problem:  # the store logs its own
                logger.error("no export can be resumed: %s", error)
                self._problem = str(error)

    async def _lock(self) -> ExitStack | Export:
        """Return the lock, or the export of the process that holds it."""
        deadline = asyncio.get_running_loop().time() + _LOCK_TIMEOUT
        while not self._stopping:
            try:
                with ExitStack() as lock:
                    lock.enter_context(self.store.lock())
                    return lock.pop_all()
            except ExportError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            # The holder may not have saved its record yet, or may only look whether an export runs.
            if running := [export for export in self.store.all() if export.state == "running"]:
                return running[0]
            await asyncio.sleep(_LOCK_TIMEOUT / 50)
        raise ClosedError("the server is being stopped: try again in a moment")

    def _run(self, export: Export, lock: ExitStack) -> Export:
        self.store.add(export)
        self._export = export
        self._task = task = create_task(self._work(self.store.path(export)))
        # A callback, since a task that is cancelled before its first step never runs its `finally`. It is the
        # first callback, so that those who wait for the task find the state saved and the lock released.
        task.add_done_callback(partial(self._finish, lock.pop_all()))
        asyncio.get_running_loop().call_later(_TICK, self._watch, task)
        return export

    async def _work(self, path: Path) -> None:
        """Export, and wait for the rate limit for longer than a request does that somebody waits for."""
        options = self._export.order.options()
        waited, done = 0.0, -1
        while True:
            try:
                # `resume` and `overwrite`, since everything at this path is of this export.
                await export_segments(
                    self._segments,
                    path,
                    resume=True,
                    overwrite=True,
                    on_progress=self._on_progress,
                    **options,
                )
            except RateLimitedError as error:
                if self._export.done > done:
                    waited, done = 0.0, self._export.done
                seconds = max(seconds_to_reset(error) or 0.0, _MIN_RATE_LIMIT_WAIT)
                waited += seconds
                if waited > _MAX_RATE_LIMIT_WAIT:
                    raise
            else:
                return
            await asyncio.sleep(seconds)

    def _on_progress(self, progress: ExportProgress) -> None:
        self._change(**{name: getattr(progress, name) for name in _COUNTS})

    def _change(self, **changes: Any) -> None:
        self._export = self._export.model_copy(update=changes)

    def _cancel(self, by: Literal["request", "shutdown"]) -> None:
        """Cancel the export, once: a second call would interrupt its cleanup."""
        if self._task is not None and not self._task.done() and self._export.cancelled_by is None:
            self._change(cancelled_by=by)
            self._task.cancel()

    def _watch(self, task: asyncio.Task[None]) -> None:
        """Save the progress of an export, and cancel it on request, until it has ended."""
        if task.done() or self._export.ended_at is not None:  # by `stop`, which did not wait any longer
            return
        try:
            stats = self._segments.stats
            if stats.paused_until is not None and self._export.paused_until is None:
                logger.warning(
                    "export %s waits until %s: %s", self._export.id, stats.paused_until, stats.pause_reason
                )
            self._change(paused_until=stats.paused_until)
            self._save()
        except BaseException as error:  # otherwise nobody could see or cancel the export
            task.cancel()
            logger.error("export %s is stopped: its state cannot be saved", self._export.id, exc_info=error)
            raise  # to the event loop: KeyboardInterrupt ends it
        asyncio.get_running_loop().call_later(_TICK, self._watch, task)

    def _finish(self, lock: ExitStack, task: asyncio.Task[None]) -> None:
        """Save the last state of an export, remove old exports, and release the lock.

        If the last state cannot be saved, the export counts as interrupted once the lock is released.
        """
        with lock:
            if self._export.ended_at is None:
                if task.cancelled():  # a cancellation that nobody requested is an interruption
                    self._end("cancelled" if self._export.cancelled_by else "interrupted")
                else:
                    error = task.exception()
                    self._end("failed" if error else "done", error)
            self._save()
            self._remove_old()

    def _save(self) -> None:
        with suppress(ExportError):  # the export itself does not need the database
            self.store.update(self._export)
            if self.store.cancel_requested(self._export):
                self._cancel("request")

    def _end(self, state: State, error: BaseException | None = None) -> None:
        """Set and log the last state. Only a task that returned is done: a `BaseException` is a failure."""
        export, now, text, resume_at = self._export, datetime.now(UTC), None, None
        if state == "interrupted":
            logger.error("export %s was interrupted", export.id)
            resume_at = export.resume_at
        elif state == "cancelled":
            logger.info("export %s was cancelled by a %s", export.id, export.cancelled_by)
            resume_at = now if export.cancelled_by == "shutdown" else None
        elif state == "done" and export.failed:
            logger.warning("export %s is partial: %d segments failed", export.id, export.failed)
        elif state == "done":
            logger.info("export %s is done: %d segments", export.id, export.done)
        elif isinstance(error, BrazeError):
            logger.error("export %s failed: %s", export.id, error)
            text = replace_surrogates(public_text(error))
            if isinstance(error, RateLimitedError):
                reset = now + timedelta(seconds=seconds_to_reset(error) or 0.0)
                resume_at = export.resume_at and max(export.resume_at, reset)
            elif error.retryable:  # such as an outage
                resume_at = export.resume_at
        else:
            logger.error("export %s failed unexpectedly", export.id, exc_info=error)
            text = f"unexpected error, {type(error).__name__}: the log of this server has the traceback"
        by = export.cancelled_by if state == "cancelled" else None
        self._change(
            state=state, ended_at=now, cancelled_by=by, error=text, paused_until=None, resume_at=resume_at
        )

    def _remove_old(self) -> None:
        """Remove the oldest exports: `keep` finished ones remain, `keep` others, and the running one.

        The newest finished export without failed segments always remains.
        """
        with suppress(ExportError):
            exports = self.store.all()
            done = [export for export in exports if export.state == "done"]
            others = [export for export in exports if export.state not in {"done", "running"}]
            complete = [export for export in done if not export.failed][:1]
            for export in done[self._keep :] + others[self._keep :]:
                if export not in complete:
                    try:
                        self.store.remove(export)
                    except ExportError as error:
                        logger.error("could not remove the files of an old export: %s", error)


def _new_run(export: Export, *, runs: int = 1, **order: Any) -> Export:
    """Return an export as it is before a run, with `order` in place of earlier options.

    It may be resumed later, unless its end says otherwise.
    """
    delay = timedelta(seconds=min(2.0**runs - 2.0, _MAX_RESUME_DELAY))
    return Export(
        id=export.id,
        created_at=export.created_at,
        order=export.order.model_copy(update=order),
        runs=runs,
        resume_at=datetime.now(UTC) + delay if runs < _MAX_RUNS else None,
    )
