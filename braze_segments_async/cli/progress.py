"""The watching: how far an export is, in numbers, in words and as a bar."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from braze_segments_async.tasks import start, stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from braze_segments_async.models import SegmentPage, Stats
    from braze_segments_async.rate_limit import RateLimit

__all__ = ["Watch", "say", "watching"]

_SPEED_OVER = 10.0  # seconds: long enough to be calm, short enough to forget a pause
_LINE_EVERY = 5.0


def say(text: str) -> None:
    """Put one line on standard error. That nobody can read it fails nothing."""
    with suppress(OSError, ValueError, AttributeError):  # a full disk or gone reader; closed; None
        sys.stderr.write(" ".join(text.splitlines()) + "\n")
        sys.stderr.flush()


class Watched(Protocol):
    """What is read of the client."""

    @property
    def stats(self) -> Stats: ...
    @property
    def rate_limit(self) -> RateLimit | None: ...


class Watch:
    """What an export has done so far.

    Attributes:
        pages: of the list, read.
        found: segments on them.
        listed: whether that is all of them.
        done: segments with details.
    """

    def __init__(self, client: Watched, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock.

        Args:
            client: knows what was sent, whether it waits, and what is left of the allowance.
            clock: monotonic seconds.
        """
        self.pages = self.found = self.done = 0
        self.listed = False
        self._client = client
        self._clock = clock
        self._started = clock()
        self._marks = deque([(self._started, 0)])

    def page(self, page: SegmentPage) -> None:
        """A page of the list was read."""
        self.pages += 1
        self.found += len(page.segments)

    def details(self) -> None:
        """The details of a segment were written."""
        self.done += 1

    def paused(self) -> bool:
        """Whether nothing can happen just now."""
        return self._client.stats.paused_until is not None

    def speed(self) -> float:
        """Details per second, lately; a pause does not count."""
        now = self._clock()
        if self.paused():
            self._marks.clear()
            self._marks.append((now, self.done))
        while len(self._marks) > 1 and now - self._marks[1][0] >= _SPEED_OVER:
            self._marks.popleft()
        then, done = self._marks[0]
        if now <= then:
            return 0.0
        self._marks.append((now, self.done))
        return (self.done - done) / (now - then)

    def words(self) -> tuple[str, str]:
        """How far it is, with the time left once that can be said; and how it is going."""
        speed, stats, told = self.speed(), self._client.stats, self._client.rate_limit
        far = f"{self.done:,} of {self.found:,}"
        if not self.listed:
            far += " so far"
        elif speed:
            far += f", {timedelta(seconds=math.ceil((self.found - self.done) / speed))} left"
        going = [_count(self.pages, "page")]
        if stats.paused_until is not None:
            return far, f"{going[0]} · paused until {stats.paused_until:%H:%M:%S} UTC: {stats.pause_reason}"
        going.append(f"{speed:,.0f} details/s")
        if told is not None and told.remaining is not None:
            until = f" until {told.resets_at:%H:%M} UTC" if told.resets_at else ""
            going.append(f"{_count(told.remaining, 'request')} left{until}")
        if stats.retries:
            going.append(_count(stats.retries, "retry"))
        return far, " · ".join(going)

    def summary(self) -> str:
        """What was done, afterwards."""
        seconds, stats = self._clock() - self._started, self._client.stats
        took = f"{seconds:.1f} s" if seconds < 60 else f"{timedelta(seconds=round(seconds))}"
        return (
            f"{_count(self.done, 'segment')} with details in {took} "
            f"({_count(stats.requests, 'request')}, {_count(stats.retries, 'retry')})"
        )


def _count(number: int, what: str) -> str:
    if number != 1:
        what = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what}"


@asynccontextmanager
async def watching(watch: Watch, *, bar: bool) -> AsyncIterator[None]:
    """Show on standard error how far it is: as a bar where that can be drawn and is wanted, else as lines."""
    console = Console(stderr=True)
    if bar and sys.stderr is not None and sys.stderr.isatty() and not console.is_dumb_terminal:
        with Live(
            get_renderable=lambda: _drawn(watch),
            console=console,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ):
            yield
        return
    lines = start(_lines(watch))
    try:
        yield
    finally:
        await stop([lines])


def _drawn(watch: Watch) -> Group:
    far, going = watch.words()
    top = Table.grid(expand=True, padding=(0, 1, 0, 0))
    top.add_column(ratio=1)
    top.add_column(no_wrap=True)
    top.add_row(ProgressBar(total=watch.found if watch.listed else None, completed=watch.done), far)
    style = "yellow" if watch.paused() else "dim"
    return Group(top, Text(going, style=style, no_wrap=True, overflow="ellipsis"))


async def _lines(watch: Watch) -> None:
    """A line every few seconds, unless it would say the same again, as in a pause of an hour."""
    last = ""
    while True:
        await asyncio.sleep(_LINE_EVERY)
        line = " · ".join(watch.words())
        if line != last:
            say(line)
        last = line
