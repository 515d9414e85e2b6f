"""The ZIP of a users export: files of one JSON user a line. All that takes time here is for a thread."""

from __future__ import annotations

import codecs
import errno
import io
import os
import zipfile
import zlib
from collections import deque
from pathlib import Path
from secrets import token_hex
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from .codec import parse_json
from .errors import ConfigError, ExportError, ReplyError
from .files import beside, create, file_errors, put
from .text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from .threads import Stop

__all__ = ["batches", "read_users", "save_path", "write_users"]

T = TypeVar("T")

_BUFFER = 2**18  # bytes
_BATCH = 2**20  # bytes of lines that one trip to a thread is worth
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the others cannot be unpacked in bounded memory
_END, _END_SIZE = b"PK\5\6", 22  # of the directory; a comment may follow
_LONGEST_COMMENT = _MANY = 2**16 - 1
# What zipfile raises for a file that is cut, changed or encrypted.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


def read_users(file: IO[bytes], longest: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each user, as the JSON there is of it and as what that says; never more than one line in memory.

    Args:
        file: the whole ZIP.
        longest: bytes that a line may have.

    Raises:
        ReplyError: the file is not a whole ZIP, one of its files is not what its checksum says, or a line is
            no user. Where, but nothing of a user, is in the message.
    """
    where = ""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_count(file, len(archive.infolist()))
            for member in archive.infolist():
                where = f" ({plain(member.filename)})"
                if member.compress_type not in _PACKINGS:
                    raise NotImplementedError("packed in a way that is not Braze's")
                with archive.open(member) as packed:
                    lines = io.BufferedReader(cast("io.RawIOBase", packed), _BUFFER)
                    yield from _read_lines(lines, longest, member.filename)
            return
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is a place before the start
            raise
        problem = f"the ZIP is damaged{where}: {plain(str(error))}"
    raise ReplyError(problem)


def _check_count(file: IO[bytes], found: int) -> None:
    """Refuse a directory that has lost entries, which zipfile does not look for."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_COMMENT - _END_SIZE))
    told = int.from_bytes(file.read().rpartition(_END)[2][6:8], "little")
    if told not in {found, _MANY}:  # with more, it is told elsewhere
        raise zipfile.BadZipFile(f"{found:,} of {told:,} files are found")


def _read_lines(
    lines: io.BufferedReader[Any], longest: int, name: str
) -> Iterator[tuple[bytes, dict[str, Any]]]:
    number = 0
    while line := lines.readline(longest + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > longest:
            problem = f"longer than limits.body ({longest:,} bytes)"
        elif not (line := line.removeprefix(codecs.BOM_UTF8).strip()):
            continue
        else:
            problem, user = _parse(line)
        if problem:
            raise ReplyError(f"a user that cannot be read: {problem}", path=f"{plain(name)}, line {number}")
        yield line, user


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
    shown = plain(str(target))
    if target.suffix.lower() not in {".zip", ".ndjson", ".jsonl"}:
        raise ConfigError(f"{shown}: the name must end in .ndjson or .jsonl for users one a line, or in .zip")
    with file_errors(target):
        if target.is_dir():
            raise ExportError(f"{shown} is a directory; name a file in it")
        if os.path.lexists(target) and not overwrite:
            raise ConfigError(f"{shown} exists; name a new file, or overwrite=True replaces it")
        if not target.parent.is_dir():
            raise ExportError(f"cannot write {shown}: its directory is not there; make that first")
        if not os.access(target.parent, os.W_OK):
            raise ExportError(f"cannot write {shown}: its directory may not be written to")
    return target


def write_users(file: IO[bytes], target: Path, longest: int, stop: Stop, *, replace: bool) -> int:
    """Check the ZIP to its last byte, and put it or, by the suffix, its users in place.

    Args:
        file: the whole ZIP.
        target: see `save_path`.
        longest: bytes that a user may have.
        stop: heard between two users.
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
        with create(part) as out:
            for line, _ in stop.heard_between(read_users(file, longest)):
                count += 1
                if not zipped:
                    out.write(line + b"\n")
            if zipped:
                file.seek(0)
                for chunk in stop.heard_between(iter(lambda: file.read(_BATCH), b"")):
                    out.write(chunk)
        if not replace and os.path.lexists(target):
            raise ExportError(f"{plain(str(target))} has appeared meanwhile; overwrite=True replaces it")

    # A name of its own: another process that saves to the same path must not get hold of half a file.
    put(target, fill, replace=replace, part=beside(target, f".{token_hex(4)}.part"))
    return count
