"""Strategies for an export that shares the rate limit with production; used by `scaling.py`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from rate_limit_pool import HOUR, LIMIT, Pool
from yarl import URL

from braze_segments_async import BrazeSegments, RateLimit, RetryPolicy
from braze_segments_async._http import rate_limiter
from braze_segments_async._http.endpoints import details
from braze_segments_async._http.rate_limiter import RateLimiter
from braze_segments_async._http.responses import Response
from braze_segments_async._http.sender import RequestSender
from braze_segments_async._text import Secret

if TYPE_CHECKING:
    import random

    from braze_segments_async._http.transport import Transport

__all__ = ["STRATEGIES", "Fleet", "Strategy"]

_LATENCY = 0.1  # seconds
_CONCURRENCY = 16  # the package's default
_EPOCH = 500_000 * HOUR  # when the simulation begins: a full hour
_THROTTLE = 0.1  # share of the rate limit, evenly over the hour
_OK = json.dumps({"message": "success", "name": "a segment"}).encode()


class Fleet:
    """The processes that all exports share: limits the total number of requests per second."""

    def __init__(self, requests_per_second: float, chance: random.Random) -> None:
        self.chance = chance
        self._each = 1 / requests_per_second
        self._free_at = 0.0

    async def send(self, pool: Pool) -> bool:
        """Send one request, and return whether it was allowed."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + self._each
        await asyncio.sleep(self._free_at - now + _LATENCY / 2)
        allowed = pool.take(asyncio.get_running_loop().time())
        await asyncio.sleep(_LATENCY / 2)
        return allowed


Strategy = Callable[[Fleet, Pool, int], Awaitable[None]]


async def _repeat(requests: int, one: Callable[[], Awaitable[object]]) -> None:
    """Send so many requests with the default concurrency."""
    left = requests

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    await asyncio.gather(*[worker() for _ in range(_CONCURRENCY)])


async def ideal(fleet: Fleet, pool: Pool, requests: int) -> None:
    """Use only what production will not need; no real client can know that."""
    loop = asyncio.get_running_loop()
    taken: dict[int, int] = {}

    async def one() -> None:
        while True:
            hour = int(loop.time() // HOUR)
            if taken.get(hour, 0) < LIMIT - pool.sends.total(hour):
                taken[hour] = taken.get(hour, 0) + 1
                if await fleet.send(pool):
                    return
            else:
                await asyncio.sleep((hour + 1) * HOUR - loop.time())

    await _repeat(requests, one)


def this_package(reserve: float) -> Strategy:
    """Return a strategy that uses the package's rate limiter and waits as long as the command does."""

    async def strategy(fleet: Fleet, pool: Pool, requests: int) -> None:
        retry = RetryPolicy(max_rate_limit_wait=3_900.0)
        rate_limiter.monotonic = asyncio.get_running_loop().time  # type: ignore[attr-defined] # virtual time
        client = BrazeSegments("key", base_url="https://rest.iad-01.braze.com", retry=retry)
        sender = RequestSender(
            cast("Transport", _SimulatedTransport(fleet, pool)),
            RateLimiter(reserve=reserve, max_wait=retry.max_rate_limit_wait),
            client._manager.settings,  # noqa: SLF001 - of a client with the default arguments
            base_url=URL("https://rest.iad-01.braze.com"),
            key=Secret("key"),
            key_hint="",
        )
        request = details("a-segment")
        await _repeat(requests, lambda: sender.send(request))

    return strategy


class _SimulatedTransport:
    """A stand-in for the package's `Transport` that responds as Braze does, with `Date` in whole seconds."""

    def __init__(self, fleet: Fleet, pool: Pool) -> None:
        self._fleet = fleet
        self._pool = pool

    async def send(self, *_: object, **__: object) -> Response:
        """Wait for the response of the simulated workspace."""
        allowed = await self._fleet.send(self._pool)
        sent = _EPOCH + int(asyncio.get_running_loop().time() - _LATENCY / 2)
        reset = sent - sent % HOUR + HOUR
        rate_limit = RateLimit(LIMIT, self._pool.remaining, datetime.fromtimestamp(reset, UTC))
        headers: dict[str, Any] = {"X-RateLimit-Reset": str(reset)}
        return Response(200 if allowed else 429, headers, _OK, rate_limit, float(sent))


def throttled(share: float) -> Strategy:
    """Return a strategy with a fixed request rate that retries a 429 with backoff."""

    async def strategy(fleet: Fleet, pool: Pool, requests: int) -> None:
        loop = asyncio.get_running_loop()
        upcoming = loop.time()

        async def one() -> None:
            nonlocal upcoming
            mine = upcoming = max(upcoming, loop.time()) + HOUR / (share * LIMIT)
            await asyncio.sleep(mine - loop.time())
            await _until_allowed(fleet, pool)

        await _repeat(requests, one)

    return strategy


async def backoff(fleet: Fleet, pool: Pool, requests: int) -> None:
    """Send as fast as possible, and retry a 429 with backoff."""
    await _repeat(requests, lambda: _until_allowed(fleet, pool))


async def _until_allowed(fleet: Fleet, pool: Pool) -> None:
    """Retry a 429 after up to 0.5 s, doubling to 20 s, with full jitter, as cloud SDKs do."""
    attempt = 0
    while not await fleet.send(pool):
        await asyncio.sleep(fleet.chance.uniform(0, min(20.0, 0.5 * 2**attempt)))
        attempt = min(attempt + 1, 10)


STRATEGIES: dict[str, Strategy] = {
    "ideal": ideal,
    "this package": this_package(reserve=0.1),
    "this package, `reserve=0.3`": this_package(reserve=0.3),
    "static throttle, a tenth of the limit": throttled(_THROTTLE),
    "retry on 429, with backoff": backoff,
}
