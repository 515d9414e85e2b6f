"""Write files atomically, and without following links that other users may have created."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from braze_segments_async._text import escape_control
from braze_segments_async.errors import BrazeError, ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "atomic_write",
    "check_regular",
    "create_private",
    "failures_of",
    "file_errors",
    "open_regular",
    "sibling",
]

# Other users may be able to write to the directory: do not follow a link, and do not block on a pipe.
_NEVER_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NOT_REGULAR = {errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR}


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Convert an `OSError` of the block into an `ExportError` that names the path."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrazeError):  # TimedOutError is an OSError, too
            raise
        raise ExportError(f"cannot write {escape_control(str(path))}: {error.strerror or error}") from None


def sibling(path: Path, suffix: str) -> Path:
    """Return a path in the same directory, from which a file can be renamed to `path` atomically."""
    return path.with_name(path.name + suffix)


def failures_of(path: Path) -> Path:
    """Return the path of the list of segments that failed in an export."""
    return sibling(path, ".failures.ndjson")


def check_regular(path: Path) -> bool:
    """Return whether a regular file exists at a path.

    Raises:
        ExportError: The path is a link, a pipe, or anything else that is not a regular file.
        OSError: The file system failed.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise _not_regular(path)
    return True


def open_regular(path: Path, flags: int) -> int:
    """Open a regular file that has no other hard link.

    Args:
        path: The file.
        flags: Flags of `os.open`. Not `O_TRUNC`, which would change the file before it is checked.

    Returns:
        The file descriptor.

    Raises:
        ExportError: It is not such a file; nothing was read or changed.
        OSError: The file system failed.
    """
    try:
        file = os.open(path, flags | _NEVER_FOLLOW, 0o666)
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise _not_regular(path) from None
        raise
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:  # 0: removed after it was opened
        return file
    os.close(file)
    raise _not_regular(path)


def _not_regular(path: Path) -> ExportError:
    return ExportError(
        f"{escape_control(str(path))} is a link or not a regular file, and was not changed: "
        "find out who created it, and remove it"
    )


def create_private(path: Path, mode: int = 0o600, *, buffering: int = -1) -> IO[bytes]:
    """Create a file for writing, and replace one that an interrupted process has left.

    Args:
        path: The file.
        mode: Its permissions before the umask; by default only the owner can read it.
        buffering: As of `open`.

    Returns:
        The open file.

    Raises:
        ExportError: The path is not a regular file; see `check_regular`.
        OSError: The file system failed.
    """
    if check_regular(path):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NEVER_FOLLOW
    return os.fdopen(os.open(path, flags, mode), "wb", buffering)


def atomic_write(
    path: Path,
    fill: Callable[[Path], None],
    *,
    replace: bool,
    remedy: Mapping[str, str] | None = None,
    part: Path | None = None,
) -> None:
    """Write a file under a temporary name, flush it to disk, and rename it.

    Args:
        path: The destination.
        fill: Writes the file at the path it is given. If it raises, the destination is unchanged.
        replace: Whether to replace an existing file.
        remedy: Remedy in the error for a file that was created during the write; see `BrazeError`.
        part: Temporary path, if two processes may write to the same destination; by default `path` + ".part".

    Raises:
        ExportError: A file was created at the destination during the write.
        OSError: The file system failed.
    """
    part = part or sibling(path, ".part")
    try:
        fill(part)
        file = open_regular(part, os.O_RDWR)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        if not replace and os.path.lexists(path):
            raise ExportError(
                f"{escape_control(str(path))} was created by another program during the export",
                remedy=remedy,
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if sys.platform != "win32":  # Windows cannot open a directory
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # else a power failure could undo the rename
        finally:
            os.close(directory)
