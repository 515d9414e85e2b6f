"""The time-outs of all requests in flight, by one timer: one for each request costs a tenth of the CPU."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Attempt", "Deadlines"]

_LOOKS = 50  # within the shortest time-out, so that one is late by a fiftieth at most
_LONGEST_TICK = 0.25  # seconds


class Attempt:
    """One request on its way.

    Attributes:
        heard_at: when something came last, by the loop's clock; at first, when there was a connection for it,
            and `None` before.
        suspended: whether the process, or its event loop, stood still while the attempt was on its way.
    """

    __slots__ = ("_cancelling", "began_at", "heard_at", "late", "suspended", "task")

    def __init__(self, task: asyncio.Task[object], now: float) -> None:
        self.task = task
        self.began_at = now
        self.heard_at: float | None = None
        self.late = ""
        self.suspended = False
        self._cancelling = task.cancelling()

    def timed_out(self) -> bool:
        """Whether it is us who cancelled the task, and nobody besides; asked once, when it was cancelled.

        The way `asyncio.timeout` tells its own cancellation from the caller's.
        """
        return bool(self.late) and self.task.uncancel() <= self._cancelling


class Deadlines:
    """Cancels attempts that take too long, or of which nothing is heard for too long.

    Time in which the loop stood still (a stopped process, a laptop that sleeps, blocking code of the caller)
    counts for no timeout: the service may well have answered in it.
    """

    def __init__(self, *, total: float, silence: float) -> None:
        """See the class; inside the running loop.

        Args:
            total: seconds for one attempt.
            silence: seconds without a byte.
        """
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._total = total
        self._silence = silence
        self._tick = min(total / _LOOKS, silence / _LOOKS, _LONGEST_TICK)
        self._attempts: dict[asyncio.Task[Any] | None, Attempt] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer should fire

    def begin(self) -> Attempt:
        """The current task sends something; `end` must follow."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - coroutines of ours are awaited in tasks
        attempt = self._attempts[task] = Attempt(task, self.now())
        if self._timer is None:
            self._start_timer()
        return attempt

    def connected(self) -> None:
        """The current task has a connection: from now on there can be silence."""
        attempt = self._attempts.get(asyncio.current_task(self._loop))
        if attempt is not None:
            attempt.heard_at = self.now()

    def end(self, attempt: Attempt) -> None:
        """It is over, whichever way."""
        del self._attempts[attempt.task]

    def aclose(self) -> None:
        """Nothing is sent any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_timer(self) -> None:
        self._due = self.now() + self._tick
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        # First of all: asyncio runs the timer before it wakes the tasks whose connections were lost, or
        # timed out in aiohttp, while the loop stood still. They must find the attempt marked.
        overdue = self.now() - self._due
        if overdue > self._tick:
            for attempt in self._attempts.values():
                attempt.suspended = True
                attempt.began_at += overdue
                if attempt.heard_at is not None:
                    attempt.heard_at += overdue
        if self._attempts:
            self._start_timer()
        else:
            self._timer = None
        # A loop that was held up has read what came meanwhile; those who wait for it have their turn first.
        self._loop.call_soon(self._cancel_late)

    def _cancel_late(self) -> None:
        now = self.now()
        for attempt in self._attempts.values():
            if attempt.late:
                continue
            if now - attempt.began_at >= self._total:
                attempt.late = "total"
            elif attempt.heard_at is not None and now - attempt.heard_at >= self._silence:
                attempt.late = "silence"
            else:
                continue
            attempt.task.cancel()
