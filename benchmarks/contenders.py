"""What is compared: the package, and the aiohttp loops one would write by hand instead.

The hand-written ones check the status and nothing else: no retries, no rate limit, no models.
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
    """The package's client, with its defaults."""
    return BrazeSegments(KEY, base_url=url, reserve=reserve)


def new_session(url: str) -> aiohttp.ClientSession:
    """A session with the settings that the package's own has, and time-outs that bound the same."""
    return aiohttp.ClientSession(
        url,
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=30.0, sock_connect=10.0, sock_read=15.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        connector=aiohttp.TCPConnector(limit=0),
    )


def default_session(url: str) -> aiohttp.ClientSession:
    """The session people write: aiohttp's defaults, five minutes for a request among them.

    It opens 100 connections at most, which no run here exceeds but those of a higher concurrency.
    """
    return aiohttp.ClientSession(url, headers=_HEADERS)


async def details_ours(client: BrazeSegments, ids: Sequence[str], concurrency: int) -> list[SegmentDetails]:
    """The details of all ids, by the package."""
    return [details async for details in client.all_details(of=ids, concurrency=concurrency)]


async def details_by_hand(session: aiohttp.ClientSession, ids: Sequence[str], concurrency: int) -> list[Any]:
    """The details of all ids: a semaphore and one task per id."""
    slots = asyncio.Semaphore(concurrency)
    return await asyncio.gather(*[_details(session, segment_id, slots) for segment_id in ids])


async def catalogue_ours(url: str, concurrency: int) -> list[SegmentDetails]:
    """The details of every segment, by the package: the walk and the details overlap."""
    async with new_client(url) as client:
        return [details async for details in client.all_details(concurrency=concurrency)]


async def catalogue_pipelined(url: str, concurrency: int) -> list[Any]:
    """The details of every segment, asked for while later pages of the list are still coming; by hand."""
    slots = asyncio.Semaphore(concurrency)
    details: list[asyncio.Task[Any]] = []
    async with new_session(url) as session:
        number, rows = 0, _PAGE_SIZE
        while rows == _PAGE_SIZE:
            page = await _page(session, number)
            details += [asyncio.create_task(_details(session, row["id"], slots)) for row in page]
            number, rows = number + 1, len(page)
        return await asyncio.gather(*details)


async def catalogue_in_turn(url: str, concurrency: int) -> list[Any]:
    """The details of every segment: list everything, then ask for the details; by hand."""
    async with new_session(url) as session:
        ids: list[str] = []
        number, rows = 0, _PAGE_SIZE
        while rows == _PAGE_SIZE:
            page = await _page(session, number)
            ids += [row["id"] for row in page]
            number, rows = number + 1, len(page)
        return await details_by_hand(session, ids, concurrency)


async def list_by_hand(url: str) -> list[Any]:
    """Every row of the list, page after page."""
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
    """The details of all ids; a 429 is tried again after a random wait of up to 0.5 s, doubling to 20 s."""
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
