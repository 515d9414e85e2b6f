"""How long it takes until something happens: imports, and the command's help, as whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from report import Row, Section

if TYPE_CHECKING:
    from report import Scale

TITLE = "Start"
# The package itself imports what is asked of it when it is asked for.
_OURS = "from braze_segments_async import BrazeSegments"
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
    _OURS: ("-c", _OURS),
    "open a session": ("-c", _OPEN_AIOHTTP),
    "open a client": ("-c", _OPEN_OURS),
    "braze-segments --help": ("-m", "braze_segments_async", "--help"),
}
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
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
        _row(times, _OURS, theirs, at_most=1.1),
        _row(times, "open a client", "open a session"),
        _row(times, "braze-segments --help", theirs),
    )
    python = 1000 * median(times["python"])
    text = (
        f"Whole processes, medians of {rounds}; Python alone takes {python:.0f} ms of each. The package "
        "imports aiohttp when a client is opened."
    )
    return Section(TITLE, text, rows, ("cyclopts", "rich"))


def _row(times: dict[str, list[float]], ours: str, theirs: str, *, at_most: float | None = None) -> Row:
    ratios = tuple(one / other for one, other in zip(times[ours], times[theirs], strict=True))
    return Row(
        f"`{ours}` / `{theirs}`",
        1000 * median(times[ours]),
        1000 * median(times[theirs]),
        "ms",
        ratios,
        at_most,
    )


def _time(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    # -P: what is installed or on PYTHONPATH, and not what is in the working directory.
    subprocess.run([sys.executable, "-P", *command], check=True, capture_output=True, env=_ENVIRONMENT)
    return time.perf_counter() - began
