"""Measure start-up time: imports, the first row of a script, and the commands, in new processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from report import Scale

TITLE = "Start-up time"
_IMPORTS, _PACKAGE = "import aiohttp, cattrs", "from braze_segments_async import BrazeSegments"
_HELP, _EXPORT = "braze-segments --help", "braze-segments export --sandbox | head -1"
_FIRST_ROW, _FIRST_ROW_BY_HAND = "first row of a script", "first row of a hand-written script"
_ALLOWED_IMPORT, _ALLOWED_FIRST_ROW = 1.1, 1.25
_ALLOWED = {_HELP: 350, _EXPORT: 500}  # ms
_SCRIPT = """
import asyncio, sys
from braze_segments_async import BrazeSegments
async def main():
    async with BrazeSegments("sandbox-api-key", base_url=sys.argv[1]) as client:
        async for details in client.all_details():
            print(details.name)
            break
asyncio.run(main())
"""
_SCRIPT_BY_HAND = """
import asyncio, json, sys
import aiohttp
async def main():
    headers = {"Authorization": "Bearer sandbox-api-key"}
    async with aiohttp.ClientSession(sys.argv[1], headers=headers) as session:
        async with session.get("/segments/list", params={"page": "0"}) as response:
            segments = json.loads(await response.read())["segments"]
        params = {"segment_id": segments[0]["id"]}
        async with session.get("/segments/details", params=params) as response:
            print(json.loads(await response.read())["name"])
asyncio.run(main())
"""
_PYTHON = (sys.executable, "-P")  # do not import from the working directory
_COMMAND = (*_PYTHON, "-m", "braze_segments_async")
_COMMANDS = {
    "python": (*_PYTHON, "-c", "pass"),
    _IMPORTS: (*_PYTHON, "-c", _IMPORTS),
    _PACKAGE: (*_PYTHON, "-c", _PACKAGE),
    _FIRST_ROW_BY_HAND: (*_PYTHON, "-c", _SCRIPT_BY_HAND),
    _FIRST_ROW: (*_PYTHON, "-c", _SCRIPT),
    _HELP: (*_COMMAND, "--help"),
    _EXPORT: ("sh", "-c", '"$@" export --sandbox | head -1', "sh", *_COMMAND),
}
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_ROUNDS = {"smoke": 1, "quick": 6, "full": 25}


def run(scale: Scale) -> Section:
    """Measure wall time."""
    rounds = _ROUNDS[scale]
    times: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    with server() as url:
        for turn in range(rounds + 1):
            for name, command in _COMMANDS.items():
                script = name in {_FIRST_ROW, _FIRST_ROW_BY_HAND}
                took = _time((*command, url) if script else command)
                if turn:  # the first round fills disk caches and writes bytecode
                    times[name].append(took)
    rows = [
        _row(f"`{_PACKAGE}` / `{_IMPORTS}`", times[_PACKAGE], times[_IMPORTS], _ALLOWED_IMPORT),
        _row(
            f"{_FIRST_ROW} / {_FIRST_ROW_BY_HAND}",
            times[_FIRST_ROW],
            times[_FIRST_ROW_BY_HAND],
            _ALLOWED_FIRST_ROW,
        ),
    ]
    for name, allowed in _ALLOWED.items():
        label = f"`{name}` / {allowed} ms".replace("|", "\\|")
        rows.append(_row(label, times[name], [allowed] * rounds, 1.0))
    text = (
        f"New processes, medians of {rounds} rounds; the interpreter alone takes "
        f"{median(times['python']):.0f} ms. A script opens a client, prints the name of the first segment "
        "with its details, and ends; the server has no latency."
    )
    return Section(TITLE, text, tuple(rows), ("cyclopts", "rich"))


def _row(label: str, first: Sequence[float], second: Sequence[float], at_most: float) -> Row:
    ratios = tuple(one / other for one, other in zip(first, second, strict=True))
    return Row(label, median(first), median(second), "ms", ratios, at_most)


def _time(command: tuple[str, ...]) -> float:
    """Return the time of a process in ms."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=_ENVIRONMENT)
    return 1000 * (time.perf_counter() - began)
