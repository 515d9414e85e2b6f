"""Measure the whole catalogue, compared with the time of its details alone and with a hand-written loop."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

from clients.aiohttp_loops import catalogue_by_hand, details_by_hand, new_session
from clients.package import catalogue_with_package, new_client
from measure import rounds
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Contenders, Costs
    from report import Scale

TITLE = "The whole catalogue compared with its details alone"
_LATENCY = 0.05
_ALLOWED = {16: 1.05, 64: 1.05, 128: 1.10, 256: 1.15}  # times the details alone, by concurrency
_ALLOWED_FIRST = 1.05


class _Size(NamedTuple):
    segments: int
    rounds: int


_SIZES = {  # by concurrency
    "smoke": {64: _Size(150, 1)},
    "quick": {16: _Size(2_000, 1), 64: _Size(10_000, 1), 128: _Size(10_000, 2), 256: _Size(10_000, 2)},
    "full": dict.fromkeys(_ALLOWED, _Size(10_000, 2)),
}
_FIRST_ROUNDS = {"smoke": 1, "quick": 9, "full": 15}


def run(scale: Scale) -> Section:
    """Measure wall time at several concurrencies, and the time to the first row."""
    rows: list[Row] = []
    for concurrency, (segments, number) in _SIZES[scale].items():
        with server("--segments", str(segments), "--latency", str(_LATENCY)) as url:
            contenders: Contenders = {"package": partial(catalogue_with_package, url, concurrency)}
            if scale == "full":
                contenders["pipelined by hand"] = partial(catalogue_by_hand, url, concurrency)
            costs = asyncio.run(rounds(contenders, number, segments, warm=False))
            rows += _rows(costs, segments, concurrency)
            response = asyncio.run(_single_request(url))
    with server("--latency", str(_LATENCY)) as url:
        rows.append(asyncio.run(_first_row(url, _FIRST_ROUNDS[scale])))
    text = (
        f'All segments at {1000 * _LATENCY:.0f} ms latency, with `consistency="safe"`, the default, which '
        "reads each page of the list twice, including the time to open connections. The details alone: with "
        "n segments, latency L and concurrency C, L + n·L/C, the shortest possible time; CPU time and the "
        "opening of connections count as zero. L is the wait of the server; a single response took "
        f"{1000 * response:.1f} ms."
    )
    if scale == "full":
        text += " By hand: each page once, one after another, details while the list is still being read."
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
    alone = _LATENCY + segments * _LATENCY / concurrency
    for name, runs in costs.items():
        walls = [cost.wall for cost in runs]
        yield Row(
            f"{segments:,} segments, {concurrency} at a time: {name} / the details alone",
            median(walls),
            alone,
            "s",
            tuple(wall / alone for wall in walls),
            _ALLOWED[concurrency] if name == "package" else None,
            reference=name != "package",
        )


async def _first_row(url: str, number: int) -> Row:
    safe, fast = [], []
    for _ in range(number):
        safe.append(await _time_to_first_row(url, "safe"))
        fast.append(await _time_to_first_row(url, "fast"))
    ratios = tuple(one / other for one, other in zip(safe, fast, strict=True))
    label = 'first row of `all_details()`: `consistency="safe"` / `"fast"`'
    return Row(label, 1000 * median(safe), 1000 * median(fast), "ms", ratios, _ALLOWED_FIRST)


async def _time_to_first_row(url: str, consistency: Literal["fast", "safe"]) -> float:
    async with new_client(url) as client:
        began = time.perf_counter()
        async with client.all_details(consistency=consistency) as stream:
            await anext(aiter(stream))
            return time.perf_counter() - began
