"""A strict ZIP reader: it raises an error unless every byte of the file belongs to exactly one record.

The standard library's `zipfile` is not used, because it is too lenient. It skips bytes
before and between the members, accepts an end record inside a comment, does not compare the number of
members with the directory, holds the whole directory in memory, and quotes bytes of the file in its messages.

The error messages are fixed texts without any byte of the file, which can contain the data of a user.
"""

from __future__ import annotations

import os
import re
import zlib
from struct import Struct
from typing import IO, TYPE_CHECKING, NamedTuple

from braze_segments_async.errors import ReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from braze_segments_async._support import CancelToken

__all__ = ["MAX_MEMBERS", "Member", "read_directory", "read_member"]

MAX_MEMBERS = 100_000  # enough for 500 million users: Braze puts about 5,000 into each

_CHUNK = 2**18  # bytes, both compressed and decompressed
_MAX_COMMENT = 2**16 - 1
# A field of the end record or of an entry with this value is in a zip64 record instead.
_ZIP64_MARKER_16, _ZIP64_MARKER_32 = 2**16 - 1, 2**32 - 1

# The records of a ZIP, with their sections in PKWARE's APPNOTE.TXT; `x` skips fields that are not needed.
_LOCAL = Struct("<4s2xHH16xHH")  # 4.3.7: signature, flags, method, lengths of name and extra
_ENTRY = Struct("<4s4xHH4xLLLHHHH6xL")  # 4.3.12: … crc, packed size, size, lengths, disk, start
_END = Struct("<4sHHHHLLH")  # 4.3.16: …, members here, members, directory's size and start, comment length
_LOCATOR = Struct("<4sLQL")  # 4.3.15: signature, disk, start of the zip64 end record, disks
_END64 = Struct("<4sQ4xLLQQQQ")  # 4.3.14: signature, size of the rest, disks, members, size and start
_LOCAL_SIGNATURE, _ENTRY_SIGNATURE, _DESCRIPTOR_SIGNATURE = b"PK\3\4", b"PK\1\2", b"PK\7\x08"
_END_SIGNATURE, _LOCATOR_SIGNATURE, _END64_SIGNATURE = b"PK\5\6", b"PK\6\7", b"PK\6\6"
_ZIP64_EXTRA = 1

_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_PATCH = 1 << 5
_DESCRIPTOR_FOLLOWS = 1 << 3


class Member(NamedTuple):
    """One file in a ZIP, from its entry in the directory.

    Attributes:
        start: Offset of its local header.
        end: Offset of the record after it.
        flags: General purpose bits.
        method: Compression method.
        crc: CRC-32 of the decompressed bytes.
        packed_size: Number of compressed bytes.
        size: Number of decompressed bytes.
    """

    start: int
    end: int
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int


class _EndRecord(NamedTuple):
    """The place of the directory: the fields of an end record in their order, and the offset of its end."""

    disk: int
    first_disk: int
    members_here: int
    members: int
    length: int
    start: int
    end: int


def read_directory(file: IO[bytes], stop: CancelToken) -> list[Member]:
    """Return the members in the order of their offsets.

    Raises:
        ReplyError: The file is not a ZIP, has more than `MAX_MEMBERS` members, or its records contradict
            each other.
    """
    directory = _find_directory(file)
    if directory.members > MAX_MEMBERS:
        raise ReplyError(
            f"the ZIP has more than {MAX_MEMBERS:,} files, which is the maximum; Braze writes about 5,000 "
            "users into each, so this is not a file of Braze: export the users again"
        )
    members = []
    file.seek(directory.start)
    for _ in range(directory.members):
        stop.check()
        members.append(_read_entry(file))
    if file.tell() != directory.end:
        raise _damaged("the directory does not have as many entries as the end record says")
    members.sort()
    following = directory.start
    for place in reversed(range(len(members))):
        members[place] = members[place]._replace(end=following)
        following = members[place].start
    if following != 0:
        raise _damaged("there are bytes before the first file")
    return members


def read_member(file: IO[bytes], member: Member, stop: CancelToken) -> Iterator[bytes]:
    """Yield the decompressed bytes of a member in chunks, and check the checksum after the last one.

    Raises:
        ReplyError: The member is encrypted, has an unsupported compression method, or contradicts the
            directory.
    """
    start = _check_header(file, member)
    file.seek(start)
    chunks = _read_compressed(file, member.packed_size)
    if member.method == _DEFLATED:
        chunks = _decompress(chunks)
    size = crc = 0
    for chunk in chunks:
        stop.check()
        size += len(chunk)
        crc = zlib.crc32(chunk, crc)
        if size > member.size:
            break
        yield chunk
    if (size, crc) != (member.size, member.crc):
        raise _damaged("the size or checksum of a file is wrong")


def _damaged(problem: str) -> ReplyError:
    return ReplyError(f"the ZIP is damaged: {problem}; export the users again")


