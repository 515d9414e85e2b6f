"""Measure the cost of one request, compared with other client libraries."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from clients.aiohttp_loops import details_with_package, new_client
from clients.other_libraries import (
    gather_details,
    httpx_get,
    mcp_get,
    mcp_unavailable_reason,
    requests_loop,
    requests_pool,
    requests_session,
)
from measure import has, rounds, row
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from measure import Contenders, Costs, Run
    from report import Scale

TITLE = "One request compared with other libraries"
_CONCURRENCY = 64
_THREADS = 16
_LATENCY = 0.05


class _Size(NamedTuple):
    details: int
    delayed: int
    rounds: int


_SIZES = {"smoke": _Size(50, 10, 1), "quick": _Size(700, 64, 3), "full": _Size(2_000, 256, 4)}


def run(scale: Scale) -> Section:
    """Measure CPU time without latency, and wall time with latency."""
    size = _SIZES[scale]
    with server() as url:
        at_once = asyncio.run(_compare(url, size.details, size.rounds))
    with server("--latency", str(_LATENCY)) as url:
        delayed = asyncio.run(_compare(url, size.delayed, size.rounds))
    rows = (*_rows(at_once, "cpu", size.details), *_rows(delayed, "wall", size.delayed))
    missing = mcp_unavailable_reason()
    text = (
        f"CPU time: {size.details:,} details without latency. Wall time: {size.delayed} details at "
        f"{1000 * _LATENCY:.0f} ms latency. {size.rounds} rounds. First: the package, {_CONCURRENCY} at a "
        f"time. Second: requests, in a loop and in {_THREADS} threads; httpx and the functions of Braze's "
        f"MCP server (`make_request`, `handle_response`), {_CONCURRENCY} at a time."
    )
    if missing:
        text += f" Braze's MCP server, which needs Python 3.12, was {missing}."
    return Section(TITLE, text, rows, ("requests", "httpx", "braze-mcp-server"))


async def _compare(url: str, details: int, number: int) -> Costs:
    ids = [f"segment-{number}" for number in range(details)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(new_client(url))
        contenders: Contenders = {"package": lambda: details_with_package(client, ids, _CONCURRENCY)}
        if has("requests"):
            contenders |= _of_requests(url, ids)
        if has("httpx"):
            httpx = await stack.enter_async_context(httpx_get(url, _CONCURRENCY))
            contenders["httpx.AsyncClient"] = lambda: gather_details(httpx, ids, _CONCURRENCY)
        if not mcp_unavailable_reason():
            mcp = await stack.enter_async_context(mcp_get(url))
            contenders["Braze's MCP server"] = lambda: gather_details(mcp, ids, _CONCURRENCY)
        return await rounds(contenders, number, details)


def _of_requests(url: str, ids: Sequence[str]) -> dict[str, Run]:
    """Return contenders that block the event loop, in which nothing else runs."""
    session = requests_session(_THREADS)

    async def loop() -> list[object]:
        return requests_loop(session, url, ids)

    async def pool() -> list[object]:
        return requests_pool(session, url, ids, _THREADS)

    return {"requests, a loop": loop, f"requests, {_THREADS} threads": pool}


def _rows(costs: Costs, what: str, details: int) -> Iterator[Row]:
    name = {"cpu": "CPU", "wall": f"wall at {1000 * _LATENCY:.0f} ms"}[what]
    for other in list(costs)[1:]:
        yield row(f"{other}: {name}", costs["package"], costs[other], what, details)
