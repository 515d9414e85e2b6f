"""What is compared: the package, and the aiohttp loops one would write by hand instead.

The hand-written ones check the status and nothing else: no retries, no rate limit, no models.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from braze_segments_async import BrazeSegments, SegmentDetails

KEY = "sandbox-api-key"
_PAGE_SIZE = 100


def new_client(url: str) -> BrazeSegments:
    """The package's client, with its defaults."""
    return BrazeSegments(KEY, base_url=url)


def new_session(url: str) -> aiohttp.ClientSession:
    """A session with the settings that the package's own has."""
    return aiohttp.ClientSession(
        url,
        headers={"Authorization": f"Bearer {KEY}", "Accept": "application/json"},
        timeout=aiohttp.ClientTimeout(total=30.0, sock_connect=10.0, sock_read=15.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        connector=aiohttp.TCPConnector(limit=0),
    )


async def details_ours(client: BrazeSegments, ids: list[str], concurrency: int) -> list[SegmentDetails]:
    """The details of all ids, by the package."""
    return [details async for details in client.all_details(of=ids, concurrency=concurrency)]


async def details_by_hand(session: aiohttp.ClientSession, ids: list[str], concurrency: int) -> list[Any]:
    """The details of all ids: a semaphore and one task per id."""
    slots = asyncio.Semaphore(concurrency)

    async def details(segment_id: str) -> Any:
        async with slots:
            return await _get(session, "/segments/details", {"segment_id": segment_id})

    return await asyncio.gather(*[details(segment_id) for segment_id in ids])


async def catalogue_ours(url: str, concurrency: int) -> list[SegmentDetails]:
    """The details of every segment, by the package: the walk and the details overlap."""
    async with new_client(url) as client:
        return [details async for details in client.all_details(concurrency=concurrency)]


async def catalogue_by_hand(url: str, concurrency: int) -> list[Any]:
    """The details of every segment: list everything, then ask for the details."""
    async with new_session(url) as session:
        ids: list[str] = []
        number = 0
        while True:
            page = await _get(session, "/segments/list", {"page": str(number), "sort_direction": "asc"})
            ids += [row["id"] for row in page["segments"]]
            if len(page["segments"]) < _PAGE_SIZE:
                return await details_by_hand(session, ids, concurrency)
            number += 1


async def _get(session: aiohttp.ClientSession, path: str, params: dict[str, str]) -> Any:
    async with session.get(path, params=params, allow_redirects=False) as response:
        if response.status != 200:
            raise RuntimeError(response.status)
        return json.loads(await response.read())
