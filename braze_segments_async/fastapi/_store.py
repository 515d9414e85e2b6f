"""The records of the exports, in one SQLite database that all workers share."""

import os
import sqlite3
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from braze_segments_async._support import check_regular, file_errors, sibling
from braze_segments_async._text import escape_control, logger
from braze_segments_async.errors import ExportError
from braze_segments_async.export._lock import locked

from ._schemas import Export

__all__ = ["ExportStore", "StoreError"]

_TABLE = """CREATE TABLE IF NOT EXISTS exports (
    id TEXT NOT NULL PRIMARY KEY, record TEXT NOT NULL, cancel_requested INTEGER NOT NULL DEFAULT 0
)"""
# Seconds. A statement blocks the event loop: for about 0.2 ms, or for this long if another program has locked
# the database.
_BUSY_TIMEOUT = 0.5
_DAMAGED = (
    "it is damaged or of another program. Move it away: exported files stay, but are not listed any more"
)
_NO_SPACE = "the disk is full, or fails. Free some space, and try again"
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "another process has locked it. Try again, or end that process",
    sqlite3.SQLITE_FULL: _NO_SPACE,
    sqlite3.SQLITE_IOERR: _NO_SPACE,  # such as a quota
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_ERROR: _DAMAGED,  # such as a database with other tables
}


class StoreError(ExportError):
    """The database of the exports cannot be used. The message names no path; the log does."""


class ExportStore:
    """The directory of the exports: a database with their records, their files, and a lock.

    A process holds the lock while it exports, and loses the lock when it dies. An export whose record says
    that it runs, while no process holds the lock, was interrupted.

    Every statement has its own connection, so the database may be moved away at any time. All methods raise
    `StoreError` if the database cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        """Create the directory, or raise `ExportError`."""
        with file_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory.resolve()  # the process may change its working directory
        self._database = self._directory / "exports.db"
        self._logged: set[str] = set()

    def lock(self) -> AbstractContextManager[None]:
        """Return a context that holds the export lock, or raises `ExportError` if it cannot."""
        return locked(self._directory / "exports")

    def get(self, export_id: UUID) -> Export | None:
        """Return an export; `None` if there is no export with that id."""
        return next(iter(self._read(str(export_id))), None)

    def all(self) -> list[Export]:
        """Return all exports whose records can be read, the newest first."""
        return sorted(self._read(), key=lambda export: export.created_at, reverse=True)

    def mark_interrupted(self) -> list[Export]:
        """Mark exports of dead processes as interrupted, and return all exports. It needs the lock."""
        for export in self.all():
            if export.state == "running":
                self.update(export.model_copy(update={"state": "interrupted"}))
        return self.all()

    def add(self, export: Export) -> None:
        """Save an export that starts or resumes, and forget an earlier request to cancel it."""
        values = str(export.id), export.model_dump_json()
        self._execute("REPLACE INTO exports (id, record) VALUES (?, ?)", *values)

    def update(self, export: Export) -> None:
        """Save the progress or the last state of an export."""
        values, durable = (export.model_dump_json(), str(export.id)), export.state != "running"
        self._execute("UPDATE exports SET record = ? WHERE id = ?", *values, durable=durable)

    def request_cancel(self, export: Export) -> None:
        """Ask the worker that runs an export to cancel it."""
        self._execute("UPDATE exports SET cancel_requested = 1 WHERE id = ?", str(export.id))

    def cancel_requested(self, export: Export) -> bool:
        """Return whether an export is to be cancelled."""
        return self._execute("SELECT cancel_requested FROM exports WHERE id = ?", str(export.id)) == [(1,)]

    def remove(self, export: Export) -> None:
        """Remove an export that does not run, with its files, or raise `ExportError`."""
        for path in self._directory.glob(f"{export.id}.*"):
            with file_errors(path):
                rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        # Last: if a file cannot be removed, the next attempt still finds the export.
        self._execute("DELETE FROM exports WHERE id = ?", str(export.id))

    def path(self, export: Export) -> Path:
        """Return the path of an export's file, whether it exists or not."""
        return self._directory / f"{export.id}.{export.order.format}"

    def file(self, export: Export) -> Path | None:
        """Return the path of an export's file if the file is complete, and not a link in its place."""
        path = self.path(export)
        return path if export.state == "done" and path.is_file() and not path.is_symlink() else None

    def _read(self, export_id: str = "") -> list[Export]:
        """Return the export with an id, or all exports whose records can be read."""
        exports = self._records(export_id)
        if any(export.state == "running" for export in exports):
            with suppress(ExportError), self.lock():  # nobody exports
                exports = self._records(export_id)  # again, since it may have ended just before
                for export in exports:
                    if export.state == "running":
                        export.state = "interrupted"
        return exports

    def _records(self, export_id: str) -> list[Export]:
        exports = []
        for row_id, record in self._execute("SELECT id, record FROM exports WHERE ? IN ('', id)", export_id):
            with suppress(ValidationError):
                export = Export.model_validate_json(record)
                if row_id == str(export.id).encode():
                    exports.append(export)
                    continue
            self._log(f"row {row_id!r}", "not the record of an export")
            if export_id:
                raise StoreError("the record of this export is damaged: delete its row from exports.db")
        return exports

    def _execute(self, statement: str, *parameters: str, durable: bool = True) -> list[tuple[Any, ...]]:
        """Execute one statement, and return its rows with text as bytes, since it may not be UTF-8.

        If `durable`, wait for the disk: only then a power failure cannot damage the database.
        """
        try:
            # SQLite itself would let others read the file, follow a link, or wait at a named pipe.
            with suppress(FileExistsError):
                os.close(os.open(self._database, os.O_CREAT | os.O_EXCL, 0o600))
            for suffix in ("", "-journal", "-wal", "-shm"):
                check_regular(sibling(self._database, suffix))
            connection = sqlite3.connect(self._database, timeout=_BUSY_TIMEOUT, isolation_level=None)
            with closing(connection):
                connection.text_factory = bytes
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
                connection.execute(_TABLE)
                rows = connection.execute(statement, parameters).fetchall()
        except (sqlite3.Error, OSError, ExportError, UnicodeError) as error:
            # A message of SQLite that quotes a damaged database may not be UTF-8.
            damaged = sqlite3.SQLITE_CORRUPT if isinstance(error, UnicodeError) else 0
            code = getattr(error, "sqlite_errorcode", damaged) & 0xFF
            remedy = _REMEDIES.get(code, "the log of this server says why")
            self._log("", str(error))
            raise StoreError(f"the database exports.db cannot be used: {remedy}") from None
        self._logged.discard("")
        return rows

    def _log(self, row: str, problem: str) -> None:
        """Log a problem once: followers read several times a second."""
        if row not in self._logged:
            self._logged.add(row)
            place = escape_control(f"{self._database} {row}".rstrip())
            logger.error("cannot use %s: %s", place, escape_control(problem))
