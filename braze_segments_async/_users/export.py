"""The users of a segment: an export that Braze makes into a file, waited for and read.

Nothing of a user, and nothing of the url that leads to them, is in any message or log record.
"""

from __future__ import annotations

import random
import tempfile
from asyncio import sleep
from contextlib import asynccontextmanager, closing
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, TypeVar

from braze_segments_async._arguments import check_seconds
from braze_segments_async._fan_out import FanOut
from braze_segments_async._support import CancelToken, file_errors, run_in_thread
from braze_segments_async._text import escape_control
from braze_segments_async.errors import (
    BrazeError,
    ExportError,
    ExportExpiredError,
    NotFoundError,
    PermissionDeniedError,
    ReplyError,
    ServerError,
    TimedOutError,
    TransportError,
)

from .download import USERS_FILE, FileDownloader
from .reader import batches, check_room, read_users, save_path, temporary_directory, write_users

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from braze_segments_async._http import SessionManager
    from braze_segments_async._models import StartedExport

    from .download import RangeResponse

__all__ = ["UsersExport"]

T = TypeVar("T")
ErrorT = TypeVar("ErrorT", bound=BrazeError)

_RANGE_SIZE = 2**20  # bytes of one range: small enough for a slow line within the time-out of one attempt
_DOWNLOAD_CONCURRENCY = 4
_URL_LIFETIME = 4 * 3_600.0  # seconds that the url is good for, about (POST /users/export/segment)
_FIRST_POLL, _MAX_POLL, _POLL_GROWTH = 1.0, 60.0, 1.5


