"""Tasks with an owner: started in one place, and gone when their owner is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["cancel_and_wait", "create_task"]

T = TypeVar("T")


def create_task(
    coroutine: Coroutine[Any, Any, T], running: set[asyncio.Task[T]] | None = None
) -> asyncio.Task[T]:
    """Run beside the caller; a failure nobody awaits, since the caller left, is not reported by asyncio.

    Args:
        coroutine: what to run.
        running: the owner's record: the task is in it until it is done.
    """
    task = asyncio.get_running_loop().create_task(coroutine)
    task.add_done_callback(_retrieve)
    if running is not None:
        running.add(task)
        task.add_done_callback(running.discard)
    return task


def _retrieve(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and wait until all are over. Interrupted itself, it leaves them cancelled."""
    unfinished = [task for task in tasks if not task.done()]
    for task in unfinished:
        task.cancel()
    if unfinished:
        await asyncio.wait(unfinished)
