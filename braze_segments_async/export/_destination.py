"""The place of the export: what can be known about it before the first request."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from shutil import rmtree
from typing import TYPE_CHECKING

from attrs import frozen

from braze_segments_async._support import atomic_write, check_regular, file_errors, open_regular, sibling
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
    "failures_of",
    "is_finished",
    "journal_of",
    "locked_destination",
    "resolved",
]


@frozen
class Target:
    """A path that this export alone may write to.

    Attributes:
        path: where the file goes.
        replace: whether something that is there may go.
    """

    path: Path
    replace: bool

    @property
    def journal(self) -> Path:
        """Where finished segments are kept until the file is written."""
        return journal_of(self.path)

    def put(self, fill: Callable[[Path], None], failures: Iterable[bytes]) -> None:
        """Put the file in place, what is missing in it beside it, and remove the journal.

        Args:
            fill: writes the file.
            failures: lines of NDJSON about what is missing; none if it is complete.

        Raises:
            ExportError: it could not be written; everything is as it was.
        """
        missing, lines = failures_of(self.path), list(failures)
        with file_errors(self.path):
            if lines:  # first: a partial file is never there without it
                atomic_write(missing, partial(write_ndjson, lines=lines), replace=True)
            try:
                atomic_write(self.path, fill, replace=self.replace)
            except BaseException:
                if lines:
                    missing.unlink(missing_ok=True)
                raise
            if not lines:
                missing.unlink(missing_ok=True)  # of an earlier export
            self.journal.unlink(missing_ok=True)


@contextmanager
def locked_destination(path: Path, *, resume: bool, overwrite: bool) -> Iterator[Target]:
    """Keep other exports off a path, and refuse one that cannot or must not be written.

    Raises:
        ConfigError: something is there that only `resume` or `overwrite` may touch.
        ExportError: there can be no such file, or another export is writing it.
    """
    shown = escape_control(str(path))
    with file_errors(path):
        if path.is_dir():
            raise ExportError(f"{shown} is a directory; name a file in it")
        if path.exists() and not path.is_file():
            raise ExportError(f"{shown} is not a plain file, and cannot be replaced by one")
    with locked(path):
        with file_errors(path):
            begun = check_regular(journal_of(path))
        if begun and not (resume or overwrite):
            raise ConfigError(
                f"an earlier export to {shown} was interrupted",
                remedy={"resume=True": "continues it", "overwrite=True": "starts afresh"},
            )
        # A journal was begun with leave to write here: what has appeared is what that run finished.
        replace = overwrite or begun
        if os.path.lexists(path) and not replace:
            raise ConfigError(f"{shown} exists: name a new file", remedy={"overwrite=True": "replaces it"})
        _tidy(path)
        yield Target(path, replace)


def _tidy(path: Path) -> None:
    """Remove what a process that was killed has left, except the journal; refuse what is not a file."""
    with file_errors(path):
        rows = sibling(path, ".part.rows")
        if rows.is_dir() and not rows.is_symlink():  # rmtree would wait for the other end of a pipe
            rmtree(rows, ignore_errors=True)
        for suffix in (".part.rows", ".part", ".failures.ndjson.part"):
            leftover = sibling(path, suffix)
            if check_regular(leftover):
                leftover.unlink()


def resolved(path: Path) -> Path:
    """Return the path to write for a target: a link stays, and the file that it leads to is written."""
    return path.resolve() if path.is_symlink() and path.exists() else path


def journal_of(path: Path) -> Path:
    """Return where finished segments are kept until the file is written."""
    return sibling(path, ".journal")


def count_failures(path: Path) -> int:
    """Return how many segments the file beside an export says are missing in it.

    Raises:
        ExportError: the file system could not tell.
    """
    path = failures_of(resolved(path))
    with file_errors(path):
        if not os.path.lexists(path):
            return 0
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            return sum(1 for _ in file)


def failures_of(path: Path) -> Path:
    """Return where the segments are listed that are missing in an export."""
    return sibling(path, ".failures.ndjson")


def is_finished(path: Path) -> bool:
    """Return whether the file is there, and no later export to it was interrupted.

    Raises:
        ExportError: the file system could not tell.
    """
    with file_errors(path):
        path = resolved(path)
        return path.is_file() and not os.path.lexists(journal_of(path))
