"""`braze-segments users`: the users of a segment, in a file or as lines."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async._arguments import check_seconds
from braze_segments_async._settings import RetryPolicy
from braze_segments_async._text import escape_control
from braze_segments_async._users import save_path
from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.progress import local_time, pluralize, print_err, show_progress
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout
from braze_segments_async.errors import (
    ConfigError,
    ExportError,
    ExportExpiredError,
    ExportRunningError,
    ReplyError,
    ServerError,
    TimedOutError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._settings import PauseEvent
    from braze_segments_async._users import UsersExport

__all__ = ["UsersJob", "users"]

_Fields = Annotated[tuple[str, ...], Parameter(show_default=False)]
_Output = Annotated[Path | None, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)]
_FIRST_POLL, _MAX_POLL = 1.0, 60.0  # seconds between attempts to start while another export is running
_ATTEMPTS = 8  # for each request, so that a minute without a network does not end hours of waiting


def users(
    segment_id: str,
    /,
    *,
    fields: _Fields,
    output: _Output = None,
    overwrite: bool = False,
    timeout: Annotated[
        float | None, Parameter(validator=Number(gte=0), show_default="about four hours")
    ] = None,
    no_wait: bool = False,
    wait_existing: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Export the users of a segment: Braze prepares a file, and this command downloads it.

    Braze needs minutes, or more than an hour. The output file appears only
    after the download is complete, and only you can read it. Without --output,
    users are written to standard output, one a line.

    The API key needs the permission users.export.segment.

    Exit codes: same as export. If you interrupt the command, Braze keeps
    preparing the file; use the command cancel to stop that.

    Args:
        segment_id: Segment API identifier.
        fields: User fields to export, comma-separated (repeatable), such as external_id,email.
        output: Output file: .ndjson or .jsonl for one user a line, .zip for the file that Braze prepared.
        overwrite: Replace an existing file, in one step when the download is complete.
        timeout: Maximum seconds to wait for Braze's file, and for an export that is already running.
        no_wait: Start the export only, for a workspace that has its own cloud storage connected.
        wait_existing: If an export of this segment is already running, wait until it ends, then start this
            one. Braze gives the file of an export only to the client that started it.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """
    output = None if output == Path("-") else output
    names = tuple(dict.fromkeys(name.strip() for names in fields for name in names.split(",")))
    job = UsersJob(segment_id)
    words = {**OPTIONS, "cancel_exports()": job.cancel}
    if no_wait and (output or overwrite or timeout is not None):
        return usage_error("--no-wait only starts the export: leave --output, --overwrite and --timeout out")
    if overwrite and output is None:
        return usage_error("--overwrite needs a file: name it with --output")
    try:
        if timeout is not None:
            check_seconds("--timeout", timeout, zero=True)
        if output is not None:
            save_path(output, overwrite=overwrite)
    except (ConfigError, ExportError) as error:
        return usage_error(error.message(words))

    async def work() -> None:
        retry = RetryPolicy(attempts=_ATTEMPTS, max_rate_limit_wait=max_wait)
        async with (
            connection.client(retry=retry, on_pause=job.set_pause) as client,
            # Lines of output on the same terminal would break a display.
            show_progress(job, bar=output is not None or not in_terminal()),
        ):
            export = await job.start(client, names, wait_existing=wait_existing, seconds=timeout)
            if not no_wait:
                left = None if timeout is None else max(timeout - job.elapsed, 0.0)
                await job.wait(export, left)
                await job.download(export, output, overwrite=overwrite)
        if no_wait:
            await _print_started(export, job)
        else:
            print_err(pluralize(job.count, "user") + (f" → {escape_control(str(output))}" if output else ""))

    return run(work(), job.interrupted, words)


