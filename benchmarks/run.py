"""Compare the package with hand-written aiohttp loops; print the table and keep it in RESULTS.md.

Absolute times move with the machine and with what else runs on it. So each figure is a ratio of two runs side
by side, in pairs of alternating order (A B, B A, …), and the median over the pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from contenders import (
    catalogue_by_hand,
    catalogue_ours,
    details_by_hand,
    details_ours,
    new_client,
    new_session,
)

_HERE = Path(__file__).parent
_DETAILS = 3_000
_CONCURRENCIES = (16, 64)
_ROUNDS = 21
_CATALOGUE = 2_000
_CATALOGUE_CONCURRENCY = 64
_CATALOGUE_ROUNDS = 5
_LATENCY = 0.05
_PACKAGES = ("aiohttp", "attrs", "cattrs", "tenacity")


class Cost(NamedTuple):
    """What one run took of this process and of the day, in seconds."""

    cpu: float
    wall: float


Run = Callable[[], Awaitable[list[object]]]
Pairs = list[tuple[Cost, Cost]]


async def measure(run: Run, expected: int) -> Cost:
    """Run once; what earlier runs left behind is collected first."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    results = await run()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    if len(results) != expected:
        raise RuntimeError(f"{len(results)} results instead of {expected}")
    return cost


async def alternate(ours: Run, theirs: Run, rounds: int, expected: int) -> Pairs:
    """Pairs of runs, each pair in the other order than the one before."""
    pairs: Pairs = []
    for number in range(rounds):
        if number % 2:
            second = await measure(theirs, expected)
            pairs.append((await measure(ours, expected), second))
        else:
            first = await measure(ours, expected)
            pairs.append((first, await measure(theirs, expected)))
    return pairs


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Start a server process; its address."""
    command = [sys.executable, str(_HERE / "server.py"), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
        assert process.stdout is not None  # noqa: S101
        yield process.stdout.readline().strip()
        process.stdin.close()


async def compare_details(url: str, concurrency: int) -> Pairs:
    """The details of many segments, over connections that are open already."""
    async with new_client(url) as client, new_session(url) as session:
        ids = [segment.id async for segment in client.list()]

        async def ours() -> list[object]:
            return [*await details_ours(client, ids, concurrency)]

        async def theirs() -> list[object]:
            return await details_by_hand(session, ids, concurrency)

        await alternate(ours, theirs, 1, len(ids))  # opens the connections, and warms up
        return await alternate(ours, theirs, _ROUNDS, len(ids))


async def compare_catalogues(url: str) -> Pairs:
    """The whole catalogue, the opening of the connections included."""

    async def ours() -> list[object]:
        return [*await catalogue_ours(url, _CATALOGUE_CONCURRENCY)]

    async def theirs() -> list[object]:
        return await catalogue_by_hand(url, _CATALOGUE_CONCURRENCY)

    return await alternate(ours, theirs, _CATALOGUE_ROUNDS, _CATALOGUE)


def pipelined_ideal(segments: int, latency: float, concurrency: int) -> float:
    """Seconds that nothing could beat that asks for one list page after another.

    The last page is followed by at least one round of details; and the details, which start after page 0,
    take their time divided by the concurrency.
    """
    pages = segments // 100 + 1
    return max(pages * latency + latency, latency + segments * latency / concurrency)


def spread(ratios: list[float]) -> str:
    """The last two cells of a row: the median, and between what the middle half of the pairs lie."""
    low, middle, high = quantiles(ratios, method="inclusive")
    return f"| **{middle:.2f}** | {low:.2f} to {high:.2f} |"


def details_rows(concurrency: int, pairs: Pairs) -> Iterator[str]:
    """The rows of one concurrency: CPU time and wall time."""
    for what, index in (("CPU", 0), ("wall", 1)):
        ratios = [ours[index] / theirs[index] for ours, theirs in pairs]
        ours = 1e6 * median(pair[0][index] for pair in pairs) / _DETAILS
        theirs = 1e6 * median(pair[1][index] for pair in pairs) / _DETAILS
        yield (
            f"| {what} per request, concurrency {concurrency} | {ours:.0f} µs | {theirs:.0f} µs "
            f"{spread(ratios)}"
        )


def catalogue_rows(pairs: Pairs) -> Iterator[str]:
    """The rows of the whole catalogue: against the ideal, and against each other."""
    ideal = pipelined_ideal(_CATALOGUE, _LATENCY, _CATALOGUE_CONCURRENCY)
    ours, theirs = ([pair[side].wall for pair in pairs] for side in (0, 1))
    for what, first, second in (
        ("package / pipelined ideal", ours, [ideal] * len(pairs)),
        ("list, then details / pipelined ideal", theirs, [ideal] * len(pairs)),
        ("package / list, then details", ours, theirs),
    ):
        ratios = [one / other for one, other in zip(first, second, strict=True)]
        yield f"| {what} | {median(first):.2f} s | {median(second):.2f} s {spread(ratios)}"


def report(details: dict[int, Pairs], catalogues: Pairs, served_by: str) -> str:
    """The tables, as Markdown."""
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    machine = f"{os.cpu_count()} cores, {platform.system()}, {platform.machine()}"
    lines = [
        "# Results",
        "",
        f"Python {platform.python_version()}, {versions}; {machine}; {served_by}.",
        "",
        f"## {_DETAILS:,} details of about 1 KB, median of {_ROUNDS} alternated pairs",
        "",
        "| | package | hand-written aiohttp loop | ratio | middle half |",
        "|---|---|---|---|---|",
    ]
    for concurrency, pairs in details.items():
        lines += details_rows(concurrency, pairs)
    lines += [
        "",
        f"## The whole catalogue: {_CATALOGUE:,} segments, median of {_CATALOGUE_ROUNDS} alternated pairs",
        "",
        f"Latency {1000 * _LATENCY:.0f} ms, concurrency {_CATALOGUE_CONCURRENCY}; wall time.",
        "",
        "| | first | second | ratio | middle half |",
        "|---|---|---|---|---|",
        *catalogue_rows(catalogues),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sandbox", action="store_true", help="measure against the package's own sandbox")
    sandbox = ["--sandbox"] if parser.parse_args().sandbox else []
    with server("--segments", str(_DETAILS), *sandbox) as url:
        details = {number: asyncio.run(compare_details(url, number)) for number in _CONCURRENCIES}
    with server("--segments", str(_CATALOGUE), "--latency", str(_LATENCY), *sandbox) as url:
        catalogues = asyncio.run(compare_catalogues(url))
    results = report(
        details, catalogues, "the built-in sandbox" if sandbox else "a server of pre-rendered bytes"
    )
    print(results)
    if not sandbox:
        (_HERE / "RESULTS.md").write_text(results)


if __name__ == "__main__":
    main()
