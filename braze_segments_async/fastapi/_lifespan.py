"""The life of a client in an app, and what lets the app end in time."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from os import PathLike
from pathlib import Path
from types import FrameType
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.requests import HTTPConnection

from braze_segments_async._arguments import check_callback, check_integer
from braze_segments_async._client import BrazeSegments
from braze_segments_async._support import create_task
from braze_segments_async.errors import ClosedError, ConfigError

from ._jobs import ExportJobs

__all__ = ["Exports", "Segments", "braze_lifespan", "get_exports", "get_segments"]


def braze_lifespan(
    make_client: Callable[[], BrazeSegments] = BrazeSegments.from_env,
    *,
    exports: str | PathLike[str] | None = None,
    resume: bool = False,
    keep: int = 10,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """A lifespan with one open client, and the exports, for as long as the app runs.

    Args:
        make_client: makes the client when the app starts, in the event loop that serves.
        exports: the directory for the files, of this one workspace; all workers share it. Without one there
            are no exports.
        resume: go on, when the app starts, with an export that a shutdown or a crash has ended.
        keep: the number of finished exports that are kept with their files, and of exports that have not
            finished; the end of an export removes the oldest beyond that. The newest finished export without
            failed segments is always kept.

    Returns:
        What `FastAPI(lifespan=…)` takes. In a lifespan of your own: `async with braze_lifespan(…)(app):`.

    Raises:
        ConfigError: an argument is wrong.
    """
    if not callable(make_client):
        raise ConfigError(
            "make_client is called when the app starts, and makes the client: BrazeSegments.from_env without "
            "brackets, or lambda: BrazeSegments(…)"
        )
    check_callback("make_client", make_client)
    check_integer("keep", keep, at_least=1)
    jobs = None if exports is None else lambda: ExportJobs(Path(exports), keep=keep)
    return lambda app: _lifespan(app, make_client, jobs, resume=resume)


@asynccontextmanager
async def _lifespan(
    app: FastAPI,
    make_client: Callable[[], BrazeSegments],
    make_jobs: Callable[[], ExportJobs] | None,
    *,
    resume: bool,
) -> AsyncIterator[None]:
    async with make_client() as segments:
        jobs = None if make_jobs is None else make_jobs()
        app.state.braze_segments, app.state.braze_exports = segments, jobs
        if jobs is not None and resume:
            await jobs.resume(segments)

        async def stop() -> None:
            if jobs is not None:
                await jobs.stop()
            if segments.stats.paused_until is not None:
                await segments.aclose()  # else requests that wait for the rate limit are waited for

        stopping: set[asyncio.Task[None]] = set()
        with _signalled(lambda: create_task(stop(), stopping)):
            try:
                yield
            finally:
                await stop()


@contextmanager
def _signalled(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` in the event loop at the signal that ends the server; then the server's own handler.

    A server ends the lifespan only after its last connection: a stream of events would wait for the end of
    the lifespan, which waits for the end of the stream.
    """
    if threading.current_thread() is not threading.main_thread():  # no signal comes here: a test client's
        yield
        return
    loop = asyncio.get_running_loop()
    # Where no server listens, the signal ends the process, as it should.
    servers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if callable(handler := signal.getsignal(number))
    }

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop)
        servers[signal.Signals(number)](number, frame)

    for number in servers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in servers.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)


async def get_segments(connection: HTTPConnection) -> BrazeSegments:
    """The dependency: the client of the app. Tests may override it with one of their own.

    Raises:
        ClosedError: the app has none.
    """
    segments: BrazeSegments | None = getattr(connection.app.state, "braze_segments", None)
    if segments is None:
        raise ClosedError(
            "the app has no client: FastAPI(lifespan=braze_lifespan(…)) opens one. The lifespan of a mounted "
            "app is never run: async with braze_lifespan(…)(mounted_app), in the lifespan of the outer one"
        )
    return segments


async def get_exports(connection: HTTPConnection) -> ExportJobs:
    """The dependency: the exports of the app."""
    await get_segments(connection)
    jobs: ExportJobs | None = connection.app.state.braze_exports
    if jobs is None:
        raise HTTPException(501, "this app makes no exports: braze_lifespan(exports=…) names a directory")
    return jobs


Segments = Annotated[BrazeSegments, Depends(get_segments)]
Exports = Annotated[ExportJobs, Depends(get_exports)]
