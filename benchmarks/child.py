"""One thing done in a process of its own, which then says how much memory it had at most: see `memory`."""

from __future__ import annotations

import asyncio
import sys

from contenders import list_by_hand, new_client
from measure import peak


async def fan_out(url: str) -> None:
    """The details of every segment, none of them kept."""
    async with new_client(url) as client, client.all_details(concurrency=64) as stream:
        async for _ in stream:
            pass


async def segments(url: str) -> None:
    """Every `Segment` of the list, all kept."""
    async with new_client(url) as client:
        kept = [segment async for segment in client.list()]
        del kept


async def rows(url: str) -> None:
    """Every row of the list as `json.loads` has it, all kept."""
    await list_by_hand(url)


if __name__ == "__main__":
    what = {"fan_out": fan_out, "segments": segments, "rows": rows}[sys.argv[1]]
    asyncio.run(what(sys.argv[2]))
    print(peak())
