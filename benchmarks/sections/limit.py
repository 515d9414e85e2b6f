"""Measure the time under a rate limit, compared with the ideal, and count the refused requests."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from clients.aiohttp_loops import details_with_backoff, details_with_package, new_client, new_session
from report import Row, Section
from servers.process import counts, server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from report import Scale

TITLE = "Under a rate limit"
_LIMIT = 500
_SECONDS = 2
_LATENCY = 0.02
_CONCURRENCY = 64
_ALLOWED = 1.05

_SIZES = {"smoke": 550, "quick": 1_000, "full": 5_000}  # details


class _Cost(NamedTuple):
    seconds: float
    ideal: float
    refused: int


def ideal(details: int, limit: int, seconds: int, latency: float, concurrency: int) -> float:
    """Return the seconds until the start of the last window needed, plus the work in that window."""
    windows = -(-details // limit)
    left = details - (windows - 1) * limit
    return (windows - 1) * seconds + max(latency, left * latency / concurrency)


def run(scale: Scale) -> Section:
    """Measure wall time, and count the 429s."""
    details = _SIZES[scale]
    ids = [f"segment-{number}" for number in range(details)]
    contenders = {
        "one client": _alone,
        "two clients that share the limit": _shared,
        "by hand, 429s retried with backoff": _by_hand,
    }
    rows = []
    for name, ask in contenders.items():
        cost = asyncio.run(_measure(ask, ids))
        rows.append(
            Row(
                f"{details:,} details: {name} / ideal",
                cost.seconds,
                cost.ideal,
                "s",
                (cost.seconds / cost.ideal,),
                _ALLOWED if ask is _alone and scale == "full" else None,
                f"{cost.refused:,} refused (429)",
                reference=ask is _by_hand,
            )
        )
    text = (
        f"{_LIMIT} requests per window of {_SECONDS} s, aligned to the clock; {1000 * _LATENCY:.0f} ms "
        f"latency, concurrency {_CONCURRENCY}, `reserve=0`, started at the start of a window. The ideal is "
        "the start of the last window needed plus the work in that window. Each of two clients leaves its "
        "number of in-flight requests unused; as the work fills the windows exactly, one leftover request "
        "costs another window. The `Date` header has a resolution of one second, half a window."
    )
    return Section(TITLE, text, tuple(rows))


async def _measure(ask: Callable[[str, Sequence[str]], Awaitable[int]], ids: Sequence[str]) -> _Cost:
    """Run once against a new server, from the start of a window."""
    options = ("--latency", str(_LATENCY), "--rate-limit", f"{_LIMIT}:{_SECONDS}")
    with server(*options) as url:
        now = time.time()
        await asyncio.sleep(_SECONDS - now % _SECONDS)
        late = time.time() % _SECONDS
        began = time.perf_counter()
        results = await ask(url, ids)
        took = time.perf_counter() - began
        if results != len(ids):
            raise RuntimeError(f"{results} results instead of {len(ids)}")
        best = ideal(len(ids), _LIMIT, _SECONDS, _LATENCY, _CONCURRENCY)
        return _Cost(took + late, best, counts(url)["refused"])


async def _alone(url: str, ids: Sequence[str]) -> int:
    async with new_client(url, reserve=0.0) as client:
        return len(await details_with_package(client, ids, _CONCURRENCY))


async def _shared(url: str, ids: Sequence[str]) -> int:
    async with new_client(url, reserve=0.0) as first, new_client(url, reserve=0.0) as second:
        parts = await asyncio.gather(
            details_with_package(first, ids[::2], _CONCURRENCY // 2),
            details_with_package(second, ids[1::2], _CONCURRENCY // 2),
        )
        return sum(map(len, parts))


async def _by_hand(url: str, ids: Sequence[str]) -> int:
    async with new_session(url) as session:
        return len(await details_with_backoff(session, ids, _CONCURRENCY))
