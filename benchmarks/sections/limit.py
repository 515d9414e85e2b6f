"""Against a rate limit: how long it takes beside the ideal, and how many requests are refused on the way."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from contenders import details_ours, details_with_backoff, new_client, new_session
from report import Row, Section
from serving import counts, server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from report import Scale

TITLE = "Against a rate limit"
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
    """Seconds from the start of a window: to the last window needed, and what is left to do in it."""
    windows = -(-details // limit)
    left = details - (windows - 1) * limit
    return (windows - 1) * seconds + max(latency, left * latency / concurrency)


def run(scale: Scale) -> Section:
    """See the module."""
    details = _SIZES[scale]
    ids = [f"segment-{number}" for number in range(details)]
    contenders = {
        "one client": _alone,
        "two clients that share the allowance": _shared,
        "by hand, a 429 tried again with backoff": _by_hand,
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
        f"{_LIMIT} requests in each window of {_SECONDS} s, which ends with the clock; {1000 * _LATENCY:.0f} "
        f"ms, {_CONCURRENCY} at a time, `reserve=0`, begun with a window. The ideal is the start of the last "
        "window needed, and the time of what is left in it. Of several clients each leaves what it has in "
        "flight, and where the work is a whole number of windows, one request left over takes a window "
        "more. `Date` has whole seconds, of which a window here has two."
    )
    return Section(TITLE, text, tuple(rows))


async def _measure(ask: Callable[[str, Sequence[str]], Awaitable[int]], ids: Sequence[str]) -> _Cost:
    """Run once, from the start of a window, against a server of its own."""
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
        return len(await details_ours(client, ids, _CONCURRENCY))


async def _shared(url: str, ids: Sequence[str]) -> int:
    async with new_client(url, reserve=0.0) as first, new_client(url, reserve=0.0) as second:
        parts = await asyncio.gather(
            details_ours(first, ids[::2], _CONCURRENCY // 2),
            details_ours(second, ids[1::2], _CONCURRENCY // 2),
        )
        return sum(map(len, parts))


async def _by_hand(url: str, ids: Sequence[str]) -> int:
    async with new_session(url) as session:
        return len(await details_with_backoff(session, ids, _CONCURRENCY))
