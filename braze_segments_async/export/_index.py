"""The index of a journal in memory: the id, the place and the order of each row, in compact form."""

from __future__ import annotations

import heapq
from array import array
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from braze_segments_async.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from braze_segments_async._support import CancelToken

__all__ = ["JournalIndex"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_DATE = 2**63 - 1  # microseconds: segments without a date come last
_SORTED_AT_ONCE = 10_000  # rows: all at once would need 100 bytes for each row of the journal


class JournalIndex:
    """Rows by number, from 0. A row takes 28 bytes and its id; a Python text and a set would take 200.

    Rows of an earlier run are found by their id, in a hash table of row numbers with linear probing.
    """

    def __init__(self) -> None:
        """Begin with no rows."""
        self._ids = bytearray()  # of all rows, one after another
        self._id_ends = array("q")
        self._created = array("q")  # microseconds since 1970
        self._offsets = array("q")
        self._checksums = array("I")
        self._table = array("I", bytes(4_096))  # 1 + the number of a row; 0 if the place is free
        self._listed = bytearray()  # of each row of an earlier run, 1 if it was listed

    def __len__(self) -> int:
        return len(self._offsets)

    @property
    def not_listed(self) -> int:
        """Number of rows of the earlier run whose segments were not listed so far."""
        return self._listed.count(0)

    def add(self, segment_id: str, created_at: datetime | None, offset: int, checksum: int) -> None:
        """Append a row.

        Args:
            segment_id: Id of the segment.
            created_at: The first key of the order.
            offset: Where the row begins in the file.
            checksum: The checksum of the file before it.
        """
        self._ids += _encode(segment_id)
        self._id_ends.append(len(self._ids))
        self._created.append(_NO_DATE if created_at is None else (created_at - _EPOCH) // _MICROSECOND)
        self._offsets.append(offset)
        self._checksums.append(checksum)

    def add_earlier(self, segment_id: str, created_at: datetime | None, offset: int, checksum: int) -> None:
        """Append a row of an earlier run, before all rows of this run; see `add`.

        Raises:
            ExportError: There is a row of this segment.
        """
        place = self._place(_encode(segment_id))
        if self._table[place]:
            raise ExportError("it holds a segment twice")
        self.add(segment_id, created_at, offset, checksum)
        self._listed.append(0)
        self._table[place] = len(self)
        if 2 * len(self) >= len(self._table):
            self._table = array("I", bytes(16 * len(self._table)))  # of four bytes each: four times as many
            for row in range(len(self)):
                self._table[self._place(self._id(row))] = row + 1

    def mark_listed(self, segment_id: str) -> bool:
        """Return whether an earlier run has a row of this segment, and keep in mind that it is listed."""
        row = self._table[self._place(_encode(segment_id))] - 1
        if row < 0:
            return False
        self._listed[row] = 1
        return True

    def listed_rows(self, stop: CancelToken) -> Iterator[tuple[int, int]]:
        """Yield offset and checksum of each row, oldest created first, then by id; those without a date last.

        Rows of the earlier run that were not listed are left out.
        """
        runs = [
            array("I", sorted(range(first, min(first + _SORTED_AT_ONCE, len(self))), key=self._order))
            for first in stop.iter_until_cancelled(range(0, len(self), _SORTED_AT_ONCE))
        ]
        for row in stop.iter_until_cancelled(heapq.merge(*runs, key=self._order)):
            if row >= len(self._listed) or self._listed[row]:
                yield self._offsets[row], self._checksums[row]

    def _order(self, row: int) -> tuple[int, bytes]:
        return self._created[row], self._id(row)

    def _id(self, row: int) -> bytes:
        return bytes(self._ids[self._id_ends[row - 1] if row else 0 : self._id_ends[row]])

    def _place(self, segment_id: bytes) -> int:
        """Return the place of a row in the table, or the free place where it belongs."""
        place = hash(segment_id) % len(self._table)
        while (row := self._table[place]) and self._id(row - 1) != segment_id:
            place = (place + 1) % len(self._table)
        return place


def _encode(segment_id: str) -> bytes:
    """Return an id as bytes, which are in the same order as the texts; an id may hold a lone surrogate."""
    return segment_id.encode("utf-8", "surrogatepass")
