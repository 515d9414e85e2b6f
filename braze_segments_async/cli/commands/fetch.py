"""What `users` and `cancel` do."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import timedelta
from shlex import quote
from typing import TYPE_CHECKING

from attrs import frozen
from rich.text import Text

from braze_segments_async._arguments import check_seconds
from braze_segments_async._models import Stats
from braze_segments_async._settings import RetryPolicy
from braze_segments_async._text import escape_control
from braze_segments_async._users import save_path
from braze_segments_async.cli.connection import client_with_pause_notices
from braze_segments_async.cli.progress import local_time, pluralize, print_err, watching
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout
from braze_segments_async.errors import (
    ConfigError,
    ExportError,
    ExportExpiredError,
    ReplyError,
    ServerError,
    TimedOutError,
    TransportError,
)
from braze_segments_async.export._formats.ndjson import to_json

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._users import UsersExport
    from braze_segments_async.cli.arguments import Connection

__all__ = ["Job", "UsersArguments", "run_cancel", "run_users"]

_ATTEMPTS = 8  # of a request: where hours of waiting are at stake, a minute without a network is sat out


@frozen
class UsersArguments:
    """What the options of `users` say.

    Attributes:
        segment_id: whose users.
        fields: what to tell of each.
        output: the file; `None` for standard output.
        overwrite: whether a file may be replaced.
        timeout: seconds to wait for Braze's file.
        no_wait: whether to start the export only.
    """

    segment_id: str
    fields: tuple[str, ...]
    output: Path | None = None
    overwrite: bool = False
    timeout: float | None = None
    no_wait: bool = False

    def check(self) -> None:
        """Refuse what could not be done, before anything is asked of Braze.

        Raises:
            ConfigError: options that contradict each other, or a time or path that is none.
            ExportError: a path where no file can be.
        """
        if self.no_wait and (self.output or self.overwrite or self.timeout is not None):
            raise ConfigError(
                "--no-wait only starts the export: leave --output, --overwrite and --timeout out"
            )
        if self.overwrite and self.output is None:
            raise ConfigError("--overwrite needs a file: name it with --output")
        if self.timeout is not None:
            check_seconds("--timeout", self.timeout, zero=True)
        if self.output is not None:
            save_path(self.output, overwrite=self.overwrite)


class Job:
    """An export of users while it is under way: what there is to say of it."""

    def __init__(self, segment_id: str) -> None:
        self.export: UsersExport | None = None
        self.client: BrazeSegments | None = None
        self.running = ""  # at Braze: not, perhaps or for sure
        self.ready = False
        self.count = 0
        self.cancel = f"braze-segments cancel {escape_control(quote(segment_id))}"
        self._began = time.monotonic()

    def interrupted(self) -> str:
        """What goes on although the command has ended, and how to end that."""
        return self.running and f"the export {self.running} at Braze: {self.cancel} ends it"

    def lines(self) -> list[str]:
        """How far it is, to the minute while there is nothing but waiting."""
        return [self._words(timedelta(minutes=(time.monotonic() - self._began) // 60))]

    def drawn(self) -> Text:
        """How far it is, for a terminal."""
        words = self._words(timedelta(seconds=int(time.monotonic() - self._began)))
        hint = "\nCtrl-C leaves that going on there" if self.running and self.export else ""
        return Text(words + hint, style="dim", no_wrap=True, overflow="ellipsis")

    def _words(self, elapsed: timedelta) -> str:
        if self.export is None:
            stats = self.client.stats if self.client else Stats()
            if stats.paused_until is not None:
                return f"waiting until {local_time(stats.paused_until)}: {stats.pause_reason}"
            return "asking Braze for the users"
        if not self.ready:
            return "waiting for Braze to make the file" + (f": {elapsed}" if elapsed else "")
        if self.count:
            return pluralize(self.count, "user")
        if self.export.size is None:
            return "fetching the file"
        return f"{_megabytes(self.export.received)} of {_megabytes(self.export.size)} MB received"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}"


def run_users(connection: Connection, wanted: UsersArguments, *, max_wait: float) -> int:
    """Do `braze-segments users`; see there for the options, and for the exit code this returns."""
    job = Job(wanted.segment_id)
    words = {**OPTIONS, "cancel_exports()": job.cancel}
    try:
        wanted.check()
    except (ConfigError, ExportError) as error:
        return usage_error(error.message(words))

    async def work() -> None:
        retry = RetryPolicy(attempts=_ATTEMPTS, max_rate_limit_wait=max_wait)
        async with connection.client(retry=retry) as job.client:
            bar = wanted.output is not None or not in_terminal()
            async with watching(job, bar=bar):
                await _start(job.client, wanted, job)
                if not wanted.no_wait:
                    await _fetch(wanted, job)
        await _tell(wanted, job)

    return run(work(), job.interrupted, words)


async def _start(client: BrazeSegments, wanted: UsersArguments, job: Job) -> None:
    job.running = "may go on"
    try:
        job.export = await client.export_users(wanted.segment_id, fields=wanted.fields)
    except BaseException as error:
        if client.stats.paused_until is not None or not _may_have_arrived(error):
            job.running = ""
        raise
    job.running = "goes on"


def _may_have_arrived(error: BaseException) -> bool:
    if isinstance(error, TransportError):
        return error.sent
    return isinstance(error, asyncio.CancelledError | ReplyError | ServerError)


async def _fetch(wanted: UsersArguments, job: Job) -> None:
    export = job.export
    assert export is not None  # noqa: S101 - it was just started
    if export.url is None:
        job.running = ""  # the export keeps running at Braze, as intended
    try:
        await export.wait(timeout=wanted.timeout)
    except ExportExpiredError:
        job.running = ""
        raise
    except TimedOutError as error:
        if error.attempts:  # one of the network
            raise
        raise ExportError(f"no file within {wanted.timeout:,g} s; --timeout can be longer") from None
    job.ready, job.running = True, ""
    if wanted.output is not None:
        job.count = await export.save(wanted.output, overwrite=wanted.overwrite)
        return
    async with aclosing(export.lines()) as lines:
        async for line in lines:
            await json_to_stdout(line + b"\n")
            job.count += 1


async def _tell(wanted: UsersArguments, job: Job) -> None:
    if not wanted.no_wait:
        print_err(
            pluralize(job.count, "user")
            + (f" → {escape_control(str(wanted.output))}" if wanted.output else "")
        )
        return
    assert job.export is not None  # noqa: S101 - see above
    started = {"segment_id": job.export.segment_id, "object_prefix": job.export.object_prefix}
    await json_to_stdout(f"{to_json(started)}\n".encode())
    if job.export.url is not None:
        print_err(
            "braze-segments: the workspace has no cloud storage connected: this file cannot be had any more; "
            f"run it without --no-wait. {job.cancel} ends this export"
        )


def run_cancel(connection: Connection, segment_id: str, *, max_wait: float) -> int:
    """Do `braze-segments cancel`; see there."""

    async def work() -> None:
        async with client_with_pause_notices(connection, max_wait) as client:
            await client.cancel_exports(segment_id)
        print_err(f"no export of the users of {escape_control(segment_id)} is running any more")

    return run(work())
