"""Measure many clients in one process, at full speed and at the pace of the rate limit."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from clients.package import details_with_package, new_client
from measure import Cost, rounds
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measure import Contenders, Costs
    from report import Scale

    from braze_segments_async import BrazeSegments

TITLE = "Many workspaces in one process"
PACE = 250_000 / 3_600  # requests per second: the average that the rate limit allows
_CONCURRENCY = 16
_LATENCY = 0.05


class _Size(NamedTuple):
    clients: int
    details: int  # of all clients together
    rounds: int
    seconds: float


_SIZES = {
    "smoke": _Size(3, 90, 1, 0.2),
    "quick": _Size(20, 2_000, 4, 3.0),
    "full": _Size(20, 10_000, 9, 20.0),
}


def run(scale: Scale) -> Section:
    """Measure CPU time per request."""
    size = _SIZES[scale]
    with server() as url:
        costs = asyncio.run(_full_speed(url, size))
    with server("--latency", str(_LATENCY)) as url:
        paced = asyncio.run(_paced(url, size))
    one, many = ([1e6 * cost.cpu / size.details for cost in costs[name]] for name in ("one", "many"))
    full_speed = median(size.details / cost.wall for cost in costs["many"])
    share = paced * PACE / 1e6
    ratios = tuple(first / second for first, second in zip(many, one, strict=True))
    rows = (
        Row(
            f"{size.clients} clients at full speed / one client at full speed: CPU per request",
            median(many),
            median(one),
            "µs",
            ratios,
            note=f"{full_speed:,.0f} requests per second",
        ),
        Row(
            f"{size.clients} clients at {PACE:.0f} requests per second each / full speed: CPU per request",
            paced,
            median(many),
            "µs",
            (paced / median(many),),
            note=f"{share:.1%} of a core per workspace: {1 / share:.0f} workspaces per core",
            reference=True,
        ),
    )
    text = (
        f"{size.clients} clients in one event loop, each with concurrency {_CONCURRENCY}, compared with one "
        f"client that has the same total concurrency. Full speed: {size.details:,} details without latency, "
        f"{size.rounds} rounds. Paced: {size.seconds:g} s at {1000 * _LATENCY:.0f} ms latency, requests "
        "evenly spaced at 250,000 per hour."
    )
    return Section(TITLE, text, rows)


async def _full_speed(url: str, size: _Size) -> Costs:
    ids = [f"segment-{number}" for number in range(size.details)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(new_client(url)) for _ in range(size.clients)]
        contenders: Contenders = {
            "one": lambda: details_with_package(clients[0], ids, _CONCURRENCY * size.clients),
            "many": lambda: _distributed(clients, ids),
        }
        return await rounds(contenders, size.rounds, size.details)


async def _distributed(clients: Sequence[BrazeSegments], ids: Sequence[str]) -> list[object]:
    step = len(clients)
    parts = [
        details_with_package(client, ids[first::step], _CONCURRENCY) for first, client in enumerate(clients)
    ]
    return [details for part in await asyncio.gather(*parts) for details in part]


async def _paced(url: str, size: _Size) -> float:
    """Return the CPU time per request in µs when requests are evenly spaced."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(new_client(url)) for _ in range(size.clients)]
        await asyncio.gather(*[client.details("warm") for client in clients])
        requests = int(size.seconds * PACE)
        began = Cost(time.process_time(), time.perf_counter())
        loop = asyncio.get_running_loop()
        pending: list[asyncio.Task[object]] = []
        for number in range(requests):
            for turn, client in enumerate(clients):
                due = began.wall + (number + turn / len(clients)) / PACE
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                pending.append(loop.create_task(client.details(f"segment-{number}")))
        await asyncio.gather(*pending)
        return 1e6 * (time.process_time() - began.cpu) / (requests * len(clients))
