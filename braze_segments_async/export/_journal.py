"""The journal: finished segments on disk, in order of arrival."""

from __future__ import annotations

import json
import os
import time
import zlib
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from braze_segments_async._support import create_private, open_regular
from braze_segments_async._text import escape_control, logger
from braze_segments_async.errors import ExportError

from ._index import JournalIndex
from ._results import ResumeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from braze_segments_async._support import CancelToken

    from ._options import ExportOptions

__all__ = ["Journal", "show_duration"]

_VERSION = 2
_MAX_HEADER = 4_096  # bytes; limits the first read if the file is not a journal
# The end of each row: its time in milliseconds, and the checksum of the journal from the start to there.
_SEAL = len(b',"journal":"1764000000000 89abcdef"}\n')
_CHECKSUM = len(b'89abcdef"}\n')
_MOMENT = slice(-len(b'1764000000000 89abcdef"}\n'), -len(b' 89abcdef"}\n'))
_CLOCK_TOLERANCE = 300.0  # seconds that the clocks of two machines may differ


@frozen(kw_only=True)
class JournalHeader:
    """First line of a journal: what its rows depend on, so that no other export adds rows. Holds no secret.

    Attributes:
        workspace: Host of the REST endpoint. Not the key: keys are replaced.
        format: Format of the file.
        csv_safe: Whether the file is safe for spreadsheets.
        sizes: Days of size history in each row.
        sizes_until: End of all size histories; a resumed run requests the same.
        journal: Version of the journal's own format.
    """

    workspace: str
    format: str
    csv_safe: bool
    sizes: int | None
    sizes_until: datetime = field(eq=False)
    journal: int = _VERSION

    def line(self) -> bytes:
        """Return the first line of the journal."""
        return (json.dumps(asdict(self) | {"sizes_until": self.sizes_until.isoformat()}) + "\n").encode()

    def check_compatible(self, line: bytes) -> datetime:
        """Compare with the first line of a journal, and return its `sizes_until`.

        Raises:
            ExportError: The file is no journal, or of another export; the message says what differs.
        """
        try:
            other = json.loads(line)
            until = datetime.fromisoformat(other["sizes_until"])
            mine = asdict(self)
            differences = [
                f"{name} was {escape_control(str(other[name]))}, is now {mine[name]}"
                for name in mine
                if name != "sizes_until" and other[name] != mine[name]
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ExportError("its first line is not that of a journal") from None
        if differences:
            raise ExportError(
                f"it belongs to another export: {'; '.join(differences)}. Resume with the options of that "
                "export"
            )
        return until


class Journal:
    """Rows as lines of NDJSON, below a header. Each row is passed to the operating system when it is added.

    So a process that dies loses at most the end of the row it was writing. `sync` decides what is on the disk
    when the power fails.

    Each row has one more key, `journal`: when it was written, and a checksum of the header and of all rows up
    to there. The checksum detects a row that was changed, removed, repeated or moved.

    Attributes:
        path: The file.
        workspace: Host of the REST endpoint.
        index: The segments in the journal.
        sizes_until: End of all size histories; of the first run, if this one resumes it.
    """

    def __init__(self, path: Path, workspace: str, options: ExportOptions) -> None:
        """Open nothing yet.

        Args:
            path: The file, which need not exist.
            workspace: Host of the REST endpoint.
            options: The options of the export.
        """
        self.path = path
        self.workspace = workspace
        self._options = options
        self._header = JournalHeader(
            workspace=workspace,
            format=options.format,
            csv_safe=options.csv_safe,
            sizes=options.sizes,
            sizes_until=datetime.now(UTC).replace(microsecond=0),
        )
        self._file: IO[bytes] | None = None
        self._paused = 0.0  # seconds between the runs that have written to it
        self._clear()

    def _clear(self) -> None:
        self.index = JournalIndex()
        self.sizes_until = self._header.sizes_until
        self._checksum = 0
        self._end = 0
        self._written = 0.0  # time of the last row, less the pauses before it

    def open(self, stop: CancelToken) -> None:
        """Start afresh or, with `resume`, read the rows and continue after the last complete one.

        Args:
            stop: Ends the reading.

        Raises:
            ResumeError: The file is not a journal of this export, was changed, or is too old.
            ExportError: There is something other than a file.
            OSError: The file system failed.
        """
        if self._options.resume and self._resume(stop):
            return
        self._clear()
        self._file = create_private(self.path, 0o666, buffering=0)
        header = self._header.line()
        self._write(header)
        self._end = len(header)
        self._checksum = zlib.crc32(header)

    def _resume(self, stop: CancelToken) -> bool:
        """Read the rows, and return whether there are any to continue from."""
        resume_within = self._options.resume_within
        with ExitStack() as opened:
            try:
                descriptor = open_regular(self.path, os.O_RDWR | os.O_APPEND)
            except FileNotFoundError:
                return False
            file = opened.enter_context(os.fdopen(descriptor, "rb+", buffering=0))
            status, now = os.fstat(descriptor), time.time()
            problem = self._read(descriptor, stop) if status.st_size else ""
            if not (problem or self.index):
                return False
            # Each row has its time. The time of modification counts only if it was set on purpose, as by
            # `touch` or a restored backup: else it is from the clock of a file server, or of a copy.
            written = status.st_mtime if problem else self._written
            if status.st_ctime - status.st_mtime > _CLOCK_TOLERANCE:
                written = min(written, status.st_mtime)
            too_old = _too_old(now - written, resume_within)
            if too_old and self._options.overwrite:
                logger.info("%s is not resumed: %s", escape_control(str(self.path)), too_old)
                return False
            if problem or too_old:
                remedy = {}
                if now - written > resume_within and not problem:
                    remedy["resume_within"] = f"({show_duration(resume_within)}) can be longer"
                # Together with `resume`, `overwrite` discards only a journal that is too old.
                remedy["overwrite=True"] = "starts afresh" if too_old else "alone starts afresh"
                problem = problem or too_old
                reason = f"cannot resume from {escape_control(str(self.path))}: {problem}"
                raise ResumeError(reason, remedy=remedy)
            # The pauses add up, over any number of runs: all rows of a file are from within `resume_within`.
            self._paused = max(0.0, now - self._written)
            os.ftruncate(descriptor, self._end)
            opened.pop_all()
            self._file = file
        return True

    def _read(self, descriptor: int, stop: CancelToken) -> str:
        """Index the rows, and return why they cannot be resumed; an empty text if they can."""
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            first = file.readline(_MAX_HEADER)
            self._end = len(first)
            self._checksum = zlib.crc32(first)
            try:
                self.sizes_until = self._header.check_compatible(first)
                for line in stop.iter_until_cancelled(file):
                    if not line.endswith(b"\n"):
                        break  # the process died in the middle of this row
                    self.index.add_earlier(*_parse(line), self._end, self._checksum)
                    self._checksum = _verify(line, self._checksum)
                    self._end += len(line)
                    self._written = int(line[_MOMENT]) / 1_000
            except ExportError as error:
                return str(error)
        return ""

    def add(self, line: bytes, segment_id: str, created_at: datetime | None) -> None:
        """Append a row.

        Args:
            line: From `to_json_line`.
            segment_id: Id of the segment.
            created_at: The first key of the order in `rows`.

        Raises:
            OSError: The file system failed.
        """
        moment = max(0, int((time.time() - self._paused) * 1_000))
        start = b'%s,"journal":"%013d ' % (line.removesuffix(b"}\n"), moment)
        checksum = zlib.crc32(start, self._checksum)
        sealed = b'%s%08x"}\n' % (start, checksum)
        self._write(sealed)
        self.index.add(segment_id, created_at, self._end, self._checksum)
        self._end += len(sealed)
        self._checksum = checksum

    def _write(self, line: bytes) -> None:
        assert self._file is not None  # noqa: S101 - opened
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]

    def rows(self, stop: CancelToken) -> Iterator[bytes]:
        """Yield the rows of listed segments, oldest created first, then by id; those without a date last.

        Args:
            stop: Ends the reading.

        Raises:
            ExportError: The file was changed since the rows were added.
        """
        if not self.index:
            return
        with os.fdopen(open_regular(self.path, os.O_RDONLY), "rb") as file:
            for offset, checksum in self.index.listed_rows(stop):
                file.seek(offset)
                line = file.readline()
                _verify(line, checksum)
                yield line[:-_SEAL] + b"}\n"

    def sync(self) -> None:
        """Wait until all rows are on the disk.

        Raises:
            OSError: The file system failed.
        """
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file, which a later run can resume; remove it if it has no rows."""
        if self._file is not None:
            self._file.close()
            self._file = None
            if not self.index:
                self.path.unlink(missing_ok=True)


def _verify(line: bytes, before: int) -> int:
    """Return the checksum of the journal up to the end of this row.

    Args:
        line: The row.
        before: The checksum up to its start.

    Raises:
        ExportError: The row has another checksum.
    """
    checksum = zlib.crc32(line[:-_CHECKSUM], before)
    if line[-_CHECKSUM:] != b'%08x"}\n' % checksum:
        raise ExportError(
            "a row does not have its checksum: it was changed, or rows before it were removed, added or moved"
        )
    return checksum


def _too_old(paused: float, resume_within: float) -> str:
    """Return why a journal must not be resumed after a pause of so many seconds; an empty text if it may."""
    age = show_duration(abs(paused))
    if paused < -_CLOCK_TOLERANCE:
        return f"a clock was wrong: its last row was written {age} in the future, so its age is not known"
    if paused > resume_within:
        return f"it was interrupted for {age}, and its details are old"
    return ""


def show_duration(seconds: float) -> str:
    """Return a duration in the largest unit that gives at least two of it."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}".replace(".0 ", " ")
    return f"{seconds:,.1f} seconds".replace(".0 ", " ")


def _parse(line: bytes) -> tuple[str, datetime | None]:
    """Return the id and the creation time of a row."""
    try:
        row: dict[str, Any] = json.loads(line)
        segment_id, created_at = row["id"], row["created_at"]
        moment = None if created_at is None else datetime.fromisoformat(created_at)
        if isinstance(segment_id, str) and (moment is None or moment.tzinfo):
            return segment_id, moment
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ExportError("one of its lines is not a segment")
