"""Run blocking work in a thread, and stop it when its task is cancelled."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["CancelToken", "run_in_thread"]

T = TypeVar("T")


class _StoppedError(Exception):
    """The end of cancelled work; never leaves this module."""


class CancelToken:
    """A thread-safe flag: set by the event loop, read by the thread."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Make the next `check` raise."""
        self._cancelled.set()

    def check(self) -> None:
        """Raise an exception if the work is cancelled."""
        if self._cancelled.is_set():
            raise _StoppedError

    def iter_until_cancelled(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; raise an exception if the work is cancelled."""
        for item in items:
            self.check()
            yield item


async def run_in_thread(work: Callable[[CancelToken], T], stop: CancelToken | None = None) -> T:
    """Run blocking work in a thread. If cancelled, stop the work and wait until it has ended.

    A thread cannot be cancelled: without the wait, it could still write files after the caller has returned.

    Args:
        work: Returns the result. It must check the token it is given at least every 0.1 s.
        stop: The token to use, for work that takes several calls; by default a new one.

    Returns:
        The result of the work.
    """
    stop = stop or CancelToken()
    # Not a task: the end of asyncio.run() would cancel it while its thread still runs.
    running = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.cancel()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        with suppress(BaseException):
            running.result()  # mark the exception as retrieved; the caller gets the cancellation
        raise
    except BaseException:
        # Raised by the work, or by a signal handler: in that case asyncio.run() waits for the thread.
        stop.cancel()
        raise
