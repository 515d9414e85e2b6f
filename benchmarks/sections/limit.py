"""Measure the time under a rate limit, compared with the ideal, and count the refused requests."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from clients.package import details_with_package, new_client
from report import Row, Section
from servers.process import counts, server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from report import Scale

TITLE = "Under a rate limit"
_LIMIT = 500
_SECONDS = 2
_LATENCY = 0.02
_CONCURRENCY = 64
_ALLOWED = 1.05

_SIZES = {"smoke": 550, "quick": 5_000, "full": 5_000}  # details
_CLIENTS = {1: "one client", 2: "two clients that share the limit", 3: "three clients that share the limit"}


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
    rows = [
        Row(
            f"{details:,} details: {_CLIENTS[number]} / ideal",
            cost.seconds,
            cost.ideal,
            "s",
            (cost.seconds / cost.ideal,),
            _ALLOWED if number == 1 and scale != "smoke" else None,
            f"{cost.refused:,} refused (429)",
        )
        for number, cost in zip(_CLIENTS, asyncio.run(_measure_all(ids)), strict=True)
    ]
    text = (
        f"{_LIMIT} requests per window of {_SECONDS} s, aligned to the clock, so {details:,} details need "
        f"{-(-details // _LIMIT)} windows; {1000 * _LATENCY:.0f} ms latency, concurrency {_CONCURRENCY} in "
        "total, `reserve=0`, started at the start of a window; each case has its own server, and all run at "
        "the same time. The ideal is the start of the last window needed plus the work in that window. Each "
        "of several clients leaves its number of in-flight requests unused; as the work fills the windows "
        "exactly, one leftover request costs another window. The `Date` header has a resolution of one "
        "second, half a window."
    )
    return Section(TITLE, text, tuple(rows))


async def _measure_all(ids: Sequence[str]) -> list[_Cost]:
    return await asyncio.gather(*[_measure(number, ids) for number in _CLIENTS])


async def _measure(number: int, ids: Sequence[str]) -> _Cost:
    """Run this number of clients against a new server, from the start of a window."""
    options = ("--latency", str(_LATENCY), "--rate-limit", f"{_LIMIT}:{_SECONDS}")
    with server(*options) as url:
        now = time.time()
        await asyncio.sleep(_SECONDS - now % _SECONDS)
        late = time.time() % _SECONDS
        began = time.perf_counter()
        results = await _fetch(url, ids, number)
        took = time.perf_counter() - began
        if results != len(ids):
            raise RuntimeError(f"{results} results instead of {len(ids)}")
        best = ideal(len(ids), _LIMIT, _SECONDS, _LATENCY, _CONCURRENCY)
        return _Cost(took + late, best, counts(url)["refused"])


async def _fetch(url: str, ids: Sequence[str], number: int) -> int:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(new_client(url, reserve=0.0)) for _ in range(number)]
        parts = [
            details_with_package(client, ids[first::number], _CONCURRENCY // number)
            for first, client in enumerate(clients)
        ]
        return sum(map(len, await asyncio.gather(*parts)))
