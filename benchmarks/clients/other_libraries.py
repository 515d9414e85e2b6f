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

from . import DETAILS, HEADERS, KEY, THREADS, RefusedError, check_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from . import Get

__all__ = ["httpx_get", "mcp_get", "requests_details", "requests_get"]

_CONNECTIONS = 64


def requests_details(url: str, ids: Sequence[str]) -> list[Any]:
    """Return the details of all ids, fetched in a thread pool."""
    with _requests_session() as session, ThreadPoolExecutor(THREADS) as pool:
        queries = [{"segment_id": segment_id} for segment_id in ids]
        return list(pool.map(lambda query: _requests_get(session, url + DETAILS, query), queries))


@asynccontextmanager
async def requests_get(url: str) -> AsyncIterator[Get]:
    """Yield a function for GET requests, which run in a thread pool."""
    loop = asyncio.get_running_loop()
    with _requests_session() as session, ThreadPoolExecutor(THREADS) as pool:

        async def get(path: str, params: dict[str, str]) -> Any:
            return await loop.run_in_executor(pool, _requests_get, session, url + path, params)

        yield get


def _requests_session() -> Any:
    """Return a session with one connection per thread."""
    requests = import_module("requests")
    session = requests.Session()
    session.headers.update(HEADERS)
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
    return session


def _requests_get(session: Any, url: str, params: dict[str, str]) -> Any:
    response = session.get(url, params=params, timeout=30)
    check_status(response.status_code)
    return response.json()


@asynccontextmanager
async def httpx_get(url: str) -> AsyncIterator[Get]:
    """Yield a function for GET requests with `httpx.AsyncClient`."""
    httpx = import_module("httpx")
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=30.0, limits=limits) as client:

        async def get(path: str, params: dict[str, str]) -> Any:
            response = await client.get(path, params=params)
            check_status(response.status_code)
            return response.json()

        yield get


@asynccontextmanager
async def mcp_get(url: str) -> AsyncIterator[Get]:
    """Yield a function for GET requests with the functions of Braze's MCP server; its log is switched off."""
    logging.disable(logging.CRITICAL)
    http, models = import_module("braze_mcp.utils.http"), import_module("braze_mcp.models")
    log = logging.getLogger("braze_mcp")
    async with http.build_http_client(KEY) as client:

        async def get(path: str, params: dict[str, str]) -> Any:
            model = models.SegmentDetails if path == DETAILS else models.SegmentListResponse
            response = await http.make_request(client, url, path, params)
            if isinstance(response, http.FailureResponse) and "429" in str(response.error):
                raise RefusedError
            result = http.handle_response(response, model, "fetch segments", log)
            if not isinstance(result, model):
                raise TypeError(result)
            return result if path == DETAILS else result.model_dump()

        yield get
