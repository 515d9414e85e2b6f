"""The ZIP of a users export: files of one JSON user a line. All that takes time here is for a thread."""

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

_BATCH = 2**20  # bytes of lines that one trip to a thread is worth


def read_users(file: IO[bytes], longest: int, stop: CancelToken) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each user as a line of JSON and as the object in it. Memory holds a chunk and one line.

    Args:
        file: The whole ZIP.
        longest: Bytes that a line may have.
        stop: Checked for each chunk, whether or not there are users in it.

    Raises:
        ReplyError: The file is not a whole ZIP, one of its members is not what its checksum says, or a line
            is not a user. The message contains the place, but nothing of a user.
    """
    for number, member in enumerate(read_directory(file, stop), 1):
        stop.check()
        place = f"file {number} of the ZIP"
        try:
            lines = _lines(read_member(file, member, stop), longest)
            yield from _read_users(lines, longest, place)
        except ReplyError as error:
            error.path = error.path or place
            raise


def _lines(chunks: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Yield each line without its end, up to and including one that is longer than it may be."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > longest:
            break
    yield rest


def _read_users(lines: Iterable[bytes], longest: int, place: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line:  # there may be millions of these
            continue
        text = line.removeprefix(codecs.BOM_UTF8).strip()
        if len(line) > longest:
            problem = f"longer than limits.body ({longest:,} bytes)"
        elif not text:
            continue
        else:
            problem, user = _parse(text)
        if problem:
            raise ReplyError(f"a user that cannot be read: {problem}", path=f"{place}, line {number}")
        yield text, user


def _parse(line: bytes) -> tuple[str, Any]:
    try:
        user = parse_json(line)
    except ReplyError as error:
        return error.reason, None
    return ("" if type(user) is dict else "not an object"), user


class _Batch(deque[T]):
    """Some of what is in the file, hidden: asyncio's log and tracebacks show the repr of a task's result."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} users>"


def batches(
    users: Iterator[tuple[bytes, dict[str, Any]]], pick: Callable[[tuple[bytes, dict[str, Any]]], T]
) -> Generator[deque[T], None, None]:
    """What is wanted of each user, as many at once as are worth a trip to a thread."""
    batch: deque[T] = _Batch()
    size = 0
    for user in users:
        batch.append(pick(user))
        size += len(user[0])
        if size >= _BATCH:
            yield batch
            batch, size = _Batch(), 0
    if batch:
        yield batch


def save_path(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Where users can be saved; known before an export is started.

    Raises:
        ConfigError: another suffix, or there is something at that path.
        ExportError: it is a directory, or in none that can be written to.
    """
    target = Path(path)
    shown = escape_control(str(target))
    if target.suffix.lower() not in {".zip", ".ndjson", ".jsonl"}:
        raise ConfigError(f"{shown}: the name must end in .ndjson or .jsonl for users one a line, or in .zip")
    with file_errors(target):
        if target.is_dir():
            raise ExportError(f"{shown} is a directory; name a file in it")
        if os.path.lexists(target) and not overwrite:
            raise ConfigError(f"{shown} exists: name a new file", remedy={"overwrite=True": "replaces it"})
        if not target.parent.is_dir():
            raise ExportError(f"cannot write {shown}: its directory is not there; make that first")
        if not os.access(target.parent, os.W_OK):
            raise ExportError(f"cannot write {shown}: its directory may not be written to")
    return target


def temporary_directory() -> Path:
    """Return where temporary files go; raise `ExportError` if there is no such place."""
    with file_errors(Path("a temporary file")):
        return Path(tempfile.gettempdir())


def check_room(directory: Path, needed: int) -> None:
    """Raise `ExportError` if the disk has less free space than the rest of the file needs."""
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise ExportError(
            f"the rest of the users file has {needed:,} bytes, but {escape_control(str(directory))} has only "
            f"{free:,} bytes of free disk space; free some space, or use another directory (save() uses that "
            "of its path, users() and lines() use TMPDIR)"
        )


def write_users(file: IO[bytes], target: Path, longest: int, stop: CancelToken, *, replace: bool) -> int:
    """Check the ZIP to its last byte, and put it or, by the suffix, its users in place.

    Args:
        file: the whole ZIP.
        target: see `save_path`.
        longest: bytes that a user may have.
        stop: Checked for each chunk that is read.
        replace: whether something that is there may go.

    Returns:
        How many users are in it.

    Raises:
        ReplyError: see `read_users`.
        ExportError: something has appeared at the path.
        OSError: the file system could not.
    """
    zipped = target.suffix.lower() == ".zip"
    count = 0

    def fill(part: Path) -> None:
        nonlocal count
        with create_private(part) as out:
            for line, _ in read_users(file, longest, stop):
                count += 1
                if not zipped:
                    out.write(line + b"\n")
            if zipped:
                file.seek(0)
                for chunk in stop.iter_until_cancelled(iter(lambda: file.read(_BATCH), b"")):
                    out.write(chunk)
        if not replace and os.path.lexists(target):
            raise ExportError(
                f"{escape_control(str(target))} has appeared meanwhile",
                remedy={"overwrite=True": "replaces it"},
            )

    # A name of its own: another process that saves to the same path must not get hold of half a file.
    atomic_write(target, fill, replace=replace, part=sibling(target, f".{token_hex(4)}.part"))
    return count
