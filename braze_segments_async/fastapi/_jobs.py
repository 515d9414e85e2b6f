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
from braze_segments_async.export import ExportOptions, ExportProgress, ExportResult, export_segments
from braze_segments_async.export._formats.ndjson import replace_surrogates

from ._errors import public_text
from ._schemas import Export, ExportRequest
from ._store import ExportStore

__all__ = ["ExportJobs"]

_TICK = 0.2  # seconds between two looks at an export
_PATIENCE = 1.0  # … for the worker that has the lock to say what it exports
_END = 5.0  # … for an export that was cancelled to end
_LAST_EVENT = 0.1  # … for a reader to take it
_COUNTS = ("pages", "listed", "total", "done", "failed", "archived", "resumed")


class ExportJobs:
    """The exports of one workspace: one at a time, whichever worker runs it.

    Attributes:
        records: how they stand.
    """

    def __init__(self, directory: Path, *, keep: int) -> None:
        """See `braze_lifespan`.

        Raises:
            ExportError: the directory cannot be made.
        """
        self.records = ExportStore(directory)
        self._keep = keep
        self._job: _Job | None = None
        self._stopping = False
        self._stopped = asyncio.Event()
        self._readers: set[asyncio.Timeout] = set()

    async def start(self, segments: BrazeSegments, order: ExportRequest) -> tuple[Export, bool]:
        """Start an export, and return it and `True`; or the one that runs, and `False`.

        Raises:
            ConfigError: there can be no such file.
            ClosedError: the server is being stopped.
            ExportError: the directory cannot be written to.
        """
        ExportOptions(format=order.format, csv_safe=order.csv_safe, sizes=order.sizes)  # checked
        gives_up = _now() + _PATIENCE
        while not self._stopping:
            with ExitStack() as held:
                try:
                    held.enter_context(self.records.claim())
                except ExportError:
                    if _now() > gives_up:
                        raise
                else:
                    return self._run(segments, self._chosen(order), held), True
            running = self.records.running()
            if running is not None:
                return running, False
            await asyncio.sleep(_PATIENCE / 50)
        raise ClosedError("the server is being stopped: try again in a moment")

    async def resume(self, segments: BrazeSegments) -> None:
        """Go on with the latest export if a shutdown or a crash has ended it, unless another worker does."""
        for _ in range(5):  # who only looks whether an export runs has the lock for a moment, too
            if self._resumed(segments):
                break
            await asyncio.sleep(_PATIENCE / 50)

    def _resumed(self, segments: BrazeSegments) -> bool:
        """Resume if possible, and return whether the lock was acquired."""
        with ExitStack() as held, suppress(ExportError):
            held.enter_context(self.records.claim())
            latest = next(iter(self.records.settle()), None)
            if latest is not None and (latest.state == "interrupted" or latest.cancelled_by == "shutdown"):
                self._run(segments, _again(latest, latest.order), held)
            return True
        return False

    async def cancel(self, export: Export) -> Export:
        """End an export, whichever worker runs it, and keep its journal; how it stands then."""
        if export.state != "running":
            return export
        self.records.ask_to_cancel(export)
        with suppress(TimeoutError):
            async with asyncio.timeout(_END), aclosing(self.follow(export)) as states:
                async for state in states:
                    export = state
        return export

    async def follow(self, export: Export) -> AsyncGenerator[Export, None]:
        """How an export stands, each time that has changed, until it is over or the server is stopped.

        A slow reader holds up nobody, and misses what was in between.
        """
        yield export
        while export.state == "running" and not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), _TICK)
            before, export = export, self.records.get(export.id) or export
            if export != before:
                yield export

    @asynccontextmanager
    async def cut_off(self) -> AsyncIterator[None]:
        """Around a stream: one that nobody reads cannot hold up the server that is being stopped."""
        async with asyncio.timeout(None) as limit:
            self._readers.add(limit)
            try:
                yield
            finally:
                self._readers.discard(limit)

    async def stop(self) -> None:
        """End the export of this process, keep its journal, and then end the streams."""
        self._stopping = True
        if self._job is not None:
            self._job.cancel("shutdown")
            _, late = await asyncio.wait([self._job.work, self._job.watching], timeout=_END)
            if late:  # such as a task that a signal handler's exception has taken out of the event loop
                self._job.abandon()
                self._look(self._job)
        self._stopped.set()
        for limit in self._readers:
            limit.reschedule(_now() + _LAST_EVENT)

    def _chosen(self, order: ExportRequest) -> Export:
        """Return the export to resume, or a new one."""
        self.records.settle()
        self._make_room()  # a process that is killed does not come to this in the end
        agreeing = (export for export in self.records.all() if order.agrees_with(export.order))
        latest = next(agreeing, None)
        if order.resume and latest is not None and latest.state != "done":
            said = order.model_dump(exclude_unset=True)
            return _again(latest, latest.order.model_copy(update=said))
        return Export(id=uuid4(), created_at=datetime.now(UTC), order=order)

    def _run(self, segments: BrazeSegments, export: Export, held: ExitStack) -> Export:
        self.records.ask_to_cancel(export, asked=False)
        self.records.save(export)
        self._job = _Job(export, segments, self.records.target(export))
        # A callback, since a task that is cancelled before its first step never runs its `finally`; the first
        # callback, so that those who wait for the task find the state saved and the lock released.
        self._job.work.add_done_callback(partial(self._finish, self._job, held.pop_all()))
        self._job.watching = create_task(self._watch(self._job))
        self._job.watching.add_done_callback(self._job.end_unwatched)
        return export

    async def _watch(self, job: "_Job") -> None:
        """Save the state of an export, and cancel it on request, until it has ended."""
        while not (await asyncio.wait([job.work], timeout=_TICK))[0]:
            self._look(job)

    def _finish(self, job: "_Job", held: ExitStack, _: object) -> None:
        """Save the last state of an export, make room, and release the lock.

        Without the lock an export whose last state could not be saved counts as interrupted, not as running.
        """
        with held:
            self._look(job)
            self._make_room()

    def _look(self, job: "_Job") -> None:
        export = job.now()
        with suppress(ExportError):  # a full disk ends the export by itself
            if self.records.asked_to_cancel(export):
                job.cancel("request")
            self.records.save(export)

    def _make_room(self) -> None:
        """Remove the oldest exports: of the finished ones and of the others, `keep` of each remain.

        The newest finished export without failed segments remains, too.
        """
        finished: list[Export] = []
        others: list[Export] = []
        for export in self.records.all():
            if export.state != "running":
                (finished if export.state == "done" else others).append(export)
        newest_complete = next((export for export in finished if not export.failed), None)
        for export in finished[self._keep :] + others[self._keep :]:
            if export is not newest_complete:
                try:
                    self.records.remove(export)
                except ExportError as error:
                    logger.error("the files of an old export cannot be removed: %s", error)


