"""Measure the peak memory of a users export, with a small and with a large ZIP file.

Every run is a new process; the server is another one. Prints a Markdown table, and saves it in RESULTS.md
unless `--small` is given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import web
from measure import peak
from report import save_results

from braze_segments_async import BrazeSegments, __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALLOWED = 60  # MiB
_PER_FILE = 5_000  # users per file in the ZIP, as in Braze's exports
_LARGE, _SMALL = 1_000, 10  # MB
_TITLE = "The users of a segment"


class Cost(NamedTuple):
    """Cost of one run."""

    users: int
    seconds: float
    peak: float  # MiB


def write(path: Path, size: int) -> None:
    """Write a ZIP of about `size` bytes: users of 1.5 KB each, half of it random."""
    rng = random.Random(0)  # noqa: S311 - not a secret
    noise = rng.randbytes(2**20).hex()
    number = 0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        while path.stat().st_size < size:
            with archive.open(f"users-{number // _PER_FILE:05}.json", "w") as file:
                for _ in range(_PER_FILE):
                    number += 1
                    at = rng.randrange(len(noise) - 1_200)
                    user = {
                        "external_id": f"user-{number}",
                        "email": f"user.{number}@example.com",
                        "created_at": "2026-07-16 19:55:53 UTC",
                        "random_bucket": number % 10_000,
                        "custom_attributes": {
                            f"key {n}": noise[at + n : at + n + 100] for n in range(0, 900, 100)
                        },
                        "devices": [{"os": "iOS", "device_id": noise[at + 1_000 : at + 1_200]}],
                    }
                    file.write(f"{json.dumps(user)}\n".encode())


async def serve(path: Path) -> None:
    """Serve the start of an export and its file."""
    app = web.Application()

    async def start(request: web.Request) -> web.Response:
        body = {"message": "success", "object_prefix": "a", "url": f"http://{request.host}/file.zip"}
        return web.json_response(body, status=201)

    async def file(_: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    app.add_routes([web.post("/users/export/segment", start), web.get("/file.zip", file)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


@contextmanager
def server(path: Path) -> Iterator[str]:
    """Yield the URL of a server in a separate process."""
    command = [sys.executable, __file__, "--serve", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - stdout=PIPE
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def read(url: str, verb: str) -> int:
    """Read or save all users, and return their number."""
    async with BrazeSegments("key", base_url=url) as client:
        export = await client.export_users("a-segment", fields=["external_id"])
        if verb == "save":
            with TemporaryDirectory() as folder:
                return await export.save(Path(folder, "users.ndjson"))
        count = 0
        async for _ in export.users():
            count += 1
        return count


def child(url: str, verb: str) -> None:
    """Run once and print the cost."""
    began = time.perf_counter()
    users = asyncio.run(read(url, verb))
    print(json.dumps(Cost(users, time.perf_counter() - began, peak())))


def measure(path: Path, verb: str) -> Cost:
    """Return the cost of one run in a child process."""
    with server(path) as url:
        command = [sys.executable, __file__, "--child", url, verb]
        return Cost(*json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tenth of the size; save nothing")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(Path(options.serve)))
    if options.child:
        child(*options.child)
        return
    sizes = (_SMALL, _LARGE // 10 if options.small else _LARGE)
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{size}.zip") for size in sizes]
        for path, size in zip(paths, sizes, strict=True):
            write(path, size * 10**6)
        costs = {verb: [measure(path, verb) for path in paths] for verb in ("users", "save")}
    table = (
        f"| | ZIP | users | time | peak | difference (< {_ALLOWED} MiB) |\n|---|---|---|---|---|---|\n"
        + "".join(_rows(verb, sizes, two) for verb, two in costs.items())
    )
    print(table)
    if not options.small:
        save_results({_TITLE: f"## {_TITLE}\n\n{_setting()}\n\n{table}"})


def _rows(verb: str, sizes: tuple[int, ...], costs: list[Cost]) -> str:
    call = {"users": "`async for user in export.users()`", "save": '`export.save("users.ndjson")`'}[verb]
    few, many = costs
    rows = [
        f"{call} | {size:,} MB | {cost.users:,} | {cost.seconds:.1f} s | {cost.peak:.0f} MiB"
        for size, cost in zip(sizes, costs, strict=True)
    ]
    return f"| {rows[0]} | |\n| {rows[1]} | **{many.peak - few.peak:+.0f} MiB** |\n"


def _setting() -> str:
    text = (
        "Measured with `python benchmarks/users.py`, which takes some minutes and 4 GB of disk, on "
        f"{datetime.now(UTC):%Y-%m-%d}; braze-segments-async {__version__}, Python "
        f"{platform.python_version()}, aiohttp {aiohttp.__version__}; {os.cpu_count()} cores, "
        f"{platform.system()}, {platform.machine()}. The server and every run are separate processes. A user "
        "is 1.5 KB of JSON, half of it random."
    )
    return fill(text, 120)


if __name__ == "__main__":
    main()
