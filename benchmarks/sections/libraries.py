"""What a request costs, beside the other ways people ask Braze."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

from contenders import details_ours, new_client
from measure import has, rounds, row
from others import httpx_get, mcp_get, requests_loop, requests_pool, requests_session, together, why_no_mcp
from report import Row, Section
from serving import server

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from measure import Contenders, Costs, Run
    from report import Scale

TITLE = "A request, beside other libraries"
_CONCURRENCY = 64
_THREADS = 16
_LATENCY = 0.05


class _Size(NamedTuple):
    details: int
    delayed: int
    rounds: int


_SIZES = {"smoke": _Size(50, 10, 1), "quick": _Size(700, 64, 3), "full": _Size(2_000, 256, 4)}


def run(scale: Scale) -> Section:
    """See the module."""
    size = _SIZES[scale]
    with server() as url:
        at_once = asyncio.run(_compare(url, size.details, size.rounds))
    with server("--latency", str(_LATENCY)) as url:
        delayed = asyncio.run(_compare(url, size.delayed, size.rounds))
    rows = (*_rows(at_once, "cpu", size.details), *_rows(delayed, "wall", size.delayed))
    missing = why_no_mcp()
    text = (
        f"{size.details:,} details for the CPU time, without latency, and {size.delayed} for the wall time, "
        f"at {1000 * _LATENCY:.0f} ms; {size.rounds} rounds. First the package, {_CONCURRENCY} at a time; "
        f"second the other: requests one after another and in {_THREADS} threads, httpx and the functions of "
        f"Braze's own MCP server (`make_request`, `handle_response`) {_CONCURRENCY} at a time."
    )
    if missing:
        text += f" Braze's MCP server (it needs Python 3.12) was {missing}."
    return Section(TITLE, text, rows, ("requests", "httpx", "braze-mcp-server"))


async def _compare(url: str, details: int, number: int) -> Costs:
    ids = [f"segment-{number}" for number in range(details)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(new_client(url))
        contenders: Contenders = {"package": lambda: details_ours(client, ids, _CONCURRENCY)}
        if has("requests"):
            contenders |= _of_requests(url, ids)
        if has("httpx"):
            httpx = await stack.enter_async_context(httpx_get(url, _CONCURRENCY))
            contenders["httpx.AsyncClient"] = lambda: together(httpx, ids, _CONCURRENCY)
        if not why_no_mcp():
            mcp = await stack.enter_async_context(mcp_get(url))
            contenders["Braze's MCP server"] = lambda: together(mcp, ids, _CONCURRENCY)
        return await rounds(contenders, number, details)


def _of_requests(url: str, ids: Sequence[str]) -> dict[str, Run]:
    """They hold up the event loop, in which nothing else runs meanwhile."""
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
