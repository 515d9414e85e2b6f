"""The lock: one export to one path at a time."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from braze_segments_async._support import file_errors, open_regular, sibling
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ExportError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked"]


# Without flock, the process that has created the file holds the lock.
_FLAGS = os.O_RDWR | os.O_CREAT | (os.O_EXCL if sys.platform == "win32" else 0)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`, which has the pid of its holder. The system releases it when the process dies.

    Without `flock`, the file of a process that has died must be removed by hand.

    Raises:
        ExportError: Another export holds the lock (the message has its pid), there can be no such file, or
            there is a link or a pipe; see `open_regular`.
    """
    lock = sibling(path, ".lock")
    with file_errors(path):
        file = _acquire(lock)
    try:
        with file_errors(path):
            os.ftruncate(file, 0)
            os.write(file, str(os.getpid()).encode())
        yield
    finally:
        # Unlink before unlocking: a waiter then sees that its file is not the one at the path.
        with suppress(OSError):
            lock.unlink()
        os.close(file)


def _acquire(path: Path) -> int:
    while True:
        try:
            file = open_regular(path, _FLAGS)
        except FileExistsError:
            break
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                return file
        except BlockingIOError:
            os.close(file)
            break
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # its holder has removed this file: try again with the file at the path, or a new one
    raise ExportError(f"another export holds {escape_control(str(path))}: pid {_holder(path)}")


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Return the pid in the lock file, which may be removed or empty by now."""
    with suppress(OSError, ValueError, ExportError):
        file = open_regular(path, os.O_RDONLY)
        try:
            return escape_control(os.read(file, 20).decode()) or "unknown"
        finally:
            os.close(file)
    return "unknown"
