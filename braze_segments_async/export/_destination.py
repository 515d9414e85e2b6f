"""The destination of an export: its lock, the checks before the first request, the final write."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from shutil import rmtree
from typing import TYPE_CHECKING

from attrs import frozen

from braze_segments_async._support import (
    atomic_write,
    check_regular,
    failures_of,
    file_errors,
    open_regular,
    sibling,
)
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError, ExportError

from ._formats.ndjson import write_ndjson
from ._lock import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = [
    "Target",
    "count_failures",
    "is_finished",
    "journal_of",
    "locked_destination",
    "resolved",
]


@frozen
class Target:
    """A path that only this export may write to.

    Attributes:
        path: The file.
        replace: Whether an existing file may be replaced.
    """

    path: Path
    replace: bool

    @property
    def journal(self) -> Path:
        """Path of the journal."""
        return journal_of(self.path)

    def put(self, fill: Callable[[Path], None], failures: Iterable[bytes]) -> None:
        """Write the file and the list of its failed segments, and remove the journal.

        Args:
            fill: Writes the file.
            failures: One line of NDJSON for each failed segment; none if the file is complete.

        Raises:
            ExportError: The file could not be written; an earlier file and its list are unchanged.
        """
        missing, lines = failures_of(self.path), list(failures)

        def fill_with_list(part: Path) -> None:
            fill(part)
            # When all rows are written, and before the file appears at its path: what can fail for long, such
            # as a full disk, leaves an earlier list alone, and a partial file never exists without its list.
            if lines:
                atomic_write(missing, partial(write_ndjson, lines=lines), replace=True)

        with file_errors(self.path):
            earlier_file, earlier_list = _inode(self.path), _inode(missing)
            try:
                remedy = {"resume=True": "replaces it"}
                atomic_write(self.path, fill_with_list, replace=self.replace, remedy=remedy)
            except BaseException:
                if earlier_list is None and _inode(self.path) == earlier_file:
                    missing.unlink(missing_ok=True)  # the list of a file that did not appear
                raise
            if not lines:
                missing.unlink(missing_ok=True)  # from an earlier export
            self.journal.unlink(missing_ok=True)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


@contextmanager
def locked_destination(path: Path, *, resume: bool, overwrite: bool) -> Iterator[Target]:
    """Hold the lock of a path that can and may be written.

    Raises:
        ConfigError: There is a file or a journal that only `resume` or `overwrite` may touch.
        ExportError: There can be no such file, or another export is writing it.
    """
    shown = escape_control(str(path))
    with file_errors(path):
        if path.is_dir():
            raise ExportError(f"{shown} is a directory; name a file in it")
        if path.exists() and not path.is_file():
            raise ExportError(f"{shown} is not a regular file, and cannot be replaced by one")
    with locked(path):
        with file_errors(path):
            interrupted = check_regular(journal_of(path))
        if interrupted and not (resume or overwrite):
            raise ConfigError(
                f"an earlier export to {shown} was interrupted",
                remedy={"resume=True": "continues it", "overwrite=True": "starts afresh"},
            )
        # The interrupted run was allowed to write here, so this one may, too.
        replace = overwrite or interrupted
        if os.path.lexists(path) and not replace:
            raise ConfigError(f"{shown} exists: name a new file", remedy={"overwrite=True": "replaces it"})
        _remove_leftovers(path)
        yield Target(path, replace)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of a process that was killed; refuse links and pipes in their place."""
    with file_errors(path):
        rows = sibling(path, ".part.rows")
        if rows.is_dir() and not rows.is_symlink():  # rmtree would wait for the other end of a pipe
            rmtree(rows, ignore_errors=True)
        for suffix in (".part.rows", ".part", ".failures.ndjson.part"):
            leftover = sibling(path, suffix)
            if check_regular(leftover):
                leftover.unlink()


def resolved(path: Path) -> Path:
    """Return the path to write: of a symbolic link, the file that it leads to; the link remains."""
    return path.resolve() if path.is_symlink() and path.exists() else path


def journal_of(path: Path) -> Path:
    """Return the path of the journal of an export."""
    return sibling(path, ".journal")


def count_failures(path: Path) -> int:
    """Return the number of failed segments in the list beside an export.

    Raises:
        ExportError: The list cannot be read.
    """
    path = failures_of(resolved(path))
    with file_errors(path):
        if not os.path.lexists(path):
            return 0
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            return sum(1 for _ in file)


def is_finished(path: Path) -> bool:
    """Return whether the file exists, and no later export to it was interrupted.

    Raises:
        ExportError: The file system failed.
    """
    with file_errors(path):
        path = resolved(path)
        return path.is_file() and not os.path.lexists(journal_of(path))
