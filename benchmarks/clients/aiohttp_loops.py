"""The hand-written aiohttp loops: no retries, no rate limiter, no models; they check the status only."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from . import HEADERS, LIST, catalogue, check_status, gather_details

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from . import Get

__all__ = [
    "catalogue_by_hand",
    "default_get",
    "default_session",
    "details_by_hand",
    "list_by_hand",
    "new_session",
]

_PAGE_SIZE = 100


def new_session(url: str) -> aiohttp.ClientSession:
    """Return a session with the settings and timeouts of the package's own session."""
    return aiohttp.ClientSession(
        url,
        headers=HEADERS,
        timeout=aiohttp.ClientTimeout(total=30.0, sock_connect=10.0, sock_read=15.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        connector=aiohttp.TCPConnector(limit=0),
    )


def default_session(url: str) -> aiohttp.ClientSession:
    """Return a session with aiohttp's defaults: a timeout of five minutes, and at most 100 connections."""
    return aiohttp.ClientSession(url, headers=HEADERS)


@asynccontextmanager
async def default_get(url: str) -> AsyncIterator[Get]:
    """Yield the function for GET requests of a session with aiohttp's defaults."""
    async with default_session(url) as session:
        yield partial(_get, session)


async def details_by_hand(session: aiohttp.ClientSession, ids: Sequence[str], concurrency: int) -> list[Any]:
    """Return the details of all ids, fetched by a fixed number of workers."""
    return await gather_details(partial(_get, session), ids, concurrency)


async def catalogue_by_hand(url: str, concurrency: int) -> list[Any]:
    """Return the details of every segment, fetched while the list is still being read."""
    async with new_session(url) as session:
        return await catalogue(partial(_get, session), concurrency)


async def list_by_hand(url: str) -> list[Any]:
    """Return every row of the list, fetched page by page."""
    rows: list[Any] = []
    async with new_session(url) as session:
        while len(rows) % _PAGE_SIZE == 0:
            params = {"page": str(len(rows) // _PAGE_SIZE), "sort_direction": "asc"}
            page = (await _get(session, LIST, params))["segments"]
            rows += page
            if not page:
                break
    return rows


async def _get(session: aiohttp.ClientSession, path: str, params: dict[str, str]) -> Any:
    async with session.get(path, params=params, allow_redirects=False) as response:
        check_status(response.status)
        return json.loads(await response.read())
