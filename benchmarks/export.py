"""Measure the wall time and peak memory of `export_segments`, compared with `all_details()` alone.

Every run is a new process; the server is another one. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from clients.aiohttp_loops import new_client
from measure import peak
from servers.process import server

from braze_segments_async.export import export_segments
from braze_segments_async.export._index import JournalIndex
from braze_segments_async.export._listing import ListingTracker

_SUFFIXES = ("ndjson", "csv", "parquet", "sqlite")
_FEW = 1_000
_ALLOWED_MEMORY = 60  # MiB
_ALLOWED_TIME = 0.10


class Cost(NamedTuple):
    """Cost of one run."""

    seconds: float
    peak: float  # MiB


async def fan_out(url: str) -> None:
    """Send the same requests in the same order, and discard the results."""
    async with new_client(url) as client:
        tracker = ListingTracker(client.list(consistency="safe"), JournalIndex(), lambda: None)
        async with aclosing(tracker.pending_segments()) as pending, client.all_details(pending) as stream:
            async for _ in stream:
                pass


async def export(url: str, target: Path) -> None:
    """Export to a file."""
    async with new_client(url) as client:
        await export_segments(client, target)


def child(url: str, suffix: str) -> None:
    """Run once and print the cost."""
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        asyncio.run(export(url, Path(folder, f"a.{suffix}")) if suffix in _SUFFIXES else fan_out(url))
    print(json.dumps(Cost(time.perf_counter() - began, peak())))


def measure(url: str, suffix: str) -> Cost:
    """Return the cost of one run in a child process."""
    command = [sys.executable, __file__, "--child", url, suffix]
    return Cost(*json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def overhead(url: str, suffix: str, rounds: int) -> tuple[float, float]:
    """Return the seconds of the fastest export, and how much longer it takes than the fastest fan-out.

    Other load on the machine only makes runs slower, so the fastest run is the most accurate.
    """
    exports, fan_outs = [], []
    for _ in range(rounds):
        exports.append(measure(url, suffix).seconds)
        fan_outs.append(measure(url, "nothing").seconds)
    return min(exports), min(exports) / min(fan_outs) - 1


def main() -> None:
    """Measure every format and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=100_000, help="segments of the memory measurement")
    parser.add_argument("--timed", type=int, default=5_000, help="segments of the time measurement")
    parser.add_argument(
        "--latency", type=float, default=0.02, help="latency of the time measurement in seconds"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fast", action="store_true", help="use the fast server instead of the sandbox")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    kind = [] if options.fast else ["--sandbox"]
    times = {}
    with server("--segments", str(options.timed), "--latency", str(options.latency), *kind) as url:
        for suffix in _SUFFIXES:
            times[suffix] = overhead(url, suffix, options.rounds)
    with server("--segments", str(_FEW), *kind) as url:
        few = {suffix: measure(url, suffix).peak for suffix in _SUFFIXES}
    with server("--segments", str(options.segments), *kind) as url:
        many = {suffix: measure(url, suffix).peak for suffix in _SUFFIXES}
    print(
        f"| format | {options.timed:,} segments | longer than `all_details()` alone (< {_ALLOWED_TIME:.0%}) "
        f"| peak at {_FEW:,} | peak at {options.segments:,} | difference (< {_ALLOWED_MEMORY} MiB) |\n"
        "|---|---|---|---|---|---|"
    )
    for suffix, (seconds, ratio) in times.items():
        print(
            f"| {suffix} | {seconds:.1f} s | **{ratio:+.1%}** | {few[suffix]:.0f} MiB "
            f"| {many[suffix]:.0f} MiB | **{many[suffix] - few[suffix]:.0f} MiB** |"
        )


if __name__ == "__main__":
    main()
