"""The watching: how far an export is, in numbers, in words and as a bar."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async._text import escape_control, logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.console import RenderableType

    from braze_segments_async._models import Stats
    from braze_segments_async._rate_limit import RateLimit
    from braze_segments_async.export import ExportProgress
    from braze_segments_async.export._listing import ListingTracker

__all__ = ["ProgressTracker", "local_time", "log_prefix", "pluralize", "print_err", "watching"]

# What stands before a line of the log: the workspace it is about, where there are several.
log_prefix = ContextVar("log_prefix", default="")
_SPEED_OVER = 10.0  # seconds: long enough to be calm, short enough to forget a pause
_LINE_EVERY = 5.0


def print_err(text: str) -> None:
    """Write one line to standard error, control characters escaped. A failure to write is ignored."""
    with suppress(OSError, ValueError, AttributeError):  # a full disk or gone reader; closed; None
        sys.stderr.write(escape_control(" ".join(text.splitlines()), max_length=None) + "\n")
        sys.stderr.flush()


class Watched(Protocol):
    """What is read of the client."""

    @property
    def stats(self) -> Stats: ...
    @property
    def rate_limit(self) -> RateLimit | None: ...


class Shown(Protocol):
    """What can be watched: drawn where that is possible, else told."""

    def drawn(self) -> RenderableType: ...
    def lines(self) -> list[str]: ...


class ProgressTracker:
    """What an export has done so far.

    Attributes:
        pages: of the list, read.
        found: segments on them.
        listed: whether that is all of them.
        done: segments with details.
        resumed: how many of them an earlier run had done.
        resumable: whether what is interrupted can be resumed.
    """

    def __init__(
        self, client: Watched, *, resumable: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock.

        Args:
            client: knows what was sent, whether it waits, and what is left of the allowance.
            resumable: whether what is interrupted can be resumed.
            clock: monotonic seconds.
        """
        self.pages = self.found = self.done = self.resumed = 0
        self.listed = False
        self._client = client
        self.resumable = resumable
        self._clock = clock
        self._started = clock()
        self._marks = deque([(self._started, 0)])

    def exported(self, progress: ExportProgress) -> None:
        """Hear how far an export to a file is; for its `on_progress`."""
        self.pages, self.found, self.listed = progress.pages, progress.listed, progress.total is not None
        self.done, self.resumed = progress.done, progress.resumed

    def walked(self, walk: ListingTracker) -> None:
        """Hear how far the walk through the list is."""
        self.pages, self.found, self.listed = walk.pages, walk.listed, walk.ended

    def paused(self) -> bool:
        """Whether nothing can happen just now."""
        return self._client.stats.paused_until is not None

    def speed(self) -> float:
        """Details per second, lately; a pause does not count."""
        now, done_here = self._clock(), self.done - self.resumed
        if self.paused():
            self._marks.clear()
            self._marks.append((now, done_here))
        while len(self._marks) > 1 and now - self._marks[1][0] >= _SPEED_OVER:
            self._marks.popleft()
        then, done = self._marks[0]
        if now <= then:
            return 0.0
        self._marks.append((now, done_here))
        return (done_here - done) / (now - then)

    def words(self) -> tuple[str, str]:
        """How far it is, with the time left once that can be said; and how it is going."""
        speed, stats, told = self.speed(), self._client.stats, self._client.rate_limit
        far = f"{self.done:,} of {self.found:,}"
        if not self.listed:
            far += " so far"
        elif speed:
            far += f", {timedelta(seconds=math.ceil((self.found - self.done) / speed))} left"
        if stats.paused_until is not None:
            return far, f"paused until {local_time(stats.paused_until)}: {stats.pause_reason}"
        going = [pluralize(self.pages, "page")]
        going.append(f"{speed:,.0f} details/s")
        if told is not None and told.remaining is not None:
            until = f" until {local_time(told.resets_at)}" if told.resets_at else ""
            going.append(f"{pluralize(told.remaining, 'request')} left{until}")
        if stats.retries:
            going.append(pluralize(stats.retries, "retry"))
        return far, " · ".join(going)

    def lines(self) -> list[str]:
        """How far it is, in a line."""
        return [" · ".join(self.words())]

    def bar(self) -> ProgressBar:
        """How far it is, as a bar."""
        return ProgressBar(total=self.found if self.listed else None, completed=self.done)

    def going(self, words: str) -> Text:
        """How it is going, in words; during a pause also how long that still takes."""
        until = self._client.stats.paused_until
        if until is not None:
            left = timedelta(seconds=max(0, math.ceil((until - datetime.now(UTC)).total_seconds())))
            words += f" · {left} to go"
        return Text(words, style="yellow" if until else "dim", no_wrap=True, overflow="ellipsis")

    def drawn(self) -> Group:
        """How far it is and how it is going, for a terminal."""
        far, going = self.words()
        top = Table.grid(expand=True, padding=(0, 1, 0, 0))
        top.add_column(ratio=1)
        top.add_column(no_wrap=True)
        top.add_row(self.bar(), far)
        lines = [self.going(going)]
        if self.paused() and self.resumable:
            lines.append(Text("Ctrl-C is safe: --resume goes on from here", style="dim"))
        return Group(top, *lines)

    def summary(self) -> str:
        """What was done, afterwards."""
        seconds, stats = self._clock() - self._started, self._client.stats
        took = f"{seconds:.1f} s" if seconds < 60 else f"{timedelta(seconds=round(seconds))}"
        return (
            f"{pluralize(self.done, 'segment')} with details in {took} "
            f"({pluralize(stats.requests, 'request')}, {pluralize(stats.retries, 'retry')})"
        )


def local_time(moment: datetime) -> str:
    """In the reader's own time zone."""
    return f"{moment.astimezone():%H:%M:%S %Z}"


def pluralize(number: int, what: str) -> str:
    """A number of things: 1 page, 2 pages, 3 retries."""
    if number != 1:
        what = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what}"


@asynccontextmanager
async def watching(
    watch: Shown, *, bar: bool, quiet: bool = False, verbose: bool = False
) -> AsyncIterator[None]:
    """Show on standard error how far it is: as a bar where that can be drawn and is wanted, else as lines.

    Args:
        watch: a `ProgressTracker`, or what shows several.
        bar: whether there may be one.
        quiet: show nothing.
        verbose: tell of each retry and pause, too, and draw no bar that those would tear apart.
    """
    if quiet:
        yield
        return
    console = Console(stderr=True)
    if (
        bar
        and not verbose
        and sys.stderr is not None
        and sys.stderr.isatty()
        and not console.is_dumb_terminal
    ):
        with Live(
            get_renderable=watch.drawn,
            console=console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    lines, told = create_task(_lines(watch)), _StderrHandler(logging.INFO)
    if verbose:
        logger.addHandler(told)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(told)
        await cancel_and_wait([lines])


class _StderrHandler(logging.Handler):
    """The library's log as lines on standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        print_err(log_prefix.get() + record.getMessage())


async def _lines(watch: Shown) -> None:
    """Lines every few seconds, but for those that would say the same again, as in a pause of an hour."""
    last: list[str] = []
    while True:
        await asyncio.sleep(_LINE_EVERY)
        lines = watch.lines()
        for line in lines:
            if line not in last:
                print_err(line)
        last = lines
