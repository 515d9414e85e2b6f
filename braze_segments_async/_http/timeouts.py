"""One timer enforces all request timeouts (a timer per request costs about 10 % more CPU)."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Attempt", "TimeoutWatchdog"]

_CHECKS_PER_TIMEOUT = 50  # a timeout fires at most 2 % late
_MAX_TICK = 0.25  # seconds


class Attempt:
    """One request on its way.

    Attributes:
        last_activity: when data was received last, by the loop's clock; at first, when the request got its
            connection, and `None` before.
        suspended: whether the process, or its event loop, stood still while the attempt was on its way.
    """

    __slots__ = ("_cancelling", "began_at", "last_activity", "suspended", "task", "timeout_kind")

    def __init__(self, task: asyncio.Task[object], now: float) -> None:
        self.task = task
        self.began_at = now
        self.last_activity: float | None = None
        self.timeout_kind = ""
        self.suspended = False
        self._cancelling = task.cancelling()

    def timed_out(self) -> bool:
        """Return whether only this watchdog cancelled the task; call it once, after the cancellation.

        The way `asyncio.timeout` tells its own cancellation from the caller's.
        """
        return bool(self.timeout_kind) and self.task.uncancel() <= self._cancelling


class TimeoutWatchdog:
    """Cancels attempts that take too long, or that receive no data for too long.

    Time in which the loop stood still (a stopped process, a laptop that sleeps, blocking code of the caller)
    counts for no timeout: the service may well have answered in it.
    """

    def __init__(self, *, total: float, read_timeout: float) -> None:
        """Take the running loop.

        Args:
            total: seconds for one attempt.
            read_timeout: seconds without a byte.
        """
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._total = total
        self._read_timeout = read_timeout
        self._tick = min(total / _CHECKS_PER_TIMEOUT, read_timeout / _CHECKS_PER_TIMEOUT, _MAX_TICK)
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
            attempt.last_activity = self.now()

    def end(self, attempt: Attempt) -> None:
        """Stop tracking an attempt."""
        del self._attempts[attempt.task]

    def aclose(self) -> None:
        """Cancel the timer."""
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
                if attempt.last_activity is not None:
                    attempt.last_activity += overdue
        if self._attempts:
            self._start_timer()
        else:
            self._timer = None
        # After a blocked loop, let pending reads run before deciding what timed out.
        self._loop.call_soon(self._cancel_late)

    def _cancel_late(self) -> None:
        now = self.now()
        for attempt in self._attempts.values():
            if attempt.timeout_kind:
                continue
            if now - attempt.began_at >= self._total:
                attempt.timeout_kind = "total"
            elif attempt.last_activity is not None and now - attempt.last_activity >= self._read_timeout:
                attempt.timeout_kind = "read"
            else:
                continue
            attempt.task.cancel()
