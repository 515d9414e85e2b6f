"""A strict ZIP reader: every byte of the file belongs to exactly one record, or the file is refused.

The standard library's `zipfile` is not used, because it is lenient where this must be strict. It skips bytes
before and between the members, accepts an end record inside a comment, does not compare the number of
members with the directory, holds the whole directory in memory, and quotes bytes of the file in its messages.

The error messages are fixed texts. They contain no byte of the file, since that may be a user's data.
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

__all__ = ["MOST_MEMBERS", "Member", "read_directory", "read_member"]

MOST_MEMBERS = 100_000  # Braze puts about 5,000 users into each: 500 million users

_CHUNK = 2**18  # bytes, both packed and unpacked
_LONGEST_COMMENT = 2**16 - 1
# A field of the end record or of an entry with this value is found in a zip64 record.
_ELSEWHERE_16, _ELSEWHERE_32 = 2**16 - 1, 2**32 - 1

# The records of a ZIP, as APPNOTE.TXT of PKWARE numbers them; `x` skips fields that do not matter here.
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
    """One file in a ZIP, as the directory describes it.

    Attributes:
        start: offset of its local header.
        end: offset of the record after it.
        flags: general purpose bits.
        method: of compression.
        crc: CRC-32 of the unpacked bytes.
        packed_size: bytes in the ZIP.
        size: bytes once unpacked.
    """

    start: int
    end: int
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int


class _EndRecord(NamedTuple):
    """Where the directory is, with the fields in their order in an end record."""

    disk: int
    first_disk: int
    members_here: int
    members: int
    length: int
    start: int
    end: int


def read_directory(file: IO[bytes], stop: CancelToken) -> list[Member]:
    """Return the members in the order of their bytes in the file.

    Raises:
        ReplyError: The file is not a ZIP, has more than `MOST_MEMBERS` members, or its records contradict
            each other.
    """
    directory = _find_directory(file)
    if directory.members > MOST_MEMBERS:
        raise ReplyError(
            f"the ZIP has more than {MOST_MEMBERS:,} files, which is the most that is read; Braze writes "
            "about 5,000 users into each, so this is not a file of Braze: export the users again"
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
    """Yield the unpacked bytes of a member in chunks. The last ones are followed by a check of the checksum.

    Raises:
        ReplyError: The member is encrypted, packed in an unsupported way, or not what the directory says.
    """
    start = _check_header(file, member)
    file.seek(start)
    chunks = _read_packed(file, member.packed_size)
    if member.method == _DEFLATED:
        chunks = _unpack(chunks)
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
        raise _damaged("a record is cut off")
    return data


def _find_directory(file: IO[bytes]) -> _EndRecord:
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_start)
    tail = _read(file, size - tail_start)
    found = []
    for match in re.finditer(_END_SIGNATURE, tail):
        record = tail[match.start() : match.start() + _END.size]
        # A comment follows the end record, up to the end of the file.
        if len(record) == _END.size and match.start() + _END.size + _END.unpack(record)[-1] == len(tail):
            found.append((tail_start + match.start(), _END.unpack(record)))
    if not found:
        raise _damaged("there is no end record, so this is not a ZIP, or not a whole one")
    if len(found) > 1:
        raise _damaged("there are two end records, one of them inside the comment of the other")
    end, (_, disk, first_disk, members_here, members, length, start, _) = found[0]
    declared = (disk, first_disk, members_here, members, length, start)
    actual = _read_zip64(file, end) or _EndRecord(*declared, end)
    for value, exact, elsewhere in zip(
        declared, actual, (_ELSEWHERE_16,) * 4 + (_ELSEWHERE_32,) * 2, strict=False
    ):
        if value not in {exact, elsewhere}:
            raise _damaged("the two end records contradict each other")
    if actual.disk or actual.first_disk or actual.members_here != actual.members:
        raise _damaged("it is one part of several")
    if actual.start + actual.length != actual.end:
        raise _damaged("the directory is not where the end record says")
    return actual


def _read_zip64(file: IO[bytes], end: int) -> _EndRecord | None:
    """Return what the zip64 end record says, if there is one before the end record."""
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
    # The size leaves out the signature and itself.
    if signature != _END64_SIGNATURE or start + 12 + rest != end - _LOCATOR.size:
        raise _damaged("the zip64 end record is not where it should be")
    return _EndRecord._make((*fields, start))


def _read_entry(file: IO[bytes]) -> Member:
    """Read one entry of the directory; its `end` is not known yet."""
    signature, flags, method, crc, packed_size, size, *lengths, disk, start = _ENTRY.unpack(
        _read(file, _ENTRY.size)
    )
    if signature != _ENTRY_SIGNATURE:
        raise _damaged("an entry of the directory has another signature")
    name, extra, comment = lengths
    variable = _read(file, name + extra + comment)
    size, packed_size, start = _take_zip64(variable[name : name + extra], size, packed_size, start)
    if disk not in {0, _ELSEWHERE_16}:
        raise _damaged("it is one part of several")
    return Member(start, 0, flags, method, crc, packed_size, size)


def _take_zip64(extra: bytes, *fields: int) -> list[int]:
    """Replace the fields that are too large for an entry by those in its zip64 extra field."""
    values = list(fields)
    wanted = [place for place, value in enumerate(values) if value == _ELSEWHERE_32]
    while wanted and len(extra) >= 4:
        kind, length = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        if kind == _ZIP64_EXTRA and len(wanted) * 8 <= length <= len(extra) - 4:
            for number, place in enumerate(wanted):
                values[place] = int.from_bytes(extra[4 + number * 8 :][:8], "little")
            break
        extra = extra[4 + length :]
    return values


def _check_header(file: IO[bytes], member: Member) -> int:
    """Compare the local header and what follows the packed bytes with the directory.

    Returns:
        The offset of the packed bytes.
    """
    file.seek(member.start)
    signature, flags, method, name, extra = _LOCAL.unpack(_read(file, _LOCAL.size))
    if signature != _LOCAL_SIGNATURE or method != member.method:
        raise _damaged("the header of a file contradicts the directory")
    if (flags | member.flags) & (_ENCRYPTED | _PATCH):
        raise _damaged("a file is encrypted, or a patch")
    if method not in {_STORED, _DEFLATED}:  # the others cannot be unpacked in bounded memory
        raise _damaged("a file is packed in a way that Braze does not use")
    start: int = member.start + _LOCAL.size + name + extra
    end = start + member.packed_size
    if end > member.end:
        raise _damaged("a file overlaps with what follows")
    descriptors = {b""}
    if (flags | member.flags) & _DESCRIPTOR_FOLLOWS:
        descriptors |= set(_descriptors(member))
    file.seek(end)
    if file.read(min(member.end - end, 32)) not in descriptors:  # the longest has 24 bytes
        raise _damaged("there are bytes that belong to no file")
    return start


def _descriptors(member: Member) -> Iterator[bytes]:
    """Yield every form of data descriptor (4.3.9): with a signature or without, short or zip64."""
    for width in (4, 8):
        if max(member.packed_size, member.size) < 1 << 8 * width:
            sizes = (member.packed_size.to_bytes(width, "little"), member.size.to_bytes(width, "little"))
            descriptor = b"".join((member.crc.to_bytes(4, "little"), *sizes))
            yield from (descriptor, _DESCRIPTOR_SIGNATURE + descriptor)


def _read_packed(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        chunk = _read(file, min(size, _CHUNK))
        size -= len(chunk)
        yield chunk


def _unpack(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a deflate stream unpacks to, at most `_CHUNK` bytes at once."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    intact = False
    try:
        for chunk in chunks:
            yield stream.decompress(chunk, _CHUNK)
            while stream.unconsumed_tail:
                yield stream.decompress(stream.unconsumed_tail, _CHUNK)
            if stream.eof:
                break
        yield stream.flush()  # of what was read, at most a few kilobytes are still inside
        intact = stream.eof and not stream.unused_data and not any(chunks)
    except zlib.error:
        pass
    # Outside the except block, so that the error of zlib is not the context of this one.
    if not intact:
        raise _damaged("the packed bytes of a file are not a whole deflate stream")
