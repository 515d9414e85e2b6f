"""Count the instructions of one request, which depend little on the load of the machine.

Run as a script, this module fetches details with one client; `perf` or `valgrind` counts.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from clients.aiohttp_loops import default_session, details_by_hand
from clients.package import details_with_package, new_client
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from report import Scale

TITLE = "Instructions of one request"
_BENCHMARKS = Path(__file__).parents[1]
_FEW, _MANY = 500, 1_500  # requests
_TOOLS = {  # name: (command, regular expression of the count in its standard error)
    "perf": (("perf", "stat", "-x", ",", "-e", "instructions:u"), r"(\d+),,instructions"),
    "valgrind": (
        ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        r"refs:\s+([\d,]+)",
    ),
}
_CONCURRENCIES = {"smoke": (), "quick": (64,), "full": (16, 64)}
# Sets and dicts of strings take the same time in every process.
_ENVIRONMENT = os.environ | {"PYTHONHASHSEED": "0"}


def run(scale: Scale) -> Section:
    """Count instructions with `perf` or `valgrind`, whichever works here."""
    tool = _tool()
    rows = []
    if tool:
        with server() as url:
            rows = [_row(tool, url, concurrency) for concurrency in _CONCURRENCIES[scale]]
    text = (
        f"Thousands of instructions of one details request: the difference between a process with {_MANY:,} "
        f"requests and one with {_FEW:,}, divided by {_MANY - _FEW:,}. First: the package. Second: a "
        "hand-written loop with aiohttp's default session. Work in the kernel is not counted, nor whether an "
        "instruction waits for memory. "
    )
    text += f"Counted by {tool}." if tool else "Not measured: neither `perf` nor `valgrind` counts here."
    return Section(TITLE, text, tuple(rows))


@cache
def _tool() -> str:
    """Return the first tool that counts instructions; an empty string if there is none."""
    return next((name for name in _TOOLS if which(name) and _count(name, ["-c", "pass"])), "")


def _count(tool: str, arguments: list[str]) -> int:
    """Return the number of instructions of a new Python process; 0 if they cannot be counted."""
    command, pattern = _TOOLS[tool]
    done = subprocess.run(
        [*command, sys.executable, *arguments],
        capture_output=True,
        check=False,
        text=True,
        cwd=_BENCHMARKS,
        env=_ENVIRONMENT,
    )
    counted = re.search(pattern, done.stderr)
    return int(counted[1].replace(",", "")) if counted and not done.returncode else 0


def _row(tool: str, url: str, concurrency: int) -> Row:
    runs = [(name, number) for name in _CLIENTS for number in (_MANY, _FEW)]

    def count(run: tuple[str, int]) -> int:
        name, number = run
        arguments = ["-m", "sections.instructions", name, url, str(number), str(concurrency)]
        return _count(tool, arguments)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the load does not matter
        counts = dict(zip(runs, pool.map(count, runs), strict=True))
    package, by_hand = (
        (counts[name, _MANY] - counts[name, _FEW]) / (_MANY - _FEW) / 1000 for name in _CLIENTS
    )
    label = f"asyncio, {concurrency} at a time"
    return Row(label, package, by_hand, "thousand", (package / by_hand,))


async def _package(url: str, ids: list[str], concurrency: int) -> None:
    async with new_client(url) as client:
        await details_with_package(client, ids, concurrency)


async def _by_hand(url: str, ids: list[str], concurrency: int) -> None:
    async with default_session(url) as session:
        await details_by_hand(session, ids, concurrency)


_CLIENTS = {"package": _package, "by hand": _by_hand}

if __name__ == "__main__":
    _name, _url, _number, _concurrency = sys.argv[1:]
    _ids = [f"segment-{count}" for count in range(int(_number))]
    asyncio.run(_CLIENTS[_name](_url, _ids, int(_concurrency)))
