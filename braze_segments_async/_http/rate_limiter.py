"""The rate limiter that every request of a client passes.

Braze shares a workspace's hourly allowance between about sixty endpoints, message sending among them, and
its windows end on the clock hour (Braze: "API limits"). So after a 429 waiting for the named moment is what
helps; backoff alone earns more of them.
"""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import sleep
from time import monotonic
from typing import TYPE_CHECKING

from braze_segments_async._models import Stats
from braze_segments_async._settings import PauseEvent
from braze_segments_async._text import logger
from braze_segments_async.errors import RateLimitedError

from .headers import MAX_SECONDS, from_epoch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from braze_segments_async._rate_limit import RateLimit

__all__ = ["RateLimiter", "too_long"]


class RateLimiter:
    """Pauses all requests of a client when the service says wait, and before it has to.

    It pauses after a 429, and before one: when the remaining requests, less those still in flight, are
    down to the reserve. It continues at the moment the service named.
    """

    def __init__(
        self,
        *,
        reserve: float,
        max_wait: float,
        on_pause: Callable[[PauseEvent], object] | None = None,
    ) -> None:
        """See the class.

        Args:
            reserve: the share of the allowance that is left to others.
            max_wait: seconds; a longer wait raises at once.
            on_pause: Called when a pause begins or becomes longer.
        """
        self.latest: RateLimit | None = None
        self._reserve = reserve
        self._max_wait = max_wait
        self._on_pause = on_pause
        self._in_flight = self._most_in_flight = self._requests = 0
        self._remaining: int | None = None  # requests in this window; None if unknown
        self._reserved = 0  # requests of this window that are reserved for other clients
        self._window_start_remaining = self._window_start_requests = 0  # when first seen
        self._window = 0.0  # the latest, by the moment it resets at: seconds of the epoch
        self._window_ends = 0.0  # the same moment, by our clock
        self._paused_until_monotonic = 0.0
        self._resets_at: datetime | None = None
        self._paused_until: datetime | None = None  # the same by the local clock, for people
        self._pause_reason = ""
        self._waits = 0
        self._changed = asyncio.Event()

    async def acquire(self) -> None:
        """Wait until a request may be sent, and count it as in flight; `release` must follow.

        Raises:
            RateLimitedError: the wait would be longer than the maximum.
        """
        while True:
            now = monotonic()
            if now < self._paused_until_monotonic:
                await self._wait(self._paused_until_monotonic - now)
            elif self._remaining is None or self._remaining - self._in_flight > self._reserved:
                break
            elif now >= self._window_ends:
                self._remaining = None  # a new window, about which nothing is known yet
            elif self._in_flight:
                # Requests in flight may already be counted in `_remaining`: their responses will say.
                self._changed.clear()
                await self._changed.wait()
            else:
                resets_at = self.latest.resets_at if self.latest else None
                self.pause(
                    self._window_ends - now,
                    "the rate limit is down to the reserve",
                    resets_at,
                )
        self._in_flight += 1
        self._requests += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def release(self, rate_limit: RateLimit | None = None, sent: float | None = None) -> None:
        """A request is over.

        Args:
            rate_limit: what its reply said of the allowance, if there was one.
            sent: when the reply was sent, by the service's clock; `None` if the reply was a 429, which
                names its own wait (see `pause`).
        """
        self._in_flight -= 1
        if rate_limit is not None:
            self.latest = rate_limit
            if sent is not None and rate_limit.remaining is not None and rate_limit.resets_at is not None:
                self._update_window(
                    rate_limit.remaining, rate_limit.limit, rate_limit.resets_at.timestamp(), sent
                )
        self._changed.set()

    def pause(self, seconds: float, reason: str, resets_at: datetime | None) -> None:
        """Pause all requests for `seconds`; never shorten a longer pause."""
        self._remaining = None  # until the next reply says how the next window stands
        opens = monotonic() + seconds
        self._waits += not self.paused
        if opens > self._paused_until_monotonic:
            self._paused_until_monotonic, self._resets_at, self._pause_reason = opens, resets_at, reason
            self._paused_until = until = from_epoch(time.time() + seconds)
            logger.info("paused for %.1f s: %s", seconds, reason, extra={"wait": seconds})
            if self._on_pause is not None and until is not None:
                self._on_pause(PauseEvent(seconds, until, reason))

    @property
    def paused(self) -> bool:
        """Whether a request would have to wait for a named moment."""
        return monotonic() < self._paused_until_monotonic

    @property
    def stats(self) -> Stats:
        """The counts of this client's requests, and the current pause."""
        return Stats(
            requests=self._requests,
            waits=self._waits,
            in_flight=self._in_flight,
            paused_until=self._paused_until if self.paused else None,
            pause_reason=self._pause_reason if self.paused else "",
        )

    def _update_window(self, remaining: int, limit: int | None, resets_at: float, sent: float) -> None:
        resets_in = resets_at - sent
        if not 0 < resets_in <= MAX_SECONDS:
            return
        now = monotonic()
        ends = now + resets_in
        # Replies overtake each other, and some are long on their way. The moment they name tells which window
        # they are of; where it is rate_limit in relative seconds, it may be off by one.
        ahead = resets_at - self._window
        over = now >= self._window_ends
        if ahead < -1.0 or (over and ahead <= 0.0):
            return  # of a window that is over
        if not over and ahead <= 1.0:
            ends = min(ends, self._window_ends)
            if self._remaining is not None:
                remaining = min(remaining, self._remaining)
        else:
            self._window = resets_at
            self._window_start_remaining, self._window_start_requests = (
                remaining,
                self._requests - self._in_flight,
            )
        self._remaining, self._window_ends = remaining, ends
        if limit is not None:
            self._reserved = int(limit * self._reserve)
            if self._window_start_remaining - remaining > self._requests - self._window_start_requests:
                # Another client shares the rate limit: leave room for the requests it may have in flight.
                self._reserved = max(self._reserved, min(self._most_in_flight, limit // 4))

    async def _wait(self, seconds: float) -> None:
        if seconds > self._max_wait:
            raise self._too_long(seconds)
        # Wait at least the named time, plus jitter, so that clients do not restart together.
        await sleep(seconds + random.uniform(0.0, min(1.0, seconds / 10)))  # noqa: S311 - not a secret

    def _too_long(self, seconds: float) -> RateLimitedError:
        reason, remedy = too_long(seconds, self._resets_at, self._max_wait)
        error = RateLimitedError(reason, status=429, remedy=remedy)
        error.rate_limit, error.resets_at, error.retry_after = self.latest, self._resets_at, seconds
        return error


def too_long(seconds: float, resets_at: datetime | None, max_wait: float) -> tuple[str, dict[str, str]]:
    """Return the reason and the remedy where a wait is longer than the longest one allowed."""
    until = f" (until {resets_at:%Y-%m-%d %H:%M:%S} UTC)" if resets_at else ""
    reason = f"the workspace's rate limit allows the next request in {seconds:,.0f} s{until}: try again then"
    return reason, {"max_rate_limit_wait": f"({max_wait:g} s) can be longer"}
