"""Files that are whole or absent."""

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
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["atomic_write", "check_regular", "create_private", "file_errors", "open_regular", "sibling"]

# Others may be able to write to the directory: never follow a link, never wait for the other end of a pipe.
_NEVER_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NOT_REGULAR = {errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR}


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn what the file system raises into `ExportError`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrazeError):  # TimedOutError is both
            raise
        raise ExportError(f"cannot write {escape_control(str(path))}: {error.strerror or error}") from None


def sibling(path: Path, suffix: str) -> Path:
    """A path in the same directory, so that one rename can put a file from there in place."""
    return path.with_name(path.name + suffix)


def check_regular(path: Path) -> bool:
    """Return whether there is a file; a link or a pipe that somebody has put there is refused.

    Raises:
        ExportError: it is not a regular file.
        OSError: the file system could not.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise _not_regular(path)
    return True


def open_regular(path: Path, flags: int) -> int:
    """Open a regular file that has no second name; see `check_regular`.

    Args:
        path: the file.
        flags: of `os.open`; not `O_TRUNC`, which would act before the file is known to be a regular one.

    Raises:
        ExportError: it is not such a file; nothing was read or changed.
        OSError: the file system could not.
    """
    try:
        file = os.open(path, flags | _NEVER_FOLLOW, 0o666)
    except OSError as error:
        if error.errno in _NOT_REGULAR:
            raise _not_regular(path) from None
        raise
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:  # 0: it was removed just now
        return file
    os.close(file)
    raise _not_regular(path)


def _not_regular(path: Path) -> ExportError:
    return ExportError(
        f"{escape_control(str(path))} is a link or not a regular file, and was not touched: "
        "find out who put it there, and remove it"
    )


def create_private(path: Path, mode: int = 0o600, *, buffering: int = -1) -> IO[bytes]:
    """Make a file, in place of one that a process that died has left there.

    Args:
        path: the file.
        mode: its permissions, less the umask; by default nobody else can read it.
        buffering: as of `open`.

    Raises:
        ExportError: something else is there; see `check_regular`.
        OSError: the file system could not.
    """
    if check_regular(path):
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NEVER_FOLLOW
    return os.fdopen(os.open(path, flags, mode), "wb", buffering)


def atomic_write(
    path: Path, fill: Callable[[Path], None], *, replace: bool, part: Path | None = None
) -> None:
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
                f"{escape_control(str(path))} was created by somebody else during the export",
                remedy={"resume=True": "replaces it"},
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
