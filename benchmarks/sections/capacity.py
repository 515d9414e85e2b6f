"""What one process can carry: many clients at once, flat out and at the pace a workspace allows."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from contenders import details_ours, new_client
from measure import Cost, rounds
from report import Row, Section
from serving import server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from measure import Contenders, Costs
    from report import Scale

    from braze_segments_async import BrazeSegments

TITLE = "Many workspaces in one process"
PACE = 250_000 / 3_600  # requests a second: what a workspace allows on average
_CONCURRENCY = 16
_LATENCY = 0.05


class _Size(NamedTuple):
    clients: int
    details: int  # of all of them together
    rounds: int
    seconds: float


_SIZES = {
    "smoke": _Size(3, 90, 1, 0.2),
    "quick": _Size(20, 4_000, 3, 4.0),
    "full": _Size(20, 10_000, 9, 20.0),
}


def run(scale: Scale) -> Section:
    """See the module."""
    size = _SIZES[scale]
    with server() as url:
        costs = asyncio.run(_flat_out(url, size))
    with server("--latency", str(_LATENCY)) as url:
        paced = asyncio.run(_paced(url, size))
    one, many = ([1e6 * cost.cpu / size.details for cost in costs[name]] for name in ("one", "many"))
    flat_out = median(size.details / cost.wall for cost in costs["many"])
    share = paced * PACE / 1e6
    ratios = tuple(first / second for first, second in zip(many, one, strict=True))
    rows = (
        Row(
            f"{size.clients} clients flat out / one client flat out: CPU of a request",
            median(many),
            median(one),
            "µs",
            ratios,
            note=f"{flat_out:,.0f} requests a second",
        ),
        Row(
            f"{size.clients} clients at {PACE:.0f} requests a second each / flat out: CPU of a request",
            paced,
            median(many),
            "µs",
            (paced / median(many),),
            note=f"{share:.1%} of a core for a workspace: {1 / share:.0f} workspaces a core",
            reference=True,
        ),
    )
    text = (
        f"Clients of their own for {size.clients} workspaces in one event loop, {_CONCURRENCY} requests at a "
        f"time for each; one client has as many at a time as all of them. Flat out: {size.details:,} details "
        f"without latency, {size.rounds} rounds. Paced: for {size.seconds:g} s at {1000 * _LATENCY:.0f} ms, "
        "every request at its moment, as 250,000 an hour fall."
    )
    return Section(TITLE, text, rows)


async def _flat_out(url: str, size: _Size) -> Costs:
    ids = [f"segment-{number}" for number in range(size.details)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(new_client(url)) for _ in range(size.clients)]
        contenders: Contenders = {
            "one": lambda: details_ours(clients[0], ids, _CONCURRENCY * size.clients),
            "many": lambda: _shared_out(clients, ids),
        }
        return await rounds(contenders, size.rounds, size.details)


async def _shared_out(clients: Sequence[BrazeSegments], ids: Sequence[str]) -> list[object]:
    step = len(clients)
    parts = [details_ours(client, ids[first::step], _CONCURRENCY) for first, client in enumerate(clients)]
    return [details for part in await asyncio.gather(*parts) for details in part]


async def _paced(url: str, size: _Size) -> float:
    """CPU of a request in µs, when each comes at its moment."""
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
