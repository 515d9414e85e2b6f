"""Clients that do not use aiohttp: requests, httpx, and the functions of Braze's MCP server.

Each follows its own documentation: one session, a status check, and `.json()`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from clients.aiohttp_loops import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

_HEADERS = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}


def requests_session(threads: int) -> Any:
    """Return a session of requests with one connection per thread."""
    requests = import_module("requests")
    session = requests.Session()
    session.headers.update(_HEADERS)
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
    return session


def requests_loop(session: Any, url: str, ids: Sequence[str]) -> list[Any]:
    """Fetch the details one after another."""
    return [_requests_get(session, url, segment_id) for segment_id in ids]


def requests_pool(session: Any, url: str, ids: Sequence[str], threads: int) -> list[Any]:
    """Fetch the details in a thread pool."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda segment_id: _requests_get(session, url, segment_id), ids))


def _requests_get(session: Any, url: str, segment_id: str) -> Any:
    response = session.get(f"{url}/segments/details", params={"segment_id": segment_id}, timeout=30)
    response.raise_for_status()
    return response.json()


@asynccontextmanager
async def httpx_get(url: str, connections: int) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """Yield a function that fetches the details of one segment with `httpx.AsyncClient`."""
    httpx = import_module("httpx")
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(base_url=url, headers=_HEADERS, timeout=30.0, limits=limits) as client:

        async def get(segment_id: str) -> Any:
            response = await client.get("/segments/details", params={"segment_id": segment_id})
            response.raise_for_status()
            return response.json()

        yield get


@asynccontextmanager
async def mcp_get(url: str) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """Yield a function that fetches the details of one segment with the functions of Braze's MCP server.

    Its log of every request is switched off.
    """
    http, models = import_module("braze_mcp.utils.http"), import_module("braze_mcp.models")
    log = logging.getLogger("braze_mcp")
    async with http.build_http_client(KEY) as client:

        async def get(segment_id: str) -> Any:
            params = {"segment_id": segment_id}
            response = await http.make_request(client, url, "segments/details", params)
            details = http.handle_response(response, models.SegmentDetails, "fetch segment details", log)
            if not isinstance(details, models.SegmentDetails):
                raise TypeError(details)
            return details

        yield get


def mcp_unavailable_reason() -> str:
    """Return why Braze's MCP server cannot be measured here; an empty string if it can."""
    logging.disable(logging.INFO)
    try:
        import_module("braze_mcp.utils.http")
    except ImportError as error:
        return f"not measured: {error}".splitlines()[0][:120]
    return ""


async def gather_details(
    get: Callable[[str], Awaitable[Any]], ids: Sequence[str], concurrency: int
) -> list[Any]:
    """Return the details of all ids, fetched with a semaphore and one task per id."""
    slots = asyncio.Semaphore(concurrency)

    async def one(segment_id: str) -> Any:
        async with slots:
            return await get(segment_id)

    return await asyncio.gather(*[one(segment_id) for segment_id in ids])
