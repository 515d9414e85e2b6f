"""Measure the wall time and peak memory of `export_segments`, compared with `all_details()` alone.

Every run is a new process; the server is another one. Prints a Markdown table. With `--rows`, measure the CPU
time and memory of the journal and of the files alone, without requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from clients.package import new_client
from measure import peak
from servers.process import server

from braze_segments_async._http.decoding import decode_details
from braze_segments_async._support import CancelToken
from braze_segments_async.export import ExportOptions, export_segments, to_json_line
from braze_segments_async.export._formats import write_rows
from braze_segments_async.export._index import JournalIndex
from braze_segments_async.export._journal import Journal
from braze_segments_async.export._listing import ListingTracker
from braze_segments_async.sandbox._workspace import Workspace

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
    if suffix.startswith("rows:"):
        use_lines(Path(url), suffix.removeprefix("rows:"))
        return
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        asyncio.run(export(url, Path(folder, f"a.{suffix}")) if suffix in _SUFFIXES else fan_out(url))
    print(json.dumps(Cost(time.perf_counter() - began, peak())))


def measure(url: str, suffix: str) -> Cost:
    """Return the cost of one run in a child process."""
    command = [sys.executable, __file__, "--child", url, suffix]
    return Cost(*json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def write_lines(number: int, path: Path) -> None:
    """Write the lines of invented segments."""
    workspace = Workspace(number, 1)
    with path.open("wb") as file:
        for segment_id in workspace.live_ids:
            file.write(to_json_line(decode_details(workspace.details(segment_id), segment_id, True)))


def use_lines(lines: Path, what: str) -> None:
    """Write or resume a journal, or write a file, and print the CPU time and the growth of the peak."""
    before, cpu = peak(), time.process_time()
    if what in _SUFFIXES:
        with lines.open("rb") as file:
            write_rows(lines.with_suffix(f".{what}"), file, what)  # type: ignore[arg-type]
    else:
        journal = Journal(lines.with_suffix(".journal"), "localhost", ExportOptions(resume=what == "resume"))
        journal.open(CancelToken())
        with lines.open("rb") as file:
            for line in file:
                row = json.loads(line)
                if what == "resume":
                    journal.index.mark_listed(row["id"])
                else:
                    journal.add(line, row["id"], datetime.fromisoformat(row["created_at"]))
        for _ in journal.rows(CancelToken()):
            pass
        journal.close()
    print(json.dumps(Cost(time.process_time() - cpu, peak() - before)))


def rows(number: int) -> None:
    """Print the cost of each row of a journal and of a file."""
    print("| rows | | CPU per row | peak above the start |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        lines = Path(folder, "lines")
        write_lines(number, lines)
        for what in ("journal", "resume", *_SUFFIXES):
            cost = measure(str(lines), f"rows:{what}")
            print(f"| {number:,} | {what} | {1e6 * cost.seconds / number:.1f} µs | {cost.peak:.0f} MiB |")


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
    parser.add_argument("--rows", type=int, help="measure the journal and the files alone, with so many rows")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    if options.rows:
        rows(options.rows)
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
