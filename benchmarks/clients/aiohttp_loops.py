"""The package's client, and the hand-written aiohttp loops that it is compared with.

The hand-written loops check the status only: no retries, no rate limit, no models.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import aiohttp

from braze_segments_async import BrazeSegments, SegmentDetails

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "sandbox-api-key"
_PAGE_SIZE = 100
_HEADERS = {"Authorization": f"Bearer {KEY}", "Accept": "application/json"}


def new_client(url: str, *, reserve: float = 0.1) -> BrazeSegments:
    """Return the package's client with its default settings."""
    return BrazeSegments(KEY, base_url=url, reserve=reserve)


def new_session(url: str) -> aiohttp.ClientSession:
    """Return a session with the settings and timeouts of the package's own session."""
    return aiohttp.ClientSession(
        url,
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=30.0, sock_connect=10.0, sock_read=15.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        connector=aiohttp.TCPConnector(limit=0),
    )


def default_session(url: str) -> aiohttp.ClientSession:
    """Return a session with aiohttp's defaults: a timeout of five minutes, and at most 100 connections."""
    return aiohttp.ClientSession(url, headers=_HEADERS)


async def details_with_package(
    client: BrazeSegments, ids: Sequence[str], concurrency: int
) -> list[SegmentDetails]:
    """Return the details of all ids, fetched with the package."""
    return [details async for details in client.all_details(of=ids, concurrency=concurrency)]


async def details_by_hand(session: aiohttp.ClientSession, ids: Sequence[str], concurrency: int) -> list[Any]:
    """Return the details of all ids, fetched with a semaphore and one task per id."""
    slots = asyncio.Semaphore(concurrency)
    return await asyncio.gather(*[_details(session, segment_id, slots) for segment_id in ids])


async def catalogue_with_package(url: str, concurrency: int) -> list[SegmentDetails]:
    """Return the details of every segment, fetched with the package while the list is still being read."""
    async with new_client(url) as client:
        return [details async for details in client.all_details(concurrency=concurrency)]


async def catalogue_pipelined(url: str, concurrency: int) -> list[Any]:
    """Return the details of every segment, fetched by hand while the list is still being read."""
    slots = asyncio.Semaphore(concurrency)
    details: list[asyncio.Task[Any]] = []
    async with new_session(url) as session:
        number, rows = 0, _PAGE_SIZE
        while rows == _PAGE_SIZE:
            page = await _page(session, number)
            details += [asyncio.create_task(_details(session, row["id"], slots)) for row in page]
            number, rows = number + 1, len(page)
        return await asyncio.gather(*details)


async def catalogue_sequential(url: str, concurrency: int) -> list[Any]:
    """Return the details of every segment, fetched by hand after the whole list."""
    async with new_session(url) as session:
        ids: list[str] = []
        number, rows = 0, _PAGE_SIZE
        while rows == _PAGE_SIZE:
            page = await _page(session, number)
            ids += [row["id"] for row in page]
            number, rows = number + 1, len(page)
        return await details_by_hand(session, ids, concurrency)


async def list_by_hand(url: str) -> list[Any]:
    """Return every row of the list, fetched page by page."""
    rows: list[Any] = []
    async with new_session(url) as session:
        while len(rows) % _PAGE_SIZE == 0:
            page = await _page(session, len(rows) // _PAGE_SIZE)
            rows += page
            if not page:
                break
    return rows


async def details_with_backoff(
    session: aiohttp.ClientSession, ids: Sequence[str], concurrency: int
) -> list[Any]:
    """Return the details of all ids; retry a 429 after a random wait of up to 0.5 s, doubling to 20 s."""
    slots = asyncio.Semaphore(concurrency)

    async def details(segment_id: str) -> Any:
        async with slots:
            attempt = 0
            while True:
                params = {"segment_id": segment_id}
                async with session.get("/segments/details", params=params) as response:
                    if response.status != 429:
                        return json.loads(await response.read())
                await asyncio.sleep(random.uniform(0, min(20.0, 0.5 * 2**attempt)))  # noqa: S311 - jitter
                attempt += 1

    return await asyncio.gather(*[details(segment_id) for segment_id in ids])


async def _page(session: aiohttp.ClientSession, number: int) -> list[Any]:
    page = await _get(session, "/segments/list", {"page": str(number), "sort_direction": "asc"})
    rows: list[Any] = page["segments"]
    return rows


async def _details(session: aiohttp.ClientSession, segment_id: str, slots: asyncio.Semaphore) -> Any:
    async with slots:
        return await _get(session, "/segments/details", {"segment_id": segment_id})


async def _get(session: aiohttp.ClientSession, path: str, params: dict[str, str]) -> Any:
    async with session.get(path, params=params, allow_redirects=False) as response:
        if response.status != 200:
            raise RuntimeError(response.status)
        return json.loads(await response.read())
