"""Blocking work beside the event loop: over when `run_in_thread` is, whatever ended it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from braze_segments_async._support.threads import CancelToken, run_in_thread


def test_the_end_of_asyncio_run_waits_for_the_thread() -> None:
    """`asyncio.run` cancels all tasks there are at its end; the thread is told, and has stopped by then."""
    began, ended = threading.Event(), threading.Event()
    over: list[bool] = []

    def work(stop: CancelToken) -> None:
        began.set()
        try:
            for _ in stop.iter_until_cancelled(iter(lambda: began.wait(0.001), False)):
                pass
        finally:
            ended.set()

    async def beside() -> None:
        try:
            await run_in_thread(work)
        finally:
            over.append(ended.is_set())

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(beside())
        await asyncio.to_thread(began.wait)
        return task

    task = asyncio.run(main())
    assert task.cancelled()
    with suppress(asyncio.CancelledError):
        task.result()
    assert over == [True]
