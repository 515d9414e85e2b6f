"""Blocking work in a thread has ended when `run_in_thread` has."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

from braze_segments_async._support.threads import CancelToken, run_in_thread


def test_the_end_of_asyncio_run_waits_for_the_thread() -> None:
    """The end of `asyncio.run` cancels the thread and waits until it has stopped."""
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
