"""One thing done in a process of its own, which then says how much memory it had at most: see `memory`."""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from contenders import list_by_hand, new_client


def peak() -> float:
    """The most memory this process had, in MiB.

    Not `ru_maxrss` where there is better: a child's begins with what its parent had.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


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
