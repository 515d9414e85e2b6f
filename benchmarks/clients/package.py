"""This package's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from braze_segments_async import BrazeSegments, SegmentDetails

from . import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["catalogue_with_package", "details_with_package", "new_client"]


def new_client(url: str, *, reserve: float = 0.1) -> BrazeSegments:
    """Return the package's client with its default settings."""
    return BrazeSegments(KEY, base_url=url, reserve=reserve)


async def details_with_package(
    client: BrazeSegments, ids: Sequence[str], concurrency: int
) -> list[SegmentDetails]:
    """Return the details of all ids."""
    return [details async for details in client.all_details(of=ids, concurrency=concurrency)]


async def catalogue_with_package(url: str, concurrency: int) -> list[SegmentDetails]:
    """Return the details of every segment, fetched while the list is still being read."""
    async with new_client(url) as client:
        return [details async for details in client.all_details(concurrency=concurrency)]
