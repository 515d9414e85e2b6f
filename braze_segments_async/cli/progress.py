"""Progress of a command on standard error: the counts, and the lines or the display made of them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
import time
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async._text import escape_control, logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.console import RenderableType
    from rich.progress import Progress, TaskID

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async.export import ExportProgress

__all__ = ["ProgressTracker", "local_time", "log_prefix", "pluralize", "print_err", "show_progress"]

# The workspace a log record is about, where there are several: the start of its line.
log_prefix = ContextVar("log_prefix", default="")
_PREFIX = "braze-segments: "
_LINE_EVERY = 5.0  # seconds
_SAFE = "Ctrl-C is safe: --resume continues the export"


def print_err(text: str) -> None:
    """Write one line to standard error, control characters escaped. A failure to write is ignored.

    In a terminal with colours, the name of the command at the start of an error is red.
    """
    line = escape_control(" ".join(text.splitlines()), max_length=None)
    with suppress(OSError, ValueError, AttributeError):  # a full disk or gone reader; closed; None
        if line.startswith(_PREFIX) and sys.stderr.isatty() and _has_colour():
            line = f"\x1b[31m{_PREFIX}\x1b[0m{line.removeprefix(_PREFIX)}"
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _has_colour() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


class ProgressSource(Protocol):
    """A task whose progress can be shown."""

    def lines(self) -> list[str]:
        """Return the progress as lines of text."""

    def display(self) -> Callable[[], RenderableType]:
        """Return a function that returns the progress at the moment for a terminal; it imports rich."""


class ProgressTracker:
    """Progress of one export.

    Attributes:
        pages: Pages of the list that were read.
        found: Segments on these pages.
        listed: Whether all pages were read.
        done: Segments with details.
        resumed: Those of them that an earlier run fetched.
        resumable: Whether the export can be resumed when it is interrupted.
    """

    def __init__(
        self, client: BrazeSegments, *, resumable: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock.

        Args:
            client: Its requests, its pauses and its rate limit are part of the progress.
            resumable: Whether the export can be resumed when it is interrupted.
            clock: Monotonic seconds.
        """
        self.pages = self.found = self.done = self.resumed = 0
        self.listed = False
        self.resumable = resumable
        self._client = client
        self._clock = clock
        self._started = clock()
        self._last_line = (self._started, 0)

    def update(self, progress: ExportProgress) -> None:
        """Take the counts of an export to a file; for its `on_progress`."""
        self.pages, self.found, self.listed = progress.pages, progress.listed, progress.total is not None
        self.done, self.resumed = progress.done, progress.resumed

    def counts(self) -> str:
        """Return the segments that are done and found."""
        return f"{self.done:,} of {self.found:,}{'' if self.listed else ' so far'}"

    def status(self, speed: float | None) -> str:
        """Return the pause, or else pages, details per second if known, rate limit and retries."""
        stats, rate_limit = self._client.stats, self._client.rate_limit
        if stats.paused_until is not None:
            return f"paused until {local_time(stats.paused_until)}: {stats.pause_reason}"
        parts = [pluralize(self.pages, "page")]
        if speed is not None:
            parts.append(f"{speed:,.0f} details/s")
        if rate_limit is not None and rate_limit.remaining is not None:
            of = "" if rate_limit.limit is None else f" of {rate_limit.limit:,}"
            parts.append(f"rate limit: {rate_limit.remaining:,}{of} left")
        if stats.retries:
            parts.append(pluralize(stats.retries, "retry"))
        return " · ".join(parts)

    def line(self) -> str:
        """Return the progress as a line of text; the speed is that since the previous line."""
        now, fetched = self._clock(), self.done - self.resumed
        (then, fetched_then), self._last_line = self._last_line, (now, fetched)
        # Without a speed, all lines of a pause are the same, and are printed once.
        paused = self._client.stats.paused_until is not None
        speed = (fetched - fetched_then) / (now - then) if now > then and not paused else 0.0
        left = ""
        if self.listed and speed:
            left = f", {timedelta(seconds=math.ceil((self.found - self.done) / speed))} left"
        return f"{self.counts()}{left} · {self.status(speed)}"

    def lines(self) -> list[str]:
        """Return the progress as lines of text."""
        return [self.line()]

    def display(self) -> Callable[[], RenderableType]:
        """Return a function that returns the bar at the moment, with the status below it."""
        from .bars import progress_table, with_status  # noqa: PLC0415 - rich takes time to import

        bar = progress_table(rows=False)
        task_id = bar.add_task("", total=None)

        def render() -> RenderableType:
            paused = self.update_task(bar, task_id)
            return with_status(bar, _SAFE if paused and self.resumable else "")

        return render

    def update_task(self, table: Progress, task_id: TaskID) -> bool:
        """Update a row of a table, and return whether the client is paused."""
        task, until = table.tasks[task_id], self._client.stats.paused_until
        if until is not None or task.fields.get("resumed") != self.resumed:
            # Neither the time of a pause nor resumed segments count for the speed: discard the measurements.
            table.reset(task_id, completed=self.done, resumed=self.resumed)
        status = self.status(task.speed)
        if until is not None:
            seconds = max(0, math.ceil((until - datetime.now(UTC)).total_seconds()))
            status += f" · {timedelta(seconds=seconds)} to go"
        total = self.found if self.listed else None
        counts, paused = self.counts(), until is not None
        table.update(task_id, completed=self.done, total=total, counts=counts, status=status, paused=paused)
        return paused

    def summary(self) -> str:
        """Return the counts and the time of an export that has ended."""
        seconds, stats = self._clock() - self._started, self._client.stats
        took = f"{seconds:.1f} s" if seconds < 60 else f"{timedelta(seconds=round(seconds))}"
        return (
            f"{pluralize(self.done, 'segment')} with details in {took} "
            f"({pluralize(stats.requests, 'request')}, {pluralize(stats.retries, 'retry')})"
        )


def local_time(moment: datetime) -> str:
    """Return a moment in the time zone of the user."""
    return f"{moment.astimezone():%H:%M:%S %Z}"


def pluralize(number: int, noun: str) -> str:
    """Return a number with its noun: 1 page, 2 pages, 3 retries."""
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun}"


@asynccontextmanager
async def show_progress(
    source: ProgressSource, *, bar: bool, quiet: bool = False, verbose: bool = False
) -> AsyncIterator[None]:
    """Show progress on standard error: as a display in a terminal, else as lines.

    Args:
        source: The task.
        bar: Whether a display is wanted.
        quiet: Show nothing.
        verbose: Print each retry and pause as well, and show no display, which these lines would break.
    """
    if quiet:
        yield
        return
    if bar and not verbose and sys.stderr is not None and sys.stderr.isatty():
        from .bars import live_display  # noqa: PLC0415 - as above

        if (live := live_display(source.display())) is not None:
            with live:
                yield
            return
    lines, handler = create_task(_print_lines(source)), _StderrHandler(logging.INFO)
    if verbose:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        await cancel_and_wait([lines])


class _StderrHandler(logging.Handler):
    """Prints the log records of the library on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print_err(log_prefix.get() + record.getMessage())


async def _print_lines(source: ProgressSource) -> None:
    """Print progress every few seconds, without the lines that have not changed, as in a long pause."""
    last: list[str] = []
    while True:
        await asyncio.sleep(_LINE_EVERY)
        lines = source.lines()
        for line in lines:
            if line not in last:
                print_err(line)
        last = lines
