"""Compare this package with the other clients: CPU time, wall time, 429s and memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from clients import BY_HAND, MCP, PACKAGE, REQUESTS, THREADS, gather_details, installed, open_client
from clients.other_libraries import requests_details
from clients.package import details_with_package, new_client
from measure import rounds, row
from report import LEADING, Row, Section
from servers.process import counts, server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from measure import Contenders, Costs
    from report import Scale

TITLE = LEADING
_BENCHMARKS = Path(__file__).parents[1]
_CONCURRENCY = 64
_LATENCY = 0.05
_LIMIT, _SECONDS = 200, 2  # requests per window


class _Size(NamedTuple):
    details: int
    rounds: int
    segments: int
    sample: int  # segments of the slower clients; their wall time is scaled
    limited: int  # details under the rate limit


_SIZES = {
    "smoke": _Size(50, 2, 100, 100, 20),
    "quick": _Size(200, 5, 10_000, 500, 600),
    "full": _Size(1_000, 5, 10_000, 10_000, 2_000),
}
_WALL_ROUNDS = 2


def run(scale: Scale) -> Section:
    """Measure all installed clients."""
    size = _SIZES[scale]
    names = [PACKAGE, *installed()]
    with server() as url:
        costs = asyncio.run(_compare(url, names, size))
    rows = [*_cpu_rows(costs, size.details), *_wall_rows(names, size), *_limit_rows(names, size)]
    rows.sort(key=lambda row: names.index(row.label.partition(": ")[0]))
    scaled = f'; "about": {size.sample:,} segments, once, scaled' if size.sample != size.segments else ""
    text = (
        "In each cell: the median, and in bold the ratio to the hand-written loop (`json.loads`, no "
        "retries, no rate limit, no models) with the range of its middle half; lower is better. The "
        f"clients take turns, {_CONCURRENCY} requests at a time, requests in {THREADS} threads. CPU: "
        f"{size.details:,} details without latency, {size.rounds} rounds. Wall time: list and details of "
        f"{size.segments:,} segments at {1000 * _LATENCY:.0f} ms latency, {_WALL_ROUNDS} rounds{scaled}; "
        f"this package reads each page of the list twice. 429s: {size.limited:,} details at {_LIMIT} "
        f"requests per {_SECONDS} s; "
        "the other clients do not slow down by themselves and retry after random waits of up to 0.5 s, "
        "doubled up to 20 s. Peak memory: of this process, which holds all results."
    )
    if MCP not in names:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        text += f" Braze's MCP server, which needs Python 3.12, was not measured on Python {version}."
    return Section(TITLE, text, tuple(rows), ("requests", "httpx", "braze-mcp-server"))


async def _compare(url: str, names: Sequence[str], size: _Size) -> Costs:
    ids = [f"segment-{number}" for number in range(size.details)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(new_client(url))
        contenders: Contenders = {PACKAGE: partial(details_with_package, client, ids, _CONCURRENCY)}
        for name in names[1:]:
            get = await stack.enter_async_context(open_client(name, url))
            contenders[name] = partial(gather_details, get, ids, _CONCURRENCY)
        if REQUESTS in contenders:

            async def without_asyncio() -> Sequence[object]:
                return requests_details(url, ids)  # nothing else runs in this event loop

            contenders[REQUESTS] = without_asyncio
        return await rounds(contenders, size.rounds, size.details)


def _cpu_rows(costs: Costs, details: int) -> Iterator[Row]:
    for name, runs in costs.items():
        measured = row(f"{name}: CPU per request", runs, costs[BY_HAND], "cpu", details)
        yield measured._replace(reference=name != PACKAGE)


def _wall_rows(names: Sequence[str], size: _Size) -> Iterator[Row]:
    walls: dict[str, list[float]] = {name: [] for name in names}
    with server("--segments", str(size.segments), "--latency", str(_LATENCY)) as url:
        for turn in range(_WALL_ROUNDS):
            for name in (BY_HAND, PACKAGE) if turn % 2 else (PACKAGE, BY_HAND):
                walls[name].append(_child(name, url, size.segments)["wall"])
    by_hand = walls[BY_HAND]
    with server("--segments", str(size.sample), "--latency", str(_LATENCY)) as url:
        for name in names:
            about = ""
            if not walls[name]:
                scale = size.segments / size.sample
                walls[name] = [scale * _child(name, url, size.sample)["wall"]] * _WALL_ROUNDS
                about = "about " if scale > 1 else ""
            yield _row(
                f"{name}: wall time of {size.segments:,} segments", walls[name], by_hand, "s"
            )._replace(note=about)


def _limit_rows(names: Sequence[str], size: _Size) -> Iterator[Row]:
    """Run all clients at the same time, each against its own server: they mostly wait."""
    with ThreadPoolExecutor(len(names)) as pool:
        measured = dict(zip(names, pool.map(partial(_limited, details=size.limited), names), strict=True))
    for what, label, unit in ((0, "429s", ""), (1, "peak memory", "MiB")):
        for name in names:
            yield _row(f"{name}: {label}", [measured[name][what]], [measured[BY_HAND][what]], unit)


def _limited(name: str, details: int) -> tuple[float, float]:
    """Return the number of 429s and the peak memory."""
    with server("--latency", "0.02", "--rate-limit", f"{_LIMIT}:{_SECONDS}") as url:
        peak = _child(name, url, details, "--details")["peak"]
        return counts(url)["refused"], peak


def _child(name: str, url: str, number: int, *options: str) -> dict[str, float]:
    arguments = ["-m", "clients.child", name, url, str(number), str(_CONCURRENCY), *options]
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=_BENCHMARKS)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _row(label: str, first: Sequence[float], second: Sequence[float], unit: str) -> Row:
    ratios = tuple(one / max(other, 1e-9) for one, other in zip(first, second, strict=True))
    reference = not label.startswith(PACKAGE)
    return Row(label, median(first), median(second), unit, ratios, reference=reference)
