"""Measure the whole catalogue, compared with the ideal and with two hand-written loops."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from clients.aiohttp_loops import (
    catalogue_pipelined,
    catalogue_sequential,
    catalogue_with_package,
    details_by_hand,
    new_session,
)
from measure import rounds
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Costs
    from report import Scale

TITLE = "The whole catalogue compared with the ideal"
_LATENCY = 0.05
_ALLOWED, _FROM = 1.05, 10_000  # times the ideal, from this size; below it, opening connections dominates


class _Size(NamedTuple):
    segments: int
    rounds: dict[int, int]  # by concurrency


_SIZES = {
    "smoke": _Size(150, {64: 1}),
    "quick": _Size(2_000, {64: 3, 128: 1, 256: 1}),
    "full": _Size(10_000, {64: 3, 128: 2, 256: 2}),
}


def pipelined_ideal(segments: int, latency: float, concurrency: int) -> float:
    """Return the shortest possible time in seconds if list pages are fetched one after another.

    The last page is followed by at least one round of details. The details start after page 0 and take their
    total time divided by the concurrency. CPU time and the opening of connections count as zero.
    """
    pages = segments // 100 + 1
    return max(pages * latency + latency, latency + segments * latency / concurrency)


def run(scale: Scale) -> Section:
    """Measure wall time at several concurrencies."""
    size = _SIZES[scale]
    rows: list[Row] = []
    with server("--segments", str(size.segments), "--latency", str(_LATENCY)) as url:
        answer = asyncio.run(_single_request(url))
        for concurrency, number in size.rounds.items():
            contenders = {
                "package": partial(catalogue_with_package, url, concurrency),
                "pipelined by hand": partial(catalogue_pipelined, url, concurrency),
                "list, then details, by hand": partial(catalogue_sequential, url, concurrency),
            }
            costs = asyncio.run(rounds(contenders, number, size.segments, warm=False))
            rows += _rows(costs, size.segments, concurrency)
    text = (
        f"{size.segments:,} segments at {1000 * _LATENCY:.0f} ms latency, including the time to open "
        "connections. The ideal is the shortest possible time if list pages are fetched one after another: "
        "with p pages, n segments, latency L and concurrency C, the larger of p·L + L and L + n·L/C. From "
        "concurrency 100 the package prefetches list pages; it is then also compared with the time of the "
        f"details alone, L + n·L/C. L is the wait of the server; a single response took {1000 * answer:.1f} "
        "ms."
    )
    return Section(TITLE, text, tuple(rows))


async def _single_request(url: str) -> float:
    """Return the median time of a single request on an idle server."""
    async with new_session(url) as session:
        times = []
        for _ in range(20):
            began = time.perf_counter()
            await details_by_hand(session, ["a-segment"], 1)
            times.append(time.perf_counter() - began)
        return median(times)


def _rows(costs: Costs, segments: int, concurrency: int) -> Iterator[Row]:
    ideal = pipelined_ideal(segments, _LATENCY, concurrency)
    package = [cost.wall for cost in costs["package"]]
    how = f"{segments:,} segments, {concurrency} at a time"
    for name, runs in costs.items():
        walls = [cost.wall for cost in runs]
        ratios = tuple(wall / ideal for wall in walls)
        allowed = _ALLOWED if name == "package" and segments >= _FROM else None
        row = Row(f"{how}: {name} / ideal", median(walls), ideal, "s", ratios, allowed)
        yield row._replace(reference=name != "package")
    alone = _LATENCY + segments * _LATENCY / concurrency
    if alone < ideal:
        ratios = tuple(wall / alone for wall in package)
        yield Row(f"{how}: package / the details alone", median(package), alone, "s", ratios)
    walls = [cost.wall for cost in costs["list, then details, by hand"]]
    ratios = tuple(one / other for one, other in zip(package, walls, strict=True))
    yield Row(f"{how}: package / list, then details", median(package), median(walls), "s", ratios)
