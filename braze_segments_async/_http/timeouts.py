"""One timer enforces the timeouts of all requests in flight.

A timer for each request (`asyncio.timeout`, or aiohttp's own) costs about 10 % more CPU a request, and would
fire for time in which the whole process was suspended.
"""

from __future__ import annotations

import asyncio

from braze_segments_async._support import TaskCancellation

__all__ = ["Attempt", "TimeoutWatchdog"]

_CHECKS_PER_TIMEOUT = 50  # a timeout fires at most 2 % late
_MAX_TICK = 0.25  # seconds


class Attempt(TaskCancellation):
    """One request in flight. Its `reason` is "total" or "read" once a timeout has cancelled its task.

    Attributes:
        started: Start of the attempt, by the loop's clock.
        last_activity: Time of the last received data, or of getting the connection, by the loop's clock;
            `None` without a connection.
        suspended: Whether the process or its event loop stood still during the attempt.
    """

    __slots__ = ("last_activity", "started", "suspended")

    def __init__(self, task: asyncio.Task[object], now: float) -> None:
        super().__init__(task)
        self.started = now
        self.last_activity: float | None = None
        self.suspended = False


class TimeoutWatchdog:
    """Cancels attempts that take too long, or that receive no data for too long.

    Time in which the loop stood still (a stopped process, a laptop that sleeps, blocking code of the caller)
    counts for no timeout: the service may well have responded in it.
    """

    def __init__(self, *, total: float, read_timeout: float) -> None:
        """Use the running loop.

        Args:
            total: Seconds for one attempt.
            read_timeout: Seconds without a byte.
        """
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._total = total
        self._read_timeout = read_timeout
        self._tick = min(total / _CHECKS_PER_TIMEOUT, read_timeout / _CHECKS_PER_TIMEOUT, _MAX_TICK)
        self._attempts: dict[asyncio.Task[object] | None, Attempt] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when the timer should fire

    def begin(self) -> Attempt:
        """Start to watch the current task; `end` must follow."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - the coroutines of this package run in tasks
        attempt = self._attempts[task] = Attempt(task, self.now())
        if self._timer is None:
            self._start_timer()
        return attempt

    def connected(self) -> None:
        """Start the read timeout of the current task: it has a connection."""
        attempt = self._attempts.get(asyncio.current_task(self._loop))
        if attempt is not None:
            attempt.last_activity = self.now()

    def end(self, attempt: Attempt) -> None:
        """Stop watching an attempt."""
        del self._attempts[attempt.task]

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _start_timer(self) -> None:
        self._due = self.now() + self._tick
        self._timer = self._loop.call_at(self._due, self._check_clock)

    def _check_clock(self) -> None:
        # Mark the attempts here, in the timer itself: asyncio runs it before it wakes the tasks whose
        # connections were lost, or timed out in aiohttp, while the loop stood still.
        now = self.now()
        overdue = now - self._due
        if overdue > self._tick:
            for attempt in self._attempts.values():
                if attempt.started >= self._due:
                    continue  # it began after the suspension
                attempt.suspended = True
                attempt.started += overdue
                if attempt.last_activity is not None:
                    attempt.last_activity += overdue
        if self._attempts:
            self._start_timer()
        else:
            self._timer = None
        # Cancel one iteration of the event loop later: after a blocked loop, pending reads must run first.
        # Judge by the time of this check: a suspension before that is seen by the next check only.
        self._loop.call_soon(self._cancel_overdue, now)

    def _cancel_overdue(self, now: float) -> None:
        for attempt in self._attempts.values():
            if now - attempt.started >= self._total:
                attempt.cancel("total")
            elif attempt.last_activity is not None and now - attempt.last_activity >= self._read_timeout:
                attempt.cancel("read")
