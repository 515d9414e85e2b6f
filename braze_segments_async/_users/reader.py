"""Read the ZIP of a users export: files with one user per line, as JSON. Blocking; call it in a thread."""

from __future__ import annotations

import codecs
import os
import shutil
import tempfile
from collections import deque
from pathlib import Path
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any, TypeVar

from braze_segments_async._http import parse_json
from braze_segments_async._support import atomic_write, create_private, file_errors, sibling
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError, ExportError, ReplyError

from .zip_file import read_directory, read_member

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from braze_segments_async._support import CancelToken

__all__ = ["batches", "check_room", "read_users", "save_path", "temporary_directory", "write_users"]

T = TypeVar("T")

_BATCH_SIZE = 2**20  # bytes of lines per call in a thread


def read_users(file: IO[bytes], max_line: int, stop: CancelToken) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each user. Memory holds one chunk and one line.

    Args:
        file: The complete ZIP.
        max_line: Maximum bytes of a line.
        stop: Checked for each chunk, whether or not it contains users.

    Yields:
        The line, without its end, and the object in it.

    Raises:
        ReplyError: The ZIP is incomplete, a checksum is wrong, or a line is not a user. The message contains
            the place, but no data of a user.
    """
    for number, member in enumerate(read_directory(file, stop), 1):
        stop.check()
        place = f"file {number} of the ZIP"
        try:
            lines = _lines(read_member(file, member, stop), max_line)
            yield from _read_users(lines, max_line, place)
        except ReplyError as error:
            error.path = error.path or place
            raise


def _lines(chunks: Iterable[bytes], max_line: int) -> Iterator[bytes]:
    """Yield each line without its end, up to and including the first one that is too long."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > max_line:
            break
    yield rest


def _read_users(lines: Iterable[bytes], max_line: int, place: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line:  # a fast path: there can be millions of empty lines
            continue
        text = line.removeprefix(codecs.BOM_UTF8).strip()
        if len(line) > max_line:
            problem = f"longer than limits.body ({max_line:,} bytes)"
        elif not text:
            continue
        else:
            problem, user = _parse(text)
        if problem:
            raise ReplyError(f"invalid user: {problem}", path=f"{place}, line {number}")
        yield text, user


def _parse(line: bytes) -> tuple[str, Any]:
    try:
        user = parse_json(line)
    except ReplyError as error:
        return error.reason, None
    return ("" if type(user) is dict else "not an object"), user


class _Batch(deque[T]):
    """Users, with a repr that hides them: asyncio's log and tracebacks show the repr of a task's result."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} users>"


def batches(
    users: Iterator[tuple[bytes, dict[str, Any]]], pick: Callable[[tuple[bytes, dict[str, Any]]], T]
) -> Generator[deque[T], None, None]:
    """Yield the results of `pick` in batches, so that each call in a thread reads many users."""
    batch: deque[T] = _Batch()
    size = 0
    for user in users:
        batch.append(pick(user))
        size += len(user[0])
        if size >= _BATCH_SIZE:
            yield batch
            batch, size = _Batch(), 0
    if batch:
        yield batch


def save_path(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Return the path to save users at, after checks that need no export.

    Raises:
        ConfigError: The suffix is not supported, or the file exists and `overwrite` is false.
        ExportError: The path is a directory, or its directory does not exist or is not writable.
    """
    target = Path(path)
    shown = escape_control(str(target))
    if target.suffix.lower() not in {".zip", ".ndjson", ".jsonl"}:
        raise ConfigError(f"{shown}: the name must end in .ndjson or .jsonl (one user per line) or in .zip")
    with file_errors(target):
        if target.is_dir():
            raise ExportError(f"{shown} is a directory; name a file in it")
        if os.path.lexists(target) and not overwrite:
            raise ConfigError(f"{shown} exists: name a new file", remedy={"overwrite=True": "replaces it"})
        if not target.parent.is_dir():
            raise ExportError(f"cannot write {shown}: its directory does not exist; create it first")
        if not os.access(target.parent, os.W_OK):
            raise ExportError(f"cannot write {shown}: its directory is not writable")
    return target


def temporary_directory() -> Path:
    """Return the directory of temporary files; raise `ExportError` if there is none."""
    with file_errors(Path("a temporary file")):
        return Path(tempfile.gettempdir())


def check_room(directory: Path, needed: int) -> None:
    """Raise `ExportError` if the disk has less free space than the rest of the file needs."""
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise ExportError(
            f"the rest of the users file has {needed:,} bytes, but {escape_control(str(directory))} has only "
            f"{free:,} bytes of free disk space; free some space, or use another directory (save() uses the "
            "directory of its path, users() and lines() use TMPDIR)"
        )


def write_users(file: IO[bytes], target: Path, max_line: int, stop: CancelToken, *, replace: bool) -> int:
    """Check the complete ZIP, then save it or, depending on the suffix, its users.

    Args:
        file: The complete ZIP.
        target: A path from `save_path`.
        max_line: Maximum bytes of a user.
        stop: Checked for each chunk.
        replace: Whether to replace an existing file.

    Returns:
        Number of users.

    Raises:
        ReplyError: The ZIP is invalid; see `read_users`.
        ExportError: A file was created at the path during the export.
        OSError: The file system failed.
    """
    zipped = target.suffix.lower() == ".zip"
    count = 0

    def fill(part: Path) -> None:
        nonlocal count
        with create_private(part) as out:
            for line, _ in read_users(file, max_line, stop):
                count += 1
                if not zipped:
                    out.write(line + b"\n")
            if zipped:
                file.seek(0)
                for chunk in stop.iter_until_cancelled(iter(lambda: file.read(_BATCH_SIZE), b"")):
                    out.write(chunk)

    # A random temporary name: another process can save to the same path at the same time.
    part = sibling(target, f".{token_hex(4)}.part")
    atomic_write(target, fill, replace=replace, remedy={"overwrite=True": "replaces it"}, part=part)
    return count