class UsersJob:
    """An export of users: its steps, and the state that progress and messages show.

    Attributes:
        export: The export, once Braze has started it.
        existing: Whether another export of the segment is running, whose end is waited for.
        running: Whether Braze prepares the file: "continues", "may continue", or empty.
        ready: Whether the file is ready.
        count: Users that were downloaded.
        cancel: The command that cancels the export.
    """

    def __init__(self, segment_id: str) -> None:
        """Start the clock."""
        self.export: UsersExport | None = None
        self.existing = False
        self.running = ""
        self.ready = False
        self.count = 0
        self.cancel = f"braze-segments cancel {escape_control(quote(segment_id))}"
        self._segment_id = segment_id
        self._pause: PauseEvent | None = None
        self._started = time.monotonic()

    @property
    def pause(self) -> PauseEvent | None:
        """The pause for the rate limit, while it lasts."""
        return self._pause if self._pause and self._pause.until > datetime.now(UTC) else None

    def set_pause(self, event: PauseEvent) -> None:
        """Note a pause; for the client's `on_pause`."""
        self._pause = event

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the command."""
        return time.monotonic() - self._started

    async def start(
        self, client: BrazeSegments, fields: tuple[str, ...], *, wait_existing: bool, seconds: float | None
    ) -> UsersExport:
        """Start the export; if wanted, wait for the end of one that is running, for `seconds` at most."""
        delay = _FIRST_POLL
        while True:
            try:
                return await self._start(client, fields)
            except ExportRunningError as error:
                self.existing = wait_existing and (seconds is None or self.elapsed + delay <= seconds)
                if not self.existing:
                    if not wait_existing:
                        error.remedy = {**error.remedy, "--wait-existing": "waits for its end"}
                    raise
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, _MAX_POLL)

    async def _start(self, client: BrazeSegments, fields: tuple[str, ...]) -> UsersExport:
        self.running = "may continue"
        try:
            self.export = await client.export_users(self._segment_id, fields=fields)
        except BaseException as error:
            if self.pause is not None or not _may_have_arrived(error):
                self.running = ""
            raise
        self.running = "continues"
        return self.export

    async def wait(self, export: UsersExport, seconds: float | None) -> None:
        """Wait until the file is ready, for `seconds` at most."""
        if export.url is None:
            self.running = ""  # Braze writes to the workspace's own storage, which needs no cancelling
        try:
            await export.wait(timeout=seconds)
        except ExportExpiredError:
            self.running = ""
            raise
        except TimedOutError as error:
            if error.attempts:  # a timeout of a request, not of the waiting
                raise
            raise ExportError(f"no file within {seconds:,g} s; --timeout can be longer") from None
        self.ready, self.running = True, ""

    async def download(self, export: UsersExport, output: Path | None, *, overwrite: bool) -> None:
        """Download the users to a file or to standard output."""
        if output is not None:
            self.count = await export.save(output, overwrite=overwrite)
            return
        async with aclosing(export.lines()) as lines:
            async for line in lines:
                await json_to_stdout(line + b"\n")
                self.count += 1

    def interrupted(self) -> str:
        """Return whether the export continues at Braze, and how to cancel it; for the end of the command."""
        return self.running and f"the export {self.running} at Braze: {self.cancel} ends it"

    def lines(self) -> list[str]:
        """Return the stage as one line, with the minutes of the waiting."""
        return [self._stage(timedelta(minutes=self.elapsed // 60))]

    def display(self) -> Callable[[], Text]:
        """Return a function that returns the stage at the moment, with the seconds of the waiting."""
        from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

        def render() -> Text:
            stage = self._stage(timedelta(seconds=int(self.elapsed)))
            if self.running and self.export:
                stage += "\nCtrl-C stops waiting; the export continues at Braze"
            return Text(stage, style="dim", no_wrap=True, overflow="ellipsis")

        return render

    def _stage(self, elapsed: timedelta) -> str:
        waited = f": {elapsed}" if elapsed else ""
        if self.export is None:
            if (pause := self.pause) is not None:
                return f"waiting until {local_time(pause.until)}: {pause.reason}"
            existing = f"waiting for the end of an export that is already running{waited}"
            return existing if self.existing else "asking Braze for the users"
        if not self.ready:
            return f"waiting for Braze to make the file{waited}"
        if self.count:
            return pluralize(self.count, "user")
        if self.export.size is None:
            return "fetching the file"
        return f"{_megabytes(self.export.received)} of {_megabytes(self.export.size)} MB received"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f}"


def _may_have_arrived(error: BaseException) -> bool:
    if isinstance(error, TransportError):
        return error.sent
    return isinstance(error, asyncio.CancelledError | ReplyError | ServerError)


async def _print_started(export: UsersExport, job: UsersJob) -> None:
    from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415 - --help does without it

    started = {"segment_id": export.segment_id, "object_prefix": export.object_prefix}
    await json_to_stdout(f"{to_json(started)}\n".encode())
    if export.url is not None:
        print_err(
            "braze-segments: the workspace has no cloud storage connected: the file of this export cannot be "
            f"downloaded. Run the command again without --no-wait; {job.cancel} ends this export"
        )
