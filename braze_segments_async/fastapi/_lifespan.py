"""The lifespan: one client and the exports of an app, from its start to its end."""

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
    """Return a lifespan that opens one client, and owns the exports, while the app runs.

    Args:
        make_client: Creates the client when the app starts, in the event loop of the server.
        exports: Directory for the files of this workspace, shared by all workers; `None` for no exports.
        resume: Resume the latest export, in any worker, after a shutdown or a crash ended it, and after an
            outage or a used-up rate limit made it fail.
        keep: Number of finished exports to keep with their files, and of unfinished ones. The oldest of each
            are removed when an export starts or ends. The newest finished export without failed segments is
            always kept.

    Returns:
        The argument of `FastAPI(lifespan=…)`. In your own lifespan: `async with braze_lifespan(…)(app):`.

    Raises:
        ConfigError: An argument is wrong.
    """
    if not callable(make_client):
        raise ConfigError(
            "make_client must be a function that returns a client, such as BrazeSegments.from_env without "
            "brackets, or lambda: BrazeSegments(…)"
        )
    check_callback("make_client", make_client)
    check_integer("keep", keep, at_least=1)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with make_client() as segments:
            jobs = None if exports is None else ExportJobs(segments, Path(exports), keep=keep)
            app.state.braze_segments, app.state.braze_exports = segments, jobs
            if jobs is not None and resume:
                await jobs.resume_unfinished()

            async def stop() -> None:
                if jobs is not None:
                    await jobs.stop()
                if segments.stats.paused_until is not None:
                    await segments.aclose()  # or the server waits for requests that wait for the rate limit

            stopping: set[asyncio.Task[None]] = set()
            with _before_server_stops(lambda: create_task(stop(), stopping)):
                try:
                    yield
                finally:
                    await stop()

    return lifespan


@contextmanager
def _before_server_stops(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` in the event loop when SIGINT or SIGTERM arrives, and then the server's own handler.

    A server ends the lifespan after its last connection, so a stream of events that waited for the end of the
    lifespan would never end.
    """
    if threading.current_thread() is not threading.main_thread():  # no signals here, as in a test client
        yield
        return
    loop = asyncio.get_running_loop()
    # Without a server there is no handler in Python, and the signal ends the process.
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
    """Return the client of the app, as a dependency. Tests may override it.

    Raises:
        ClosedError: The app has no client.
    """
    segments: BrazeSegments | None = getattr(connection.app.state, "braze_segments", None)
    if segments is None:
        raise ClosedError(
            "the app has no client: open one with FastAPI(lifespan=braze_lifespan(…)). FastAPI does not run "
            "the lifespan of a mounted app: in the outer one, use async with braze_lifespan(…)(mounted)"
        )
    return segments


async def get_exports(
    connection: HTTPConnection, _: Annotated[BrazeSegments, Depends(get_segments)]
) -> ExportJobs:
    """Return the exports of the app, as a dependency."""
    jobs: ExportJobs | None = getattr(connection.app.state, "braze_exports", None)
    if jobs is None:
        raise HTTPException(501, "this app has no exports: pass a directory, braze_lifespan(exports=…)")
    return jobs


Segments = Annotated[BrazeSegments, Depends(get_segments)]
Exports = Annotated[ExportJobs, Depends(get_exports)]
