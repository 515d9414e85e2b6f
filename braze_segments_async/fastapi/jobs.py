"""The exports of an app, as tasks that its lifespan owns."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from braze_segments_async.client import BrazeSegments
from braze_segments_async.errors import BrazeError, ClosedError, ExportError
from braze_segments_async.export import ExportProgress, ExportResult, export_segments, formats
from braze_segments_async.export.ndjson import visible
from braze_segments_async.log import logger
from braze_segments_async.tasks import start, stop

from .records import ExportRecords
from .schemas import Export, ExportOrder

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
        self.records = ExportRecords(directory)
        self._keep = keep
        self._job: _Job | None = None
        self._stopping = False
        self._stopped = asyncio.Event()
        self._readers: set[asyncio.Timeout] = set()

    async def start(self, segments: BrazeSegments, order: ExportOrder) -> tuple[Export, bool]:
        """Start an export, and return it and `True`; or the one that runs, and `False`.

        Raises:
            ConfigError: there can be no such file.
            ClosedError: the server is being stopped.
            ExportError: the directory cannot be written to.
        """
        formats.Layout(format=order.format, csv_safe=order.csv_safe, sizes=order.sizes).check()
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
        """Whether there is nothing more to do about it: the lock could be had."""
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
            await asyncio.wait([self._job.watching])
        self._stopped.set()
        for limit in self._readers:
            limit.reschedule(_now() + _LAST_EVENT)

    def _chosen(self, order: ExportOrder) -> Export:
        """The one to go on with, or a new one in the place of the oldest."""
        earlier = self.records.settle()
        latest = next((export for export in earlier if order.agrees_with(export.order)), None)
        if order.resume and latest is not None and latest.state != "done":
            said = order.model_dump(exclude_unset=True)
            return _again(latest, latest.order.model_copy(update=said))
        for export in earlier[self._keep - 1 :]:
            self.records.remove(export)
        return Export(id=uuid4(), created_at=datetime.now(UTC), order=order)

    def _run(self, segments: BrazeSegments, export: Export, held: ExitStack) -> Export:
        self.records.ask_to_cancel(export, asked=False)
        self.records.save(export)
        self._job = _Job(export, segments, self.records.target(export))
        self._job.watching = start(self._watch(self._job, held.pop_all()))
        return export

    async def _watch(self, job: "_Job", held: ExitStack) -> None:
        """Tell how it stands, and hear whether it is to end, until it has."""
        with held:
            try:
                while not (await asyncio.wait([job.work], timeout=_TICK))[0]:
                    self._look(job)
            finally:
                await stop([job.work])  # over by now, but where somebody has ended this task
                self._look(job)

    def _look(self, job: "_Job") -> None:
        export = job.now()
        if self.records.asked_to_cancel(export):
            job.cancel("request")
        with suppress(ExportError):  # a full disk ends the export by itself
            self.records.save(export)


class _Job:
    """An export that runs in this process."""

    watching: asyncio.Task[None]

    def __init__(self, export: Export, segments: BrazeSegments, path: Path) -> None:
        self._export, order = export, export.order
        self._segments = segments
        self.work: asyncio.Task[ExportResult] = start(
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

    def now(self) -> Export:
        """How it stands."""
        if not self.work.done():
            self._change(paused_until=self._segments.stats.paused_until)
        elif self._export.ended_at is None:
            self._change(ended_at=datetime.now(UTC), paused_until=None)
            if self.work.cancelled():
                self._change(state="cancelled", cancelled_by=self._export.cancelled_by or "shutdown")
            elif (error := self.work.exception()) is None:
                self._change(state="done", cancelled_by=None)
            else:
                self._change(state="failed", cancelled_by=None, error=_explained(error))
            logger.info("export %s: %s %s", self._export.id, self._export.state, self._export.error or "")
        return self._export


def _again(export: Export, order: ExportOrder) -> Export:
    """The same export, as it stands before it runs."""
    return Export(id=export.id, created_at=export.created_at, order=order)


def _explained(error: BaseException) -> str:
    if isinstance(error, BrazeError):
        return visible(str(error))
    logger.error("an export met what is not foreseen", exc_info=error)
    return f"an error that is not foreseen, {type(error).__name__}: the log of the server has more of it"


def _now() -> float:
    return asyncio.get_running_loop().time()
