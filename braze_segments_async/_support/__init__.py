"""General tools for files, tasks and threads. They know nothing about Braze."""

from .files import (
    atomic_write,
    check_regular,
    create_private,
    failures_of,
    file_errors,
    open_regular,
    sibling,
)
from .tasks import TaskCancellation, cancel_and_wait, create_task
from .threads import CancelToken, run_in_thread

__all__ = [
    "CancelToken",
    "TaskCancellation",
    "atomic_write",
    "cancel_and_wait",
    "check_regular",
    "create_private",
    "create_task",
    "failures_of",
    "file_errors",
    "open_regular",
    "run_in_thread",
    "sibling",
]
