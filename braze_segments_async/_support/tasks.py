"""Create and cancel tasks so that none outlives its owner."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["TaskCancellation", "cancel_and_wait", "create_task"]

T = TypeVar("T")


def create_task(
    coroutine: Coroutine[Any, Any, T], running: set[asyncio.Task[T]] | None = None
) -> asyncio.Task[T]:
    """Start a task whose failure is not reported by asyncio if it is never awaited.

    Args:
        coroutine: The work of the task.
        running: Set of the owner's unfinished tasks; contains the task until it is done.

    Returns:
        The task.
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
    """Cancel tasks and wait until all are done. If interrupted, leave them cancelled."""
    unfinished = [task for task in tasks if not task.done()]
    for task in unfinished:
        task.cancel()
    if unfinished:
        await asyncio.wait(unfinished)


class TaskCancellation:
    """Cancellation of the current task that can be distinguished from a cancellation by other code.

    Uses the counts of `Task.cancelling()` and `Task.uncancel()`, as `asyncio.timeout` does.

    Attributes:
        task: The task to cancel.
        reason: The reason passed to `cancel`; empty before.
    """

    __slots__ = ("_cancelling", "reason", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.reason = ""
        self._cancelling = task.cancelling()

    def cancel(self, reason: str) -> None:
        """Cancel the task; only the first call has an effect."""
        if not self.reason:
            self.reason = reason
            self.task.cancel()

    def uncancel_if_own(self) -> bool:
        """Take back the request of `cancel`, and return whether nobody else has requested a cancellation.

        Call this once, in the handler of the `CancelledError`, which can then be replaced by another result.
        Two of these can be nested in one task: each takes back its own request only.
        """
        return bool(self.reason) and self.task.uncancel() <= self._cancelling
