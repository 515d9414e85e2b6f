"""Wait for a users export at Braze, and download, read or save its file.

No message or log record contains the data of a user or the URL of the file.
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

_RANGE_SIZE = 2**20  # bytes; even a slow connection fetches a range within the timeout of one attempt
_DOWNLOAD_CONCURRENCY = 4
_URL_LIFETIME = 4 * 3_600.0  # seconds, approximately (Braze: POST /users/export/segment)
_FIRST_POLL, _MAX_POLL, _POLL_GROWTH = 1.0, 60.0, 1.5


class UsersExport:
    """An export of a segment's users at Braze (`POST /users/export/segment`).

    Braze writes the users to a file and keeps it for about four hours. The export continues at Braze if you
    stop waiting; `BrazeSegments.cancel_exports` ends it.

    Attributes:
        segment_id: Segment whose users are exported.
        object_prefix: Prefix of the names of the files; with connected cloud storage, their path in it.
        url: Presigned URL of the ZIP file, which gives access to the users; valid for about four hours.
            `None` if the workspace has connected cloud storage, which then gets the files.
        received: Bytes received of the file, in the latest download.
        size: Bytes of the file; `None` before the first download.
    """

    def __init__(self, segment_id: str, started: StartedExport, manager: SessionManager) -> None:
        """Send nothing yet. Use `BrazeSegments.export_users` to create an export.

        Args:
            segment_id: Segment API identifier.
            started: Response to the request that started the export.
            manager: The session manager of the client.
        """
        self.segment_id = segment_id
        self.object_prefix = started.object_prefix
        self.url = started.url
        self.received = 0
        self.size: int | None = None
        self._manager = manager
        self._max_line = manager.settings.limits.body
        self._step = min(_RANGE_SIZE, self._max_line)
        self._expires = monotonic() + _URL_LIFETIME
        self._ready = False

    def __repr__(self) -> str:
        return f"<UsersExport segment_id={self.segment_id!r} object_prefix={self.object_prefix!r}>"

    async def wait(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - raises TimedOutError
        """Wait until the file is ready. Polls its host, every second at first and once a minute in the end.

        Args:
            timeout: Maximum seconds to wait; by default until the URL expires. The export continues at Braze
                after a timeout.

        Raises:
            ConfigError: `timeout` is invalid.
            ExportError: The workspace has connected cloud storage, so there is no file to download.
            ExportExpiredError: The URL has expired.
            TimedOutError: The file is not ready within the timeout; you can wait again.
            ClosedError: The client was closed during the wait.
            BrazeError: Any other failure.
        """
        self._downloader().check_url()
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        # A stream of one item, registered with the client: `BrazeSegments.aclose` closes its streams, which
        # ends the sleep between two polls and makes this loop raise ClosedError.
        async with FanOut((timeout,), self._poll, concurrency=1, registry=self._manager.streams) as polling:
            async for _ in polling:
                self._ready = True
        if not self._ready:
            raise self._about(TransportError("the polling task ended without a result; wait again"))

    def users(self) -> AsyncGenerator[dict[str, Any], None]:
        """Wait for the file, download it to a temporary file, and yield each user.

        The file is read line by line, so memory use does not depend on its size. Each iteration downloads the
        file again.

        Yields:
            Each user as the JSON object that Braze wrote; fields that are null, false or empty are absent.

        Raises:
            ReplyError: The file is damaged, or not what Braze documents.
            BrazeError: Any other failure; see `wait`.
        """
        return self._read(lambda line: line[1])

    def lines(self) -> AsyncGenerator[bytes, None]:
        """Wait for the file, download it to a temporary file, and yield each user as bytes; see `users`.

        Yields:
            The unchanged JSON of each user, without a line end.

        Raises:
            ReplyError: The file is damaged, or not what Braze documents.
            BrazeError: Any other failure; see `wait`.
        """
        return self._read(lambda line: line[0])

    async def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> int:
        """Wait for the file, download and check it, and save it atomically, readable by its owner only.

        Args:
            path: Path of the new file. With the suffix `.zip` it is the ZIP from Braze, with `.ndjson` or
                `.jsonl` it has one user per line, as JSON.
            overwrite: Whether to replace an existing file.

        Returns:
            Number of users in the file.

        Raises:
            ConfigError: The suffix is not supported, or the file exists and `overwrite` is false.
            ExportError: The file could not be written.
            BrazeError: Any other failure; see `users`.
        """
        target = save_path(path, overwrite=overwrite)
        async with self._downloaded_file(target.parent) as file:
            return await self._in_thread(
                lambda stop: write_users(file, target, self._max_line, stop, replace=overwrite), target
            )

    async def _poll(self, timeout: float | None) -> None:  # noqa: ASYNC109 - see wait()
        """Request the first byte of the file until it exists; once, if `timeout` is 0."""
        end = self._expires if timeout is None else min(self._expires, monotonic() + timeout)
        delay = _FIRST_POLL
        host_responded = False
        while True:
            failure: BrazeError | None = None
            try:
                # Only the first poll is retried. The loop repeats later ones, without using the retry budget.
                await self._downloader().fetch(0, 0, retried=not host_responded)
            except (PermissionDeniedError, NotFoundError):  # the response of the host until the file exists
                host_responded = True
            except (TransportError, ServerError) as error:
                if not (host_responded and error.retryable):
                    raise
                failure = error  # after a response of the host, a failing network does not end the wait
            else:
                return
            # After the request, not before it: a file that became ready during the last sleep is not missed.
            remaining = end - monotonic()
            if remaining <= 0:
                raise failure or self._timeout_error(timeout)
            retry_after = failure.retry_after if isinstance(failure, ServerError) else None
            delay_with_jitter = delay * random.uniform(0.8, 1.2)  # noqa: S311 - not a secret
            await sleep(min(remaining, max(retry_after or 0.0, delay_with_jitter)))
            delay = min(delay * _POLL_GROWTH, _MAX_POLL)

    async def _read(self, pick: Callable[[tuple[bytes, dict[str, Any]]], T]) -> AsyncGenerator[T, None]:
        """Yield the results of `pick`. A thread reads the next batch after the previous one is used up."""
        place = temporary_directory()
        stop = CancelToken()  # one for all calls in threads: they resume the same generator
        async with self._downloaded_file(place) as file:
            # Closed before the file. A cancelled call in a thread has ended by then, since `run_in_thread`
            # waits for it: a generator that is running could not be closed.
            with closing(batches(read_users(file, self._max_line, stop), pick)) as reading:
                while batch := await self._in_thread(lambda _: next(reading, None), place, stop):
                    while batch:  # not bound to a name: a traceback can show locals
                        yield batch.popleft()

    @asynccontextmanager
    async def _downloaded_file(self, directory: Path) -> AsyncGenerator[IO[bytes], None]:
        """Download into an unnamed temporary file, which no other process can open."""
        self._downloader().check_url()
        if not self._ready:
            await self.wait()
        with file_errors(directory), tempfile.TemporaryFile(dir=directory) as file:
            await self._download(file, directory)
            yield file

    async def _download(self, file: IO[bytes], directory: Path) -> None:
        """Download the file in ranges, several in flight, and write them in order."""
        max_file = self._manager.settings.limits.file
        first = await self._fetch_range(0)
        self.received, self.size = 0, first.total
        missing = first.total  # local, since a second download at the same time changes the attributes, too
        if first.total > max_file:
            raise self._about(
                ReplyError(
                    f"the users file has {first.total:,} bytes, which is more than limits.file "
                    f"({max_file:,} bytes); raise that limit if you expect such a file"
                )
            )

        async def fetch(start: int) -> RangeResponse:
            part = await self._fetch_range(start)
            if (part.total, part.etag) != (first.total, first.etag):
                raise self._about(ReplyError("the file was changed during the download"))
            return part

        def write(part: RangeResponse) -> None:
            check_room(directory, missing)
            file.write(part.body)

        async def store(part: RangeResponse) -> None:
            nonlocal missing
            await run_in_thread(lambda _: write(part))
            missing -= len(part.body)
            self.received += len(part.body)

        await store(first)
        # Each range is written before the next one is taken from the stream, which holds no more than about
        # `_DOWNLOAD_CONCURRENCY` ranges: a slow disk slows down the download and does not fill the memory.
        starts = range(len(first.body), first.total, self._step)
        async with FanOut(
            starts, fetch, concurrency=_DOWNLOAD_CONCURRENCY, ordered=True, registry=self._manager.streams
        ) as parts:
            async for part in parts:
                await store(part)
        if missing:
            raise self._about(TransportError("parts of the file are missing; read or save the users again"))

    async def _fetch_range(self, start: int) -> RangeResponse:
        last = start + self._step - 1
        try:
            return await self._downloader().fetch(start, last)
        except (PermissionDeniedError, NotFoundError):
            pass
        raise self._about(ExportExpiredError("the file no longer exists; export the users again"))

    async def _in_thread(
        self, work: Callable[[CancelToken], T], place: Path, stop: CancelToken | None = None
    ) -> T:
        try:
            with file_errors(place):
                return await run_in_thread(work, stop)
        except BaseException as error:  # noqa: BLE001 - raised below
            failure = self._about(error) if isinstance(error, ReplyError) else error
        # Without the frames below and the context, since their locals hold users.
        failure.__context__ = None
        raise failure.with_traceback(None)

    def _timeout_error(self, timeout: float | None) -> ExportExpiredError | TimedOutError:
        if monotonic() >= self._expires:
            return self._about(
                ExportExpiredError(
                    "the file was not ready within the four hours that its URL is valid, and the export may "
                    "have been cancelled; export the users again"
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
                "the workspace has connected cloud storage that gets the files, below "
                f"{escape_control(self.object_prefix)}"
            )
        return FileDownloader(self._manager, self.url, self.segment_id)