class _Job:
    """An export that runs in this process."""

    watching: asyncio.Task[None]

    def __init__(self, export: Export, segments: BrazeSegments, path: Path) -> None:
        self.id = export.id
        self._export, order = export, export.order
        self._segments = segments
        self.work: asyncio.Task[ExportResult] = create_task(
            export_segments(
                segments,
                path,
                format=order.format,
                consistency=order.consistency,
                resume=True,  # whatever is at this path is of this export
                resume_within=order.resume_within,
                overwrite=True,
                allow_partial=order.allow_partial,
                csv_safe=order.csv_safe,
                sizes=order.sizes,
                on_progress=self._tell,
            )
        )

    def _tell(self, progress: ExportProgress) -> None:
        self._change(**{name: getattr(progress, name) for name in _COUNTS})

    def _change(self, **changes: Any) -> None:
        self._export = self._export.model_copy(update=changes)

    def cancel(self, by: Literal["request", "shutdown"]) -> None:
        """End it. Only the first call does: what it has to do to end is not to be disturbed."""
        if self._export.cancelled_by is None and not self.work.done():
            self._change(cancelled_by=by)
            self.work.cancel()

    def end_unwatched(self, watching: asyncio.Task[None]) -> None:
        """Cancel an export whose state is not saved any more, and which no request could cancel."""
        if not self.work.done():
            self.work.cancel()
            if not watching.cancelled():
                error = watching.exception()
                logger.error("export %s is stopped: its state cannot be followed", self.id, exc_info=error)

    def abandon(self) -> None:
        """Count an export that does not end as interrupted, so that it does not seem to run for ever."""
        if self._export.ended_at is None:
            self._change(
                state="interrupted", cancelled_by=None, ended_at=datetime.now(UTC), paused_until=None
            )
            logger.error("export %s does not end: it counts as interrupted", self.id)

    def now(self) -> Export:
        """How it stands."""
        if not self.work.done():
            self._change(paused_until=self._segments.stats.paused_until)
        elif self._export.ended_at is None:
            self._change(ended_at=datetime.now(UTC), paused_until=None)
            self._end()
        return self._export

    def _end(self) -> None:
        """Enter the last state. Only a task that returned is done: a `BaseException` is a failure, too."""
        error = None if self.work.cancelled() else self.work.exception()
        if self.work.cancelled():  # a cancellation that nobody asked for is an interruption
            self._change(state="interrupted" if self._export.cancelled_by is None else "cancelled")
        elif error is None:
            self._change(state="done", cancelled_by=None)
        else:
            self._change(state="failed", cancelled_by=None, error=_explained(error))
        if isinstance(error, BrazeError):
            logger.error("export %s: failed: %s", self._export.id, error)
        elif error is not None:
            logger.error("export %s: failed unexpectedly", self._export.id, exc_info=error)
        else:
            logger.info("export %s: %s", self._export.id, self._export.state)


def _again(export: Export, order: ExportRequest) -> Export:
    """The same export, as it stands before it runs."""
    return Export(id=export.id, created_at=export.created_at, order=order)


def _explained(error: BaseException) -> str:
    """Return the reason of a failure for a client of this server."""
    if isinstance(error, BrazeError):
        return replace_surrogates(public_text(error))
    return f"an unexpected error, {type(error).__name__}: the log of this server says more"


def _now() -> float:
    return asyncio.get_running_loop().time()
