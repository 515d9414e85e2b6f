"""Measure the segment list alone, with and without prefetching pages."""

from __future__ import annotations

import asyncio
import inspect
import math
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from clients.aiohttp_loops import list_by_hand
from clients.package import new_client
from measure import rounds
from report import Row, Section
from servers.process import counts, server

from braze_segments_async import BrazeSegments

if TYPE_CHECKING:
    from measure import Contenders
    from report import Scale

TITLE = "The segment list alone"
_LATENCY = 0.05
_AHEAD = 8


class _Size(NamedTuple):
    segments: int
    rounds: int


_SIZES = {"smoke": _Size(250, 1), "quick": _Size(2_000, 3), "full": _Size(10_000, 3)}


def run(scale: Scale) -> Section:
    """Measure wall time, and count the wasted requests."""
    size = _SIZES[scale]
    pages = size.segments // 100 + 1
    with server("--segments", str(size.segments), "--latency", str(_LATENCY)) as url:
        rows = asyncio.run(_compare(url, size, pages))
    text = (
        f"{size.segments:,} segments on {pages} pages; {1000 * _LATENCY:.0f} ms latency, {size.rounds} "
        f"rounds, including the time to open connections. `prefetch={_AHEAD}` may request pages beyond the "
        "last one; the last column shows how many requests were wasted."
    )
    return Section(TITLE, text, rows)


async def _compare(url: str, size: _Size, pages: int) -> tuple[Row, ...]:
    contenders: Contenders = {
        "one after another": lambda: _list(url),
        "by hand": lambda: list_by_hand(url),
    }
    if "prefetch" in inspect.signature(BrazeSegments.list).parameters:
        contenders["prefetch"] = lambda: _list(url, prefetch=_AHEAD)
    costs = await rounds(contenders, size.rounds, size.segments, warm=False)
    walls = {name: [cost.wall for cost in runs] for name, runs in costs.items()}
    how = f"{size.segments:,} segments"
    rows = [_row(f"{how}, one page after another / by hand", walls["one after another"], walls["by hand"])]
    if "prefetch" in walls:
        before = counts(url)["list"]
        await _list(url, prefetch=_AHEAD)
        wasted = counts(url)["list"] - before - pages
        plain, ahead = walls["one after another"], walls["prefetch"]
        ideal = math.ceil(pages / _AHEAD) * _LATENCY
        rows += [
            _row(f"{how}, prefetch={_AHEAD} / prefetch=1", ahead, plain, note=f"{wasted} requests wasted"),
            _row(f"{how}, prefetch={_AHEAD} / pages ÷ {_AHEAD} · latency", ahead, [ideal] * len(ahead)),
        ]
    return tuple(rows)


async def _list(url: str, **options: Any) -> list[object]:
    async with new_client(url) as client:
        return [segment async for segment in client.list(**options)]


def _row(label: str, first: list[float], second: list[float], note: str = "") -> Row:
    ratios = tuple(one / other for one, other in zip(first, second, strict=True))
    return Row(label, median(first), median(second), "s", ratios, None, note)
