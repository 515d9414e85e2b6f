"""How long it takes until something happens: imports, and the command's help, as whole processes."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from report import Row, Section

if TYPE_CHECKING:
    from report import Scale

TITLE = "Start"
_OPEN_OURS = """
import asyncio, braze_segments_async
async def main():
    async with braze_segments_async.BrazeSegments("key", base_url="http://127.0.0.1:9"):
        pass
asyncio.run(main())
"""
_OPEN_AIOHTTP = """
import asyncio, aiohttp, cattrs
async def main():
    async with aiohttp.ClientSession("http://127.0.0.1:9"):
        pass
asyncio.run(main())
"""
_COMMANDS = {
    "python": ("-c", "pass"),
    "import aiohttp, cattrs": ("-c", "import aiohttp, cattrs"),
    "import braze_segments_async": ("-c", "import braze_segments_async"),
    "open a session": ("-c", _OPEN_AIOHTTP),
    "open a client": ("-c", _OPEN_OURS),
    "braze-segments --help": ("-m", "braze_segments_async", "--help"),
}
_ROUNDS = {"smoke": 1, "quick": 7, "full": 25}


def run(scale: Scale) -> Section:
    """See the module."""
    rounds = _ROUNDS[scale]
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for turn in range(rounds + 1):
        for name, command in _COMMANDS.items():
            took = _time(command)
            if turn:  # the first fills the caches of the disk and writes bytecode
                times[name].append(took)
    theirs = "import aiohttp, cattrs"
    rows = (
        _row(times, "import braze_segments_async", theirs),
        _row(times, "open a client", "open a session"),
        _row(times, "braze-segments --help", theirs),
    )
    python = 1000 * median(times["python"])
    text = (
        f"Whole processes, medians of {rounds}; Python alone takes {python:.0f} ms of each. The package "
        "imports aiohttp when a client is opened."
    )
    return Section(TITLE, text, rows, ("cyclopts", "rich"))


def _row(times: dict[str, list[float]], ours: str, theirs: str) -> Row:
    ratios = tuple(one / other for one, other in zip(times[ours], times[theirs], strict=True))
    return Row(
        f"`{ours}` / `{theirs}`", 1000 * median(times[ours]), 1000 * median(times[theirs]), "ms", ratios
    )


def _time(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    # -P: what is installed or on PYTHONPATH, and not what is in the working directory.
    subprocess.run([sys.executable, "-P", *command], check=True, capture_output=True)
    return time.perf_counter() - began
