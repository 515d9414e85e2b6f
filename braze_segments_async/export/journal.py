"""The journal: finished segments on disk, in order of arrival; in memory only where each is."""

from __future__ import annotations

import json
import os
from array import array
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from braze_segments_async.errors import ExportError
from braze_segments_async.text import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from braze_segments_async.threads import Stop

__all__ = ["Header", "Journal"]

_VERSION = 1
_LONGEST_HEADER = 4_096  # bytes: a foreign file need not have lines
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 2**63 - 1  # stands for "no date": such segments come last


@frozen(kw_only=True)
class Header:
    """What the rows of a journal depend on; another export's rows must not get between them. No secret.

    Attributes:
        workspace: the host asked. Not the key: keys are replaced.
        format: of the file.
        csv_safe: of the file.
        sizes: days of history each row has.
        sizes_until: the moment all histories end; the resumed run asks for the same.
        journal: version of the journal's own format.
    """

    workspace: str
    format: str
    csv_safe: bool
    sizes: int | None
    sizes_until: datetime = field(eq=False)
    journal: int = _VERSION

    def line(self) -> bytes:
        """The first line of the journal."""
        return (json.dumps(asdict(self) | {"sizes_until": self.sizes_until.isoformat()}) + "\n").encode()

    def agree(self, line: bytes) -> datetime:
        """Compare with the first line of a journal; its `sizes_until`.

        Raises:
            ExportError: it is not a journal, or one of another export; says what differs.
        """
        try:
            other = json.loads(line)
            until = datetime.fromisoformat(other["sizes_until"])
            mine = asdict(self)
            differences = [
                f"{name} was {plain(str(other[name]))}, is now {mine[name]}"
                for name in mine
                if name != "sizes_until" and other[name] != mine[name]
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ExportError("its first line is not that of a journal") from None
        if differences:
            raise ExportError(f"it belongs to another export: {'; '.join(differences)}")
        return until


class Journal:
    """Rows as lines of NDJSON, below a header; each reaches the system as a whole, the moment it is added.

    So a process that dies loses no row it had finished, except the end of one it was writing. What the disk
    has of it when the power fails is up to `sync`.

    Attributes:
        path: the file.
        ids: the segments in it, in order of arrival.
        sizes_until: from the header.
    """

    def __init__(self, path: Path, header: Header) -> None:
        """See the class.

        Args:
            path: where it is or will be; nothing is opened yet.
            header: of this export.
        """
        self.path = path
        self.ids: list[str] = []
        self.sizes_until = header.sizes_until
        self._header = header
        self._created = array("q")  # microseconds since 1970
        self._offsets = array("q")
        self._end = 0
        self._file: IO[bytes] | None = None

    def open(self, stop: Stop, *, resume: bool) -> None:
        """Start afresh, or read what is there and go on after the last whole row.

        Raises:
            ExportError: what is there is not a journal of this export.
            OSError: the file system could not.
        """
        if resume and self.path.exists() and self.path.stat().st_size:
            self._read(stop)
            os.truncate(self.path, self._end)
            self._file = self.path.open("ab", buffering=0)
            return
        self._file = self.path.open("wb", buffering=0)
        header = self._header.line()
        self._write(header)
        self._end = len(header)

    def _read(self, stop: Stop) -> None:
        with self.path.open("rb") as file:
            first = file.readline(_LONGEST_HEADER)
            self._end = len(first)
            known: set[str] = set()
            try:
                self.sizes_until = self._header.agree(first)
                for line in stop.heard_between(file):
                    if not line.endswith(b"\n"):
                        break  # the process died while it wrote it
                    segment_id, created_at = _parse(line)
                    if segment_id in known:
                        raise ExportError("a segment is in it twice")  # noqa: TRY301 - one place says what to do
                    known.add(segment_id)
                    self._index(segment_id, created_at, len(line))
            except ExportError as error:
                problem = f"cannot resume from {plain(str(self.path))}: {error}"
            else:
                return
        raise ExportError(f"{problem}; resume with what it was begun with, or overwrite=True starts afresh")

    def add(self, line: bytes, segment_id: str, created_at: datetime | None) -> None:
        """Put a finished row in.

        Args:
            line: from `to_json_line`.
            segment_id: its segment.
            created_at: what it is sorted by.

        Raises:
            OSError: the file system could not.
        """
        self._write(line)
        self._index(segment_id, created_at, len(line))

    def _index(self, segment_id: str, created_at: datetime | None, length: int) -> None:
        self.ids.append(segment_id)
        self._offsets.append(self._end)
        self._end += length
        moment = _LAST if created_at is None else (created_at - _EPOCH) // timedelta(microseconds=1)
        self._created.append(moment)

    def _write(self, line: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def rows(self, *, without: Collection[str] = ()) -> Iterator[bytes]:
        """The rows from the file, oldest created first, then by id; those without a date last.

        Args:
            without: segments to leave out.
        """
        if not self.ids:
            return
        # Two stable sorts, by the lesser key first, make no tuple for each of 100,000 rows.
        order = sorted(range(len(self.ids)), key=self.ids.__getitem__)
        order.sort(key=self._created.__getitem__)
        with self.path.open("rb") as file:
            for number in order:
                if self.ids[number] not in without:
                    file.seek(self._offsets[number])
                    yield file.readline()

    def sync(self) -> None:
        """Wait until the disk has what was added.

        Raises:
            OSError: it could not.
        """
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Leave it for a later run to resume; an empty one is removed, as there is nothing to resume."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self.ids:
                self.path.unlink(missing_ok=True)


def _parse(line: bytes) -> tuple[str, datetime | None]:
    """What the index keeps of a row."""
    try:
        row: dict[str, Any] = json.loads(line)
        segment_id, created_at = row["id"], row["created_at"]
        moment = None if created_at is None else datetime.fromisoformat(created_at)
        if isinstance(segment_id, str) and (moment is None or moment.tzinfo):
            return segment_id, moment
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ExportError("a line of it is not a segment")
