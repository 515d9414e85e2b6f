"""Measure start-up time: imports and `--help`, in new processes."""

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

TITLE = "Start-up time"
# The package imports its public names lazily, so import one.
_PACKAGE = "from braze_segments_async import BrazeSegments"
_OPEN_PACKAGE = """
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
    _PACKAGE: ("-c", _PACKAGE),
    "open a session": ("-c", _OPEN_AIOHTTP),
    "open a client": ("-c", _OPEN_PACKAGE),
    "braze-segments --help": ("-m", "braze_segments_async", "--help"),
}
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_ROUNDS = {"smoke": 1, "quick": 7, "full": 25}


def run(scale: Scale) -> Section:
    """Measure wall time."""
    rounds = _ROUNDS[scale]
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for turn in range(rounds + 1):
        for name, command in _COMMANDS.items():
            took = _time(command)
            if turn:  # the first round fills disk caches and writes bytecode
                times[name].append(took)
    imports = "import aiohttp, cattrs"
    rows = (
        _row(times, _PACKAGE, imports, at_most=1.1),
        _row(times, "open a client", "open a session"),
        _row(times, "braze-segments --help", imports),
    )
    python = 1000 * median(times["python"])
    text = (
        f"New processes, medians of {rounds} rounds; the interpreter alone takes {python:.0f} ms. The "
        "package imports aiohttp when a client is opened."
    )
    return Section(TITLE, text, rows, ("cyclopts", "rich"))


def _row(times: dict[str, list[float]], first: str, second: str, *, at_most: float | None = None) -> Row:
    ratios = tuple(one / other for one, other in zip(times[first], times[second], strict=True))
    return Row(
        f"`{first}` / `{second}`",
        1000 * median(times[first]),
        1000 * median(times[second]),
        "ms",
        ratios,
        at_most,
    )


def _time(command: tuple[str, ...]) -> float:
    began = time.perf_counter()
    # -P: do not import from the working directory.
    subprocess.run([sys.executable, "-P", *command], check=True, capture_output=True, env=_ENVIRONMENT)
    return time.perf_counter() - began
