"""Files that are whole or absent."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from braze_segments_async.errors import BrazeError, ExportError
from braze_segments_async.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["beside", "create", "file_errors", "put"]


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what the file system raises into `ExportError`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrazeError):  # TimedOutError is both
            raise
        raise ExportError(f"cannot write {plain(str(path))}: {error.strerror or error}") from None


def beside(path: Path, suffix: str) -> Path:
    """A path in the same directory, so that one rename can put a file from there in place."""
    return path.with_name(path.name + suffix)


def create(path: Path) -> IO[bytes]:
    """A file that nobody else can read, in place of what a process that died has left there."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def put(path: Path, fill: Callable[[Path], None], *, replace: bool, part: Path | None = None) -> None:
    """Have a file written under another name, and give it its own when the disk has all of it.

    Args:
        path: where it goes.
        fill: writes it; whatever it raises leaves everything as it was.
        replace: whether something that is there may go.
        part: the other name, where two could be at it at once.

    Raises:
        ExportError: something has appeared there.
        OSError: the file system could not.
    """
    part = part or beside(path, ".part")
    try:
        fill(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if not replace and os.path.lexists(path):
            raise ExportError(
                f"{plain(str(path))} has appeared meanwhile; what is finished is in the journal, "
                "and resume=True replaces the file"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if sys.platform != "win32":  # whose directories cannot be opened
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # else a power failure could undo the renaming
        finally:
            os.close(directory)
