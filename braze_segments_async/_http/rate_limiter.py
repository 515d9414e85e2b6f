"""The rate limiter that every request of a client to Braze passes.

About sixty endpoints share the hourly rate limit of a workspace, including those that send messages, and its
windows end on the clock hour (Braze: "API limits"). So after a 429 a client must wait until the end of the
window: backoff alone leads to more 429s.
"""

from __future__ import annotations

import asyncio
import random
import time
from asyncio import sleep
from time import monotonic
from typing import TYPE_CHECKING

from braze_segments_async._models import Stats
from braze_segments_async._rate_limit import RateLimit
from braze_segments_async._settings import PauseEvent
from braze_segments_async._text import logger
from braze_segments_async.errors import RateLimitedError

from .headers import MAX_SECONDS, from_epoch

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

__all__ = ["BRAZE_429", "PROXY_429", "RateLimiter", "too_long"]

BRAZE_429, PROXY_429 = "429", "429 from something in front of Braze"  # reasons of a pause


class RateLimiter:
    """Delays the requests of a client after a 429, and to avoid one.

    It pauses requests when the remaining requests, minus those in flight, are down to the reserve, until the
    window resets.

    Attributes:
        latest: Rate limit from the most recent response, however old; `None` before the first.
    """

    def __init__(
        self,
        *,
        reserve: float,
        max_wait: float,
        on_pause: Callable[[PauseEvent], object] | None = None,
    ) -> None:
        """Start with an unknown rate limit and no pause.

        Args:
            reserve: Fraction of the rate limit that is left to other clients.
            max_wait: Maximum seconds to wait; a longer wait raises at once.
            on_pause: Called when a pause begins or becomes longer.
        """
        self.latest: RateLimit | None = None
        self._reserve = reserve
        self._max_wait = max_wait
        self._on_pause = on_pause
        self._in_flight = self._max_in_flight = self._requests = 0
        self._remaining: int | None = None  # requests in this window; None if unknown
        self._reserved = 0  # requests of this window that are reserved for other clients
        self._window_start_remaining = self._window_start_requests = 0  # at the first response of the window
        self._window = 0.0  # the current window: seconds of the epoch at which it resets
        self._window_ends = 0.0  # the same time, by the monotonic clock
        self._paused_until_monotonic = 0.0
        self._resets_at: datetime | None = None
        self._paused_until: datetime | None = None  # the same time, by the local clock
        self._pause_reason = ""
        self._latest_received = self._latest_sent = 0.0  # by the monotonic clock, and by the service's clock
        self._waits = 0
        self._changed = asyncio.Event()

    async def acquire(self) -> None:
        """Wait until a request may be sent, and count it as in flight; `release` must follow.

        Raises:
            RateLimitedError: The wait would be longer than the maximum.
        """
        # Other requests run during each await below and can change any state, so all of it is checked again.
        # There is no await between the check that ends the loop and the counts after it: of the requests that
        # wake up together, each one sees those that were let through before it.
        while True:
            now = monotonic()
            if now < self._paused_until_monotonic:
                await self._wait(self._paused_until_monotonic - now)
            elif self._remaining is None or self._remaining - self._in_flight > self._reserved:
                break
            elif now >= self._window_ends:
                # A new window: nothing is known about it, so all waiting requests pass. The first response
                # calls `_update_window`.
                self._remaining = None
            elif self._in_flight:
                # Requests in flight may already be counted in `_remaining`: wait for one of their responses.
                # `release` cannot run between the check and the await, so the event misses no response.
                self._changed.clear()
                await self._changed.wait()
            else:
                resets_at = self.latest.resets_at if self.latest else None
                self.pause(self._window_ends - now, "the rate limit is down to the reserve", resets_at)
        self._in_flight += 1
        self._requests += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)

    def release(
        self, rate_limit: RateLimit | None = None, sent: float = 0.0, *, rate_limited: bool = False
    ) -> None:
        """Count a request as no longer in flight, and use the rate limit of its response.

        Args:
            rate_limit: Rate limit from the response; `None` without a response or headers.
            sent: Time at which the response was sent, in seconds of the epoch by the service's clock.
            rate_limited: Whether the response is a 429. Its wait is passed to `pause`, and its headers can be
                of the next window.
        """
        # No await between the two updates: else this request would be neither in flight nor counted in the
        # remaining requests, and `acquire` could let through one request too many.
        self._in_flight -= 1
        if rate_limit is not None:
            self.latest, self._latest_sent, self._latest_received = rate_limit, sent, monotonic()
            if not rate_limited and rate_limit.remaining is not None and rate_limit.resets_at is not None:
                self._update_window(
                    rate_limit.remaining, rate_limit.limit, rate_limit.resets_at.timestamp(), sent
                )
        self._changed.set()

    def pause(self, seconds: float, reason: str, resets_at: datetime | None) -> None:
        """Pause all requests for `seconds`; never shorten a longer pause.

        Args:
            seconds: Length of the pause from now on.
            reason: Cause of the pause.
            resets_at: Time at which the rate limit resets, for messages; `None` if unknown.
        """
        # Unknown until a response of the next window. A response that is still in flight can set it for the
        # old window; `acquire` discards that value when the old window has ended.
        self._remaining = None
        end = monotonic() + seconds
        self._waits += not self.paused
        if end > self._paused_until_monotonic:
            # The 429s of one burst name the same moment, milliseconds apart: announce it once.
            same = self.paused and end - self._paused_until_monotonic < 1.0
            self._paused_until_monotonic, self._resets_at, self._pause_reason = end, resets_at, reason
            self._paused_until = until = from_epoch(time.time() + seconds)
            if same:
                return
            logger.info("paused for %.1f s: %s", seconds, reason, extra={"wait": seconds})
            if self._on_pause is not None and until is not None:
                self._on_pause(PauseEvent(seconds, until, reason))

    @property
    def current(self) -> RateLimit | None:
        """The rate limit from the most recent response, without what is out of date.

        Its age is measured from the `Date` of the response, by the monotonic clock: a wrong local clock does
        not matter.
        """
        latest = self.latest
        if latest is None or latest.resets_at is None:
            return latest
        now = self._latest_sent + monotonic() - self._latest_received
        return latest if now < latest.resets_at.timestamp() else RateLimit(latest.limit, None, None)

    @property
    def paused(self) -> bool:
        """True during a pause."""
        return monotonic() < self._paused_until_monotonic

    @property
    def stats(self) -> Stats:
        """The counts of requests and the current pause, without retries and bytes."""
        return Stats(
            requests=self._requests,
            waits=self._waits,
            in_flight=self._in_flight,
            paused_until=self._paused_until if self.paused else None,
            pause_reason=self._pause_reason if self.paused else "",
        )

    def _update_window(self, remaining: int, limit: int | None, resets_at: float, sent: float) -> None:
        """Use the rate limit of one response, which may be older than what is known.

        Responses overtake each other: one of an earlier window can arrive after one of the current window,
        and one with more remaining requests after one with fewer. `resets_at` identifies the window; within
        one window it can differ by a second if the service sends it in relative seconds.
        """
        resets_in = resets_at - sent
        if not 0 < resets_in <= MAX_SECONDS:
            return
        now = monotonic()
        ends = now + resets_in
        ahead = resets_at - self._window
        over = now >= self._window_ends
        if ahead < -1.0 or (over and ahead <= 0.0):
            return  # a late response of a window that has ended
        if not over and ahead <= 1.0:  # the current window: keep the lower values
            ends = min(ends, self._window_ends)
            if self._remaining is not None:
                remaining = min(remaining, self._remaining)
        else:  # the first response of a new window
            self._window = resets_at
            self._window_start_remaining = remaining
            self._window_start_requests = self._requests - self._in_flight
        self._remaining, self._window_ends = remaining, ends
        if limit is not None:
            self._reserved = int(limit * self._reserve)
            if self._window_start_remaining - remaining > self._requests - self._window_start_requests:
                # More requests were used than this client sent: another client shares the rate limit. Reserve
                # requests for those that it may have in flight.
                self._reserved = max(self._reserved, min(self._max_in_flight, limit // 4))

    async def _wait(self, seconds: float) -> None:
        if seconds > self._max_wait:
            raise self._too_long(seconds)
        # Wait at least the named time, plus jitter, so that clients do not restart together.
        await sleep(seconds + random.uniform(0.0, min(1.0, seconds / 10)))  # noqa: S311 - not a secret

    def _too_long(self, seconds: float) -> RateLimitedError:
        reason, remedy = too_long(seconds, self._resets_at, self._max_wait, self._pause_reason)
        return RateLimitedError(
            reason,
            remedy=remedy,
            resets_at=self._resets_at,
            rate_limit=self.latest,
            retry_after=seconds,
        )


def too_long(
    seconds: float, resets_at: datetime | None, max_wait: float, pause_reason: str
) -> tuple[str, dict[str, str]]:
    """Return the reason and the remedy of an error for a wait that is longer than the maximum."""
    source = "the workspace's rate limit"
    if pause_reason == PROXY_429:
        source = "something in front of Braze, such as a proxy,"
    until = f" (until {resets_at:%Y-%m-%d %H:%M:%S} UTC)" if resets_at else ""
    reason = f"{source} allows the next request in {seconds:,.0f} s{until}: try again then"
    return reason, {"max_rate_limit_wait": f"({max_wait:g} s) can be longer"}