class UsersExport:
    """An export of a segment's users, under way at Braze (`POST /users/export/segment`).

    Attributes:
        segment_id: of which segment.
        object_prefix: where the files are, in the workspace's own cloud storage if there is one connected.
        url: where the ZIP will be, for about four hours; whoever knows it can read the users. `None` if it
            goes to the workspace's own cloud storage.
        received: bytes of the file that have come, of the latest reading.
        size: bytes it has; `None` while that is not known.
    """

    def __init__(self, segment_id: str, started: StartedExport, manager: SessionManager) -> None:
        """Send nothing yet; `BrazeSegments.export_users` makes these.

        Args:
            segment_id: The segment.
            started: The response of Braze.
            manager: Of the client: sends the requests for the file, and closes what is under way.
        """
        self.segment_id = segment_id
        self.object_prefix = started.object_prefix
        self.url = started.url
        self.received = 0
        self.size: int | None = None
        self._manager = manager
        self._max_line = manager.limits.body
        self._step = min(_RANGE_SIZE, self._max_line)
        self._expires = monotonic() + _URL_LIFETIME
        self._ready = False

    def __repr__(self) -> str:
        return f"<UsersExport segment_id={self.segment_id!r} object_prefix={self.object_prefix!r}>"

    async def wait(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - what goes on is at Braze
        """Wait until the file is there: ask its host, first every second, in the end once a minute.

        Args:
            timeout: seconds; without one, as long as the url is valid. The export goes on at Braze.

        Raises:
            ConfigError: `timeout` is not a time.
            ExportError: the workspace has cloud storage of its own connected: there is nothing to fetch.
            ExportExpiredError: the url is not valid any more.
            TimedOutError: the file is not there in time; waiting again is fine.
            ClosedError: the client was closed meanwhile.
            BrazeError: any other.
        """
        self._downloader().check_url()
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        # Among the client's streams, so that closing it ends a pause between two polls, too.
        async with FanOut((timeout,), self._poll, concurrency=1, registry=self._manager.streams) as polling:
            async for _ in polling:
                self._ready = True
        if not self._ready:
            raise self._about(TransportError("the polling task ended without a result; wait again"))

    def users(self) -> AsyncGenerator[dict[str, Any], None]:
        """User after user, each as Braze's JSON has it; fields left out mean null, false or empty.

        Waits for the file, brings it to a temporary one that has no name, and reads that a line at a time, so
        that memory does not grow with it. Each iteration fetches the file anew.

        Raises:
            ReplyError: the file is damaged, or not what Braze documents.
            BrazeError: any other; see `wait`.
        """
        return self._read(lambda line: line[1])

    def lines(self) -> AsyncGenerator[bytes, None]:
        """User after user, each as the very JSON that Braze wrote, without a line end; see `users`."""
        return self._read(lambda line: line[0])

    async def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Wait for the file, check all of it, and put it in place: readable to nobody else, whole or absent.

        Args:
            path: ending in `.zip` it gets what Braze made, in `.ndjson` or `.jsonl` the users, one a line.
            overwrite: replace a file that is there.

        Returns:
            How many users are in it.

        Raises:
            ConfigError: another suffix, or there is something at that path.
            ExportError: the file could not be written.
            BrazeError: any other; see `users`.
        """
        target = save_path(path, overwrite=overwrite)
        async with self._fetched(target.parent) as file:
            return await self._in_thread(
                lambda stop: write_users(file, target, self._max_line, stop, replace=overwrite), target
            )

    async def _poll(self, timeout: float | None) -> None:  # noqa: ASYNC109 - see wait()
        ends = self._expires if timeout is None else min(self._expires, monotonic() + timeout)
        delay = _FIRST_POLL
        answered = False
        while True:
            failure: BrazeError | None = None
            try:
                # Later ones are not sent again: this asks again anyway, and retries have a quota.
                await self._downloader().fetch(0, 0, retried=not answered)
            except (PermissionDeniedError, NotFoundError):  # what the host says until the file is there
                answered = True
            except (TransportError, ServerError) as error:
                if not (answered and error.retryable):
                    raise
                failure = error  # minutes without a network are no reason to give up hours of waiting
            else:
                return
            left = ends - monotonic()
            if left <= 0:
                raise failure or self._late(timeout)
            told = failure.retry_after if isinstance(failure, ServerError) else None
            await sleep(min(left, max(told or 0.0, delay * random.uniform(0.8, 1.2))))  # noqa: S311 - not a secret
            delay = min(delay * _POLL_GROWTH, _MAX_POLL)

    async def _read(self, pick: Callable[[tuple[bytes, dict[str, Any]]], T]) -> AsyncGenerator[T, None]:
        place = temporary_directory()
        stop = CancelToken()
        async with self._fetched(place) as file:
            with closing(batches(read_users(file, self._max_line, stop), pick)) as reading:
                while batch := await self._in_thread(lambda _: next(reading, None), place, stop):
                    while batch:  # not bound to a name: a traceback may print locals
                        yield batch.popleft()

    @asynccontextmanager
    async def _fetched(self, directory: Path) -> AsyncGenerator[IO[bytes], None]:
        """Download into an unnamed temporary file, which nobody else can open and which leaves nothing."""
        self._downloader().check_url()
        if not self._ready:
            await self.wait()
        with file_errors(directory), tempfile.TemporaryFile(dir=directory) as file:
            await self._fetch(file, directory)
            yield file

    async def _fetch(self, file: IO[bytes], directory: Path) -> None:
        first = await self._part(0)
        self.received, self.size = 0, first.total
        missing = first.total  # not of the attributes, which a second reading at the same time changes, too
        if first.total > self._manager.limits.file:
            raise self._about(
                ReplyError(
                    f"the users file has {first.total:,} bytes, which is more than limits.file "
                    f"({self._manager.limits.file:,} bytes); raise that limit if you expect such a file"
                )
            )

        async def fetch(start: int) -> RangeResponse:
            part = await self._part(start)
            if (part.total, part.etag) != (first.total, first.etag):
                raise self._about(ReplyError("the file has changed while it was fetched"))
            return part

        def write(part: RangeResponse) -> None:
            check_room(directory, missing)
            file.write(part.body)

        async def keep(part: RangeResponse) -> None:
            nonlocal missing
            await run_in_thread(lambda _: write(part))
            missing -= len(part.body)
            self.received += len(part.body)

        await keep(first)
        starts = range(len(first.body), first.total, self._step)
        async with FanOut(
            starts, fetch, concurrency=_DOWNLOAD_CONCURRENCY, ordered=True, registry=self._manager.streams
        ) as parts:
            async for part in parts:
                await keep(part)
        if missing:
            raise self._about(TransportError("parts of the file are missing; read or save the users again"))

    async def _part(self, start: int) -> RangeResponse:
        last = start + self._step - 1
        try:
            return await self._downloader().fetch(start, last)
        except (PermissionDeniedError, NotFoundError):
            pass
        raise self._about(ExportExpiredError("the file is not there any more; export the users again"))

    async def _in_thread(
        self, work: Callable[[CancelToken], T], place: Path, stop: CancelToken | None = None
    ) -> T:
        try:
            with file_errors(place):
                return await run_in_thread(work, stop)
        except BaseException as error:  # noqa: BLE001 - raised below
            failure = self._about(error) if isinstance(error, ReplyError) else error
        # Without the frames below, and without what else they raised: their locals hold users.
        failure.__context__ = None
        raise failure.with_traceback(None)

    def _late(self, timeout: float | None) -> ExportExpiredError | TimedOutError:
        if monotonic() >= self._expires:
            return self._about(
                ExportExpiredError(
                    "no file within the four hours that its url is valid, as if the export was cancelled; "
                    "export the users again"
                )
            )
        return self._about(
            TimedOutError(
                f"not ready within {timeout:g} s; the export continues: wait again",
                remedy={"cancel_exports()": "ends it"},
            )
        )

    def _about(self, error: ErrorT) -> ErrorT:
        return error.about(str(USERS_FILE), segment_id=self.segment_id)

    def _downloader(self) -> FileDownloader:
        if self.url is None:
            raise ExportError(
                "the workspace has cloud storage of its own connected: the files are put there, below "
                f"{escape_control(self.object_prefix)}"
            )
        return FileDownloader(self._manager, self.url, self.segment_id)
