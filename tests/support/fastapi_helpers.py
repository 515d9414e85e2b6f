"""Helpers of the FastAPI tests: an app in this process, and the example as a server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2
from fastapi import FastAPI

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.fastapi import braze_lifespan, segments_router
from braze_segments_async.sandbox import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from braze_segments_async.sandbox import LoggedRequest, Sandbox

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_app.py"
TOKEN = "the-token-of-the-callers"
_DEADLINE = 20.0  # seconds; no step takes that long, even on a busy machine


@asynccontextmanager
async def serving(
    sandbox: Sandbox, exports: Path | None = None, *, app: FastAPI | None = None, **options: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an app with the routes below `/braze`, and yield a client of it."""
    app = app or FastAPI()
    app.include_router(segments_router(allow_unauthenticated=True), prefix="/braze")

    def make_client() -> BrazeSegments:
        return BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=RetryPolicy(backoff=0.0))

    async with braze_lifespan(make_client, exports=exports, **options)(app):
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://app/braze") as client:
            yield client


class Brake:
    """A delay of all details of a sandbox after the first ones, so that an export does not end."""

    def __init__(self, sandbox: Sandbox, after: int) -> None:
        self._left = after
        self.reached = asyncio.Event()
        sandbox.inject(self._answer, endpoint="details")

    def _answer(self, _: LoggedRequest) -> Answer | None:
        self._left -= 1
        if self._left >= 0:
            return None
        self.reached.set()
        return Answer(delay=60.0)

    def release(self) -> None:
        """Stop delaying new responses; those that are delayed already never arrive."""
        self._left = 1_000_000


def events(stream: str) -> list[dict[str, Any]]:
    """Return the data of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line[:5] == "data:"]


class Server:
    """The example app in uvicorn or hypercorn, and a client that opens a connection for each request."""

    def __init__(
        self, sandbox: Sandbox, folder: Path, *options: str, program: str = "uvicorn", workers: int = 1
    ) -> None:
        address = {"uvicorn": ("--port", "0"), "hypercorn": ("--bind", "127.0.0.1:0")}[program]
        self._command = (program, "fastapi_app:app", *address, "--workers", str(workers), *options)
        # Hypercorn logs that it listens, and nothing else, in each worker; with 0 of them, in this process.
        self._started = (
            ("startup complete", workers) if program == "uvicorn" else ("Running on", workers or 1)
        )
        self._folder = folder
        self._env = {
            **os.environ,
            "APP_TOKEN": TOKEN,
            "BRAZE_API_KEY": sandbox.api_key,
            "BRAZE_BASE_URL": sandbox.base_url,
            "PYTHONPATH": str(EXAMPLE.parent),
            "PYTHONWARNINGS": "error",
        }
        self.log = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *self._command),
            cwd=self._folder,
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read())
        try:
            text, times = self._started
            await until(lambda: self.log.count(text) == times and self.url("/"))
        except BaseException:
            await self.kill()
            raise
        self.client = httpx2.AsyncClient(
            base_url=self.url("/braze"),
            headers={"Authorization": f"Bearer {TOKEN}"},
            limits=httpx2.Limits(max_keepalive_connections=0),
            timeout=_DEADLINE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.kill()

    def url(self, path: str) -> str:
        """Return the URL of a path; empty until the server listens."""
        found = re.search(r"[Rr]unning on (http://[\d.:]+)", self.log)
        return f"{found[1]}{path}" if found else ""

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.log)]

    async def stop(self) -> float:
        """Send SIGTERM, and return the seconds until the process has ended."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        await self.ended()
        return time.monotonic() - began

    async def ended(self) -> None:
        """Wait for the end of the process."""
        async with asyncio.timeout(_DEADLINE):
            await self._process.wait()
        await self._reading

    async def kill(self) -> None:
        """Send SIGKILL to all processes of the server."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.log += line.decode()


async def until(condition: Callable[[], object]) -> None:
    """Check a condition repeatedly until it holds; fail after a deadline."""
    async with asyncio.timeout(_DEADLINE):
        while not condition():  # noqa: ASYNC110 - the condition depends on another process, or on a task without an event
            await asyncio.sleep(0.01)
