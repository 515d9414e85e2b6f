"""The one gate that every request of a client passes.

Braze shares a workspace's hourly allowance between about sixty endpoints, message sending among them, and
its windows end on the clock hour (Braze: "API limits"). So after a 429 waiting for the named moment is what
helps; backoff alone earns more of them.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from .errors import RateLimitedError
from .log import logger
from .models import Stats
from .rate_limit import LONGEST, moment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from .rate_limit import RateLimit

__all__ = ["RateGate", "too_long"]


class RateGate:
    """The one gate before every request of a client: closed for all when the service says wait.

    It closes after a 429, and before one: when what remains of the allowance, less the requests still in
    flight, is down to the reserve. It opens at the moment the service named.
    """

    def __init__(
        self,
        *,
        reserve: float,
        max_wait: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """See the class.

        Args:
            reserve: the share of the allowance that is left to others.
            max_wait: seconds; a longer wait raises at once.
            clock: monotonic seconds.
            sleep: for tests.
            uniform: for tests.
        """
        self.latest: RateLimit | None = None
        self._reserve = reserve
        self._max_wait = max_wait
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._in_flight = self._most_in_flight = self._requests = 0
        self._left: int | None = None  # of the window, as told; None while nothing was told
        self._kept = 0  # requests of the window that are left to others
        self._first_left = self._earlier_requests = 0  # when the window was first heard of
        self._window = 0.0  # the latest, by the moment it resets at: seconds of the epoch
        self._window_ends = 0.0  # the same moment, by our clock
        self._opens = 0.0
        self._resets_at: datetime | None = None
        self._opens_at: datetime | None = None  # the same by the local clock, for people
        self._why = ""
        self._waits = 0
        self._changed = asyncio.Event()

    async def enter(self) -> None:
        """Wait until a request may be sent, and count it as in flight; `leave` must follow.

        Raises:
            RateLimitedError: the wait would be longer than the maximum.
        """
        while True:
            now = self._clock()
            if now < self._opens:
                await self._wait(self._opens - now)
            elif self._left is None or self._left - self._in_flight > self._kept:
                break
            elif now >= self._window_ends:
                self._left = None  # a new window, about which nothing was told yet
            elif self._in_flight:
                # What is in flight may be counted in `_left` already: its replies will tell.
                self._changed.clear()
                await self._changed.wait()
            else:
                resets_at = self.latest.resets_at if self.latest else None
                self.close(self._window_ends - now, "the allowance is down to the reserve", resets_at)
        self._in_flight += 1
        self._requests += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def leave(self, told: RateLimit | None = None, sent: float | None = None) -> None:
        """A request is over.

        Args:
            told: what its reply said of the allowance, if there was one.
            sent: when the reply was sent, by the service's clock; `None` if the reply was a 429, which
                names its own wait (see `close`).
        """
        self._in_flight -= 1
        if told is not None:
            self.latest = told
            if sent is not None and told.remaining is not None and told.resets_at is not None:
                self._learn(told.remaining, told.limit, told.resets_at.timestamp(), sent)
        self._changed.set()

    def close(self, seconds: float, why: str, resets_at: datetime | None) -> None:
        """Let nothing pass for so long; a gate that is closed for longer stays so."""
        self._left = None  # until the next reply says how the next window stands
        opens = self._clock() + seconds
        self._waits += not self.closed
        if opens > self._opens:
            self._opens, self._resets_at, self._why = opens, resets_at, why
            self._opens_at = moment(time.time() + seconds)
            logger.info("paused for %.1f s: %s", seconds, why, extra={"wait": seconds})

    @property
    def closed(self) -> bool:
        """Whether a request would have to wait for a named moment."""
        return self._clock() < self._opens

    @property
    def stats(self) -> Stats:
        """What the gate knows of a client's requests."""
        return Stats(
            requests=self._requests,
            waits=self._waits,
            in_flight=self._in_flight,
            paused_until=self._opens_at if self.closed else None,
            pause_reason=self._why if self.closed else "",
        )

    def _learn(self, remaining: int, limit: int | None, resets_at: float, sent: float) -> None:
        resets_in = resets_at - sent
        if not 0 < resets_in <= LONGEST:
            return
        now = self._clock()
        ends = now + resets_in
        # Replies overtake each other, and some are long on their way. The moment they name tells which window
        # they are of; where it is told in relative seconds, it may be off by one.
        ahead = resets_at - self._window
        over = now >= self._window_ends
        if ahead < -1.0 or (over and ahead <= 0.0):
            return  # of a window that is over
        if not over and ahead <= 1.0:
            ends = min(ends, self._window_ends)
            if self._left is not None:
                remaining = min(remaining, self._left)
        else:
            self._window = resets_at
            self._first_left, self._earlier_requests = remaining, self._requests - self._in_flight
        self._left, self._window_ends = remaining, ends
        if limit is not None:
            self._kept = int(limit * self._reserve)
            if self._first_left - remaining > self._requests - self._earlier_requests:
                # Somebody else is at it, who may have as many on their way as we and know as little of us.
                self._kept = max(self._kept, min(self._most_in_flight, limit // 4))

    async def _wait(self, seconds: float) -> None:
        if seconds > self._max_wait:
            raise self._too_long(seconds)
        # Never earlier than named, and not all at once: neither our own requests nor other clients'.
        await self._sleep(seconds + self._uniform(0.0, min(1.0, seconds / 10)))

    def _too_long(self, seconds: float) -> RateLimitedError:
        error = RateLimitedError(too_long(seconds, self._resets_at, self._max_wait), status=429)
        error.rate_limit, error.resets_at, error.retry_after = self.latest, self._resets_at, seconds
        return error


def too_long(seconds: float, resets_at: datetime | None, max_wait: float) -> str:
    """Why a rate limit is raised and not waited for; how long, until when, and what to do."""
    until = f" (until {resets_at:%Y-%m-%d %H:%M:%S} UTC)" if resets_at else ""
    return (
        f"the workspace's rate limit allows the next request in {seconds:,.0f} s{until}, longer than "
        f"max_rate_limit_wait ({max_wait:g} s): try again then, or raise it"
    )
