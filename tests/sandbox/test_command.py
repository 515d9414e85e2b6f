"""`braze-segments sandbox` as people in other languages use it: faults, limits, permissions, key, log."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from cli_helpers import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Get = Callable[..., Awaitable[int]]


@asynccontextmanager
async def _served(*options: str, key: str = "sandbox-api-key") -> AsyncIterator[tuple[Get, list[str]]]:
    """Yield a function that returns the status of a GET request, and the lines of standard error."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", *options, stdout=PIPE, stderr=PIPE, env=environment()
    )
    assert process.stdout is not None
    output = ""
    while "BRAZE_API_KEY=" not in output:
        output += (await process.stdout.readline()).decode()
    exports = dict(line[7:].split("=", 1) for line in output.splitlines() if line.startswith("export "))
    assert exports["BRAZE_API_KEY"] == key
    headers = {"Authorization": f"Bearer {key}"}
    lines: list[str] = []
    try:
        async with aiohttp.ClientSession(exports["BRAZE_BASE_URL"], headers=headers) as session:

            async def get(path: str, **params: Any) -> int:
                async with session.get(path, params=params) as response:
                    return response.status

            yield get, lines
    finally:
        process.send_signal(signal.SIGINT)
        lines += (await process.communicate())[1].decode().splitlines()


async def test_faults_and_log() -> None:
    """`--fault` fails the chosen requests, the first that matches applies, and `--log` prints all of them."""
    faults = ("--fault", "503@list:2-3", "--fault", "502@list:3-4", "--fault", "500@details:100%")
    async with _served(*faults, "--log") as (get, log):
        statuses = [await get("/segments/list", page=page) for page in range(5)]
        details = await get("/segments/details", segment_id="x\n")
    assert statuses == [200, 503, 503, 502, 200]
    assert details == 500
    assert [line.split(" ", 1)[1] for line in log] == [
        *(f"{status} GET /segments/list?page={page}" for page, status in enumerate(statuses)),
        "500 GET /segments/details?segment_id=x%0A",
    ]


async def test_rate_limit_permissions_and_key() -> None:
    """`--rate-limit`, `--permissions` and `--api-key` configure it; without `--log` nothing is printed."""
    permissions = ("--permissions", "segments.details, segments.list")
    async with _served("--rate-limit", "3/86400s", *permissions, "--api-key", "other", key="other") as (
        get,
        log,
    ):
        statuses = [await get("/segments/list"), await get("/segments/data_series", segment_id="x")]
        statuses += [await get("/segments/list") for _ in range(2)]
    assert statuses == [200, 403, 200, 429]
    assert log == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--fault", "list:3"), "write a status or seconds"),
        (("--fault", "503@list:x"), "write a status or seconds"),
        (("--fault", "299@list"), "write a status or seconds"),
        (("--fault", "503@lst"), "the endpoint must be one of list, details"),
        (("--rate-limit", "500"), "write requests and seconds"),
        (("--rate-limit", "5/0s"), "write requests and seconds"),
        (("--permissions", "segments.lists"), "segments.lists is not a permission"),
    ],
)
async def test_wrong_options(options: tuple[str, ...], problem: str) -> None:
    """A value that cannot be read exits 2 with a message that says what to write."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", *options, stdout=PIPE, stderr=PIPE, env=environment()
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.decode().startswith(f"braze-segments: {options[0]}")
    assert problem in err.decode()
