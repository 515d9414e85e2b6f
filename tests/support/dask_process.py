"""A dask cluster for tests: a scheduler and workers on loopback, each a process that a test can kill.

The processes are forked from this one, because importing dask takes longer than exporting. The address of the
scheduler and all pids are written to standard output as a line of JSON. They end with standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import distributed

import braze_segments_async.dask  # noqa: F401 - for the workers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_SILENT: dict[str, Any] = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}


async def _scheduler(answer: int) -> None:
    async with distributed.Scheduler(host="127.0.0.1", port=0, **_SILENT) as scheduler:
        os.write(answer, f"{scheduler.address}\n".encode())
        await scheduler.finished()


async def _worker(address: str) -> None:
    async with distributed.Worker(address, nthreads=1, host="127.0.0.1", **_SILENT) as worker:
        await worker.finished()


def _fork(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    pid = os.fork()
    if not pid:
        asyncio.run(work())
        os._exit(0)
    return pid


def main(workers: int) -> None:
    """Start the cluster, and wait until standard input ends."""
    reading, writing = os.pipe()
    pids = [_fork(lambda: _scheduler(writing))]
    with os.fdopen(reading) as answers:
        address = answers.readline().strip()
    pids += [_fork(lambda: _worker(address)) for _ in range(workers)]
    print(json.dumps({"address": address, "scheduler": pids[0], "workers": pids[1:]}), flush=True)  # noqa: T201
    sys.stdin.read()
    for pid in reversed(pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
