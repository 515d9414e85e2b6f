"""The exports of an app, as tasks that its lifespan owns."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from braze_segments_async._client import BrazeSegments
from braze_segments_async._support import create_task
from braze_segments_async._text import logger
from braze_segments_async.errors import BrazeError, ClosedError, ExportError
from braze_segments_async.export import ExportOptions, ExportProgress, export_segments
from braze_segments_async.export._formats.ndjson import replace_surrogates

from ._errors import public_text
from ._schemas import Export, ExportRequest
from ._store import ExportStore

__all__ = ["ExportJobs"]

_TICK = 0.2  # seconds between two reads or writes of a record
_LOCK_TIMEOUT = 1.0  # seconds to wait for the lock while no record says which export runs
_CANCEL_TIMEOUT = 5.0  # seconds to wait for the end of a cancelled export
_LAST_EVENT_TIMEOUT = 0.1  # seconds for a reader to receive the last event
_loop = asyncio.get_running_loop
_COUNTS = ("pages", "listed", "total", "done", "failed", "archived", "resumed")


class ExportJobs:
    """The exports of one workspace, of which one at a time runs, in any worker.

    Attributes:
        store: The records and files of all exports.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        """Create the directory; for the arguments see `braze_lifespan`.

        Raises:
            ExportError: The directory cannot be created.
        """
        self.store = ExportStore(directory)
        self._keep = keep
        self._job: _Job | None = None
        self._stopping = False
        self._stopped = asyncio.Event()
        self._streams: set[asyncio.Timeout] = set()

    async def start(self, segments: BrazeSegments, request: ExportRequest) -> tuple[Export, bool]:
        """Start an export.

        Returns:
            The new export and `True`, or the export that runs already and `False`.

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
            return self._run(segments, self._choose(request), lock), True

    async def resume(self, segments: BrazeSegments) -> None:
        """Resume the latest export if a shutdown or a crash ended it, unless another worker runs one."""
        with suppress(ExportError):  # is logged, and reported to the next request
            lock = await self._lock()
            if isinstance(lock, Export):
                return
            with lock:
                for latest in self.store.mark_interrupted()[:1]:
                    if latest.state == "interrupted" or latest.cancelled_by == "shutdown":
                        self._run(segments, _restarted(latest, latest.order), lock)

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
        """Yield an export each time it has changed, until it has ended or the server is stopped.

        A slow reader delays nothing, and misses the states in between.
        """
        yield export
        while export.state == "running" and not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK)
            before, export = export, self.store.get(export.id) or export
            if export != before:
                yield export

    @asynccontextmanager
    async def bounded_stream(self) -> AsyncIterator[None]:
        """Cut off a stream that is still open shortly after `stop`, since nobody may read it."""
        async with asyncio.timeout(None) as limit:
            self._streams.add(limit)
            try:
                yield
            finally:
                self._streams.discard(limit)

    async def stop(self) -> None:
        """Cancel the export of this process, keep its journal, and then end the streams."""
        self._stopping = True
        if self._job is not None:
            self._job.cancel("shutdown")
            _, late = await asyncio.wait([self._job.work], timeout=_CANCEL_TIMEOUT)
            if late:  # such as a task that an exception of a signal handler has taken out of the event loop
                self._job.abandon()
                self._save(self._job)
        self._stopped.set()
        for limit in self._streams:
            limit.reschedule(_loop().time() + _LAST_EVENT_TIMEOUT)

    async def _lock(self) -> ExitStack | Export:
        """Return the lock, or the export of the process that holds it."""
        deadline = _loop().time() + _LOCK_TIMEOUT
        while not self._stopping:
            lock = ExitStack()
            try:
                lock.enter_context(self.store.lock())
            except ExportError:
                if _loop().time() > deadline:
                    raise
            else:
                return lock
            # The holder may not have saved its record yet, or may only look whether an export runs.
            if running := [export for export in self.store.all() if export.state == "running"]:
                return running[0]
            await asyncio.sleep(_LOCK_TIMEOUT / 50)
        raise ClosedError("the server is being stopped: try again in a moment")

    def _choose(self, request: ExportRequest) -> Export:
        """Return the export to resume, or a new one."""
        self.store.mark_interrupted()
        self._remove_old()  # here, too: a process that is killed never removes anything at the end
        latest = next((export for export in self.store.all() if request.matches(export.order)), None)
        if request.resume and latest is not None and latest.state != "done":
            given = request.model_dump(exclude_unset=True)
            return _restarted(latest, latest.order.model_copy(update=given))
        return Export(id=uuid4(), created_at=datetime.now(UTC), order=request)

    def _run(self, segments: BrazeSegments, export: Export, lock: ExitStack) -> Export:
        self.store.add(export)
        self._job = job = _Job(export, segments, self.store.path(export))
        # A callback, since a task that is cancelled before its first step never runs its `finally`. It is the
        # first callback, so that those who wait for the task find the state saved and the lock released.
        job.work.add_done_callback(partial(self._finish, job, lock.pop_all()))
        _loop().call_later(_TICK, self._watch, job)
        return export

    def _watch(self, job: "_Job") -> None:
        """Save the progress of an export, and cancel it on request, until it has ended."""
        if job.work.done():
            return
        try:
            self._save(job)
        except BaseException as error:  # otherwise nobody could see or cancel the export
            job.work.cancel()
            logger.error("export %s is stopped: its state cannot be saved", job.export.id, exc_info=error)
            raise  # to the event loop: KeyboardInterrupt ends it
        else:
            _loop().call_later(_TICK, self._watch, job)

    def _finish(self, job: "_Job", lock: ExitStack, _: object) -> None:
        """Save the last state of an export, remove old exports, and release the lock.

        If the last state cannot be saved, the export counts as interrupted once the lock is released.
        """
        with lock:
            self._save(job)
            self._remove_old()

    def _save(self, job: "_Job") -> None:
        export = job.update()
        with suppress(ExportError):  # the export itself does not need the database
            self.store.update(export)
            if self.store.cancel_requested(export):
                job.cancel("request")

    def _remove_old(self) -> None:
        """Remove the oldest exports: `keep` finished ones remain, `keep` others, and the running one.

        The newest finished export without failed segments always remains.
        """
        with suppress(ExportError):
            exports = self.store.all()
            finished = [export for export in exports if export.state == "done"]
            others = [export for export in exports if export.state not in {"done", "running"}]
            complete = [export for export in finished if not export.failed][:1]
            for export in finished[self._keep :] + others[self._keep :]:
                if export not in complete:
                    try:
                        self.store.remove(export)
                    except ExportError as error:
                        logger.error("could not remove the files of an old export: %s", error)


class _Job:
    """An export that runs in this process."""

    def __init__(self, export: Export, segments: BrazeSegments, path: Path) -> None:
        self.export = export
        self._segments = segments
        # `resume` and `overwrite`, since everything at this path is of this export.
        self.work = create_task(
            export_segments(
                segments,
                path,
                resume=True,
                overwrite=True,
                on_progress=self._on_progress,
                **export.order.options(),
            )
        )

    def _on_progress(self, progress: ExportProgress) -> None:
        self._change(**{name: getattr(progress, name) for name in _COUNTS})

    def _change(self, **changes: Any) -> None:
        self.export = self.export.model_copy(update=changes)

    def cancel(self, by: Literal["request", "shutdown"]) -> None:
        """Cancel the export, once: a second call would interrupt its cleanup."""
        if self.export.cancelled_by is None and not self.work.done():
            self._change(cancelled_by=by)
            self.work.cancel()

    def abandon(self) -> None:
        """Count an export as interrupted that does not end, so that it does not seem to run for ever."""
        if self.export.ended_at is None:
            self._end(state="interrupted", cancelled_by=None)
            logger.error("export %s does not end: it counts as interrupted", self.export.id)

    def update(self) -> Export:
        """Update the state of the export, and return the export."""
        if not self.work.done():
            self._change(paused_until=self._segments.stats.paused_until)
        elif self.export.ended_at is None:
            self._end(**self._outcome())
        return self.export

    def _end(self, **changes: Any) -> None:
        self._change(ended_at=datetime.now(UTC), paused_until=None, **changes)

    def _outcome(self) -> dict[str, Any]:
        """Return the last state. Only a task that returned is done: a `BaseException` is a failure, too."""
        export_id = self.export.id
        if self.work.cancelled():  # a cancellation that nobody requested is an interruption
            state = "interrupted" if self.export.cancelled_by is None else "cancelled"
            logger.info("export %s: %s", export_id, state)
            return {"state": state}
        error = self.work.exception()
        if error is None:
            logger.info("export %s: done", export_id)
            return {"state": "done", "cancelled_by": None}
        if isinstance(error, BrazeError):
            logger.error("export %s: failed: %s", export_id, error)
            text = replace_surrogates(public_text(error))
        else:
            logger.error("export %s: failed unexpectedly", export_id, exc_info=error)
            text = f"unexpected error, {type(error).__name__}: the log of this server has the traceback"
        return {"state": "failed", "cancelled_by": None, "error": text}


def _restarted(export: Export, request: ExportRequest) -> Export:
    """Return an export as it is before it runs."""
    return Export(id=export.id, created_at=export.created_at, order=request)