def _read(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _damaged("a record is incomplete")
    return data


def _find_directory(file: IO[bytes]) -> _EndRecord:
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _MAX_COMMENT)
    file.seek(tail_start)
    tail = _read(file, size - tail_start)
    found = []
    for match in re.finditer(_END_SIGNATURE, tail):
        record = tail[match.start() : match.start() + _END.size]
        # A comment follows the end record, up to the end of the file.
        if len(record) == _END.size and match.start() + _END.size + _END.unpack(record)[-1] == len(tail):
            found.append((tail_start + match.start(), _END.unpack(record)))
    if not found:
        raise _damaged("there is no end record, so this is not a ZIP, or not a complete one")
    if len(found) > 1:
        raise _damaged("there are two end records, one of them inside the comment of the other")
    end, (_, disk, first_disk, members_here, members, length, start, _) = found[0]
    declared = (disk, first_disk, members_here, members, length, start)
    actual = _read_zip64(file, end) or _EndRecord(*declared, end)
    for value, exact, marker in zip(
        declared, actual, (_ZIP64_MARKER_16,) * 4 + (_ZIP64_MARKER_32,) * 2, strict=False
    ):
        if value not in {exact, marker}:
            raise _damaged("the two end records contradict each other")
    if actual.disk or actual.first_disk or actual.members_here != actual.members:
        raise _damaged("it is one part of several")
    if actual.start + actual.length != actual.end:
        raise _damaged("the directory is not where the end record says")
    return actual


def _read_zip64(file: IO[bytes], end: int) -> _EndRecord | None:
    """Return the zip64 end record, if there is one before the end record."""
    if end < _LOCATOR.size:
        return None
    file.seek(end - _LOCATOR.size)
    signature, disk, start, disks = _LOCATOR.unpack(_read(file, _LOCATOR.size))
    if signature != _LOCATOR_SIGNATURE:
        return None
    if disk != 0 or disks > 1 or start + _END64.size > end - _LOCATOR.size:
        raise _damaged("the zip64 end record is not where it should be")
    file.seek(start)
    signature, rest, *fields = _END64.unpack(_read(file, _END64.size))
    # `rest` does not count the 12 bytes of the signature and of itself.
    if signature != _END64_SIGNATURE or start + 12 + rest != end - _LOCATOR.size:
        raise _damaged("the zip64 end record is not where it should be")
    return _EndRecord._make((*fields, start))


def _read_entry(file: IO[bytes]) -> Member:
    """Read one entry of the directory; `read_directory` sets its `end`."""
    signature, flags, method, crc, packed_size, size, *lengths, disk, start = _ENTRY.unpack(
        _read(file, _ENTRY.size)
    )
    if signature != _ENTRY_SIGNATURE:
        raise _damaged("an entry of the directory has another signature")
    name, extra, comment = lengths
    variable = _read(file, name + extra + comment)
    size, packed_size, start = _take_zip64(variable[name : name + extra], size, packed_size, start)
    if disk not in {0, _ZIP64_MARKER_16}:
        raise _damaged("it is one part of several")
    return Member(start, 0, flags, method, crc, packed_size, size)


def _take_zip64(extra: bytes, *fields: int) -> list[int]:
    """Replace the fields that are too large for an entry with those in its zip64 extra field."""
    values = list(fields)
    missing = [place for place, value in enumerate(values) if value == _ZIP64_MARKER_32]
    while missing and len(extra) >= 4:
        kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == _ZIP64_EXTRA and len(missing) * 8 <= length <= len(extra) - 4:
            for number, place in enumerate(missing):
                values[place] = int.from_bytes(extra[4 + number * 8 :][:8], "little")
            break
        extra = extra[4 + length :]
    return values


def _check_header(file: IO[bytes], member: Member) -> int:
    """Check the local header and the bytes after the compressed ones against the directory.

    Returns:
        Offset of the compressed bytes.
    """
    file.seek(member.start)
    signature, flags, method, name, extra = _LOCAL.unpack(_read(file, _LOCAL.size))
    if signature != _LOCAL_SIGNATURE or method != member.method:
        raise _damaged("the header of a file contradicts the directory")
    if (flags | member.flags) & (_ENCRYPTED | _PATCH):
        raise _damaged("a file is encrypted, or a patch")
    if method not in {_STORED, _DEFLATED}:  # no other method can be decompressed in bounded memory
        raise _damaged("a file has a compression method that Braze does not use")
    start: int = member.start + _LOCAL.size + name + extra
    end = start + member.packed_size
    if end > member.end:
        raise _damaged("a file overlaps with the next record")
    descriptors = {b""}
    if (flags | member.flags) & _DESCRIPTOR_FOLLOWS:
        descriptors |= set(_descriptors(member))
    file.seek(end)
    if file.read(min(member.end - end, 32)) not in descriptors:  # a descriptor has up to 24 bytes
        raise _damaged("there are bytes that belong to no file")
    return start


def _descriptors(member: Member) -> Iterator[bytes]:
    """Yield all forms of the data descriptor (4.3.9): with or without signature, short or zip64."""
    for width in (4, 8):
        if max(member.packed_size, member.size) < 1 << 8 * width:
            sizes = (member.packed_size.to_bytes(width, "little"), member.size.to_bytes(width, "little"))
            descriptor = b"".join((member.crc.to_bytes(4, "little"), *sizes))
            yield from (descriptor, _DESCRIPTOR_SIGNATURE + descriptor)


def _read_compressed(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = _read(file, min(size, _CHUNK))
        size -= len(chunk)
        yield chunk


def _decompress(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the decompressed bytes of a deflate stream, at most `_CHUNK` at a time."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    intact = False
    try:
        for chunk in chunks:
            yield stream.decompress(chunk, _CHUNK)
            while stream.unconsumed_tail:
                yield stream.decompress(stream.unconsumed_tail, _CHUNK)
            if stream.eof:
                break
        yield stream.flush()  # a few kilobytes at most
        intact = stream.eof and not stream.unused_data and not any(chunks)
    except zlib.error:
        pass
    # Raised outside the except block, so that it does not have the error of zlib as context.
    if not intact:
        raise _damaged("the compressed bytes of a file are not a complete deflate stream")
