"""Measure peak memory, and whether it grows with the workspace.

Run as a script, this module does one thing and prints the peak memory of its process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clients.aiohttp_loops import list_by_hand
from clients.package import new_client
from measure import peak
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from report import Scale

TITLE = "Memory"
_BENCHMARKS = Path(__file__).parents[1]
_FEW = 1_000

_SIZES = {"smoke": 2_000, "quick": 10_000, "full": 100_000}


def run(scale: Scale) -> Section:
    """Measure peaks of child processes."""
    many = _SIZES[scale]
    few_peaks, peaks = _peaks(_FEW), _peaks(many)
    segments, rows = (peaks[what] - few_peaks[what] for what in ("segments", "rows"))
    each = 2**20 / (many - _FEW)
    growth = peaks["fan_out"] - few_peaks["fan_out"]
    text = (
        f"Peak memory of child processes. `all_details()` over {many:,} segments, 64 at a time, does not "
        "hold the details, but remembers every id in order to yield no segment twice. In memory: how much "
        f"the list of {many:,} segments adds to a process."
    )
    table = (
        Row(
            f"`all_details()` over {many:,} segments / over {_FEW:,}",
            peaks["fan_out"],
            few_peaks["fan_out"],
            "MiB",
            (peaks["fan_out"] / few_peaks["fan_out"],),
            note=f"{growth:.1f} MiB more: {growth * each:.0f} bytes per segment",
        ),
        Row(
            f"{many:,} `Segment`s in memory / the dicts of `json.loads`",
            segments,
            rows,
            "MiB",
            (segments / rows,),
            note=f"{segments * each:.0f} and {rows * each:.0f} bytes per segment",
        ),
    )
    return Section(TITLE, text, table)


def _peaks(number: int) -> dict[str, float]:
    with server("--segments", str(number)) as url:
        return {what: _peak(what, url) for what in ("fan_out", "segments", "rows")}


def _peak(what: str, url: str) -> float:
    command = [sys.executable, "-m", "sections.memory", what, url]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=_BENCHMARKS)
    return float(done.stdout)


async def _fan_out(url: str) -> None:
    """Fetch the details of every segment, and keep none."""
    async with new_client(url) as client, client.all_details(concurrency=64) as stream:
        async for _ in stream:
            pass


async def _segments(url: str) -> None:
    """Hold every `Segment` of the list."""
    async with new_client(url) as client:
        segments = [segment async for segment in client.list()]
        del segments


async def _rows(url: str) -> None:
    """Hold every row of the list as `json.loads` returns it."""
    await list_by_hand(url)


if __name__ == "__main__":
    work = {"fan_out": _fan_out, "segments": _segments, "rows": _rows}[sys.argv[1]]
    asyncio.run(work(sys.argv[2]))
    print(peak())
