"""Blocking work beside the event loop."""

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
    """The work was told to stop; never leaves this module."""


class CancelToken:
    """A thread-safe flag: set by the event loop, read by the thread."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def cancel(self) -> None:
        """End the work at the next item."""
        self._told.set()

    def check(self) -> None:
        """Raise an exception that undoes the work if the work is to stop."""
        if self._told.is_set():
            raise _StoppedError

    def iter_until_cancelled(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until the work is to stop: then an exception that undoes it."""
        for item in items:
            self.check()
            yield item


async def run_in_thread(work: Callable[[CancelToken], T], stop: CancelToken | None = None) -> T:
    """Do blocking work in a thread. If cancelled, stop the work and wait until it has ended.

    A thread cannot be cancelled: one left alone would still write files the caller believes are at rest.

    Args:
        work: Returns the result. It has to check the stop flag it is given at least every 0.1 s.
        stop: The flag to use, for work that takes several calls; by default a new one.
    """
    stop = stop or CancelToken()
    # Not a task, which the end of asyncio.run() would cancel: it would be over, and its thread would not.
    running = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.cancel()
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        with suppress(BaseException):
            running.result()  # retrieved; the cancellation is what the caller is to see
        raise
    except BaseException:
        # Raised by the work, or by a signal handler; then asyncio.run() waits for the thread.
        stop.cancel()
        raise
