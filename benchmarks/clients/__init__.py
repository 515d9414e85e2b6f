"""The clients that are compared: this package, a hand-written aiohttp loop, and other libraries.

Each module imports only the library of its client, so that the memory of the others can be measured.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

__all__ = [
    "BY_HAND",
    "DETAILS",
    "HEADERS",
    "KEY",
    "LIST",
    "MCP",
    "PACKAGE",
    "REQUESTS",
    "THREADS",
    "Get",
    "RefusedError",
    "catalogue",
    "check_status",
    "gather_details",
    "installed",
    "load",
    "open_client",
    "with_backoff",
]

Get = Callable[[str, dict[str, str]], Awaitable[Any]]  # takes a path and a query, returns decoded JSON

KEY = "sandbox-api-key"
HEADERS = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}
LIST, DETAILS = "/segments/list", "/segments/details"
THREADS = 16  # of requests
PACKAGE, BY_HAND, REQUESTS = "this package", "hand-written aiohttp loop", f"requests, {THREADS} threads"
MCP = "Braze's MCP server (deprecated)"
_PAGE_SIZE = 100
_OTHERS = {  # name: (library, module of this folder, function)
    BY_HAND: ("aiohttp", "aiohttp_loops", "default_get"),
    REQUESTS: ("requests", "other_libraries", "requests_get"),
    "httpx.AsyncClient": ("httpx", "other_libraries", "httpx_get"),
    MCP: ("braze_mcp", "other_libraries", "mcp_get"),
}


class RefusedError(Exception):
    """The server returned 429."""


def installed() -> list[str]:
    """Return the names of the clients besides this package that are installed."""
    return [name for name, (library, _, _) in _OTHERS.items() if find_spec(library)]


def open_client(name: str, url: str) -> AbstractAsyncContextManager[Get]:
    """Return a context manager that yields the client's function for GET requests."""
    _, module, function = _OTHERS[name]
    client: AbstractAsyncContextManager[Get] = getattr(import_module(f"clients.{module}"), function)(url)
    return client


def load(name: str) -> None:
    """Import what the client needs, so that a run does not include it."""
    import_module("clients.package" if name == PACKAGE else _OTHERS[name][0])


def check_status(status: int) -> None:
    """Raise an error for any status but 200."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RefusedError
    if status != HTTPStatus.OK:
        raise RuntimeError(status)


async def gather_details(get: Get, ids: Sequence[str], concurrency: int) -> list[Any]:
    """Return the details of all ids, fetched by a fixed number of workers: the cheapest way to write it."""
    remaining = iter(ids)

    async def work() -> list[Any]:
        return [await get(DETAILS, {"segment_id": segment_id}) for segment_id in remaining]

    parts = await asyncio.gather(*[work() for _ in range(concurrency)])
    return [details for part in parts for details in part]


async def catalogue(get: Get, concurrency: int) -> list[Any]:
    """Return the details of every segment, fetched while the list is still being read."""
    slots = asyncio.Semaphore(concurrency)
    details: list[asyncio.Task[Any]] = []

    async def one(segment_id: str) -> Any:
        async with slots:
            return await get(DETAILS, {"segment_id": segment_id})

    number, rows = 0, _PAGE_SIZE
    while rows == _PAGE_SIZE:
        page = (await get(LIST, {"page": str(number), "sort_direction": "asc"}))["segments"]
        details += [asyncio.create_task(one(row["id"])) for row in page]
        number, rows = number + 1, len(page)
    return await asyncio.gather(*details)


def with_backoff(get: Get) -> Get:
    """Return a function that retries a 429 after a random wait of up to 0.5 s, doubling to 20 s."""

    async def patient_get(path: str, params: dict[str, str]) -> Any:
        longest = 0.5
        while True:
            try:
                return await get(path, params)
            except RefusedError:
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter
                longest = min(20.0, 2 * longest)

    return patient_get
