"""How exports stand, in files: any worker tells of them, and so does the next start."""

import stat
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from shutil import rmtree
from uuid import UUID

from pydantic import ValidationError

from braze_segments_async._support import create_private, file_errors, sibling
from braze_segments_async._text import escape_control, logger
from braze_segments_async.errors import ExportError
from braze_segments_async.export._lock import locked

from ._schemas import Export

__all__ = ["DamagedRecordError", "ExportStore"]

_LARGEST = 2**20  # bytes; a record has about one thousand


class DamagedRecordError(ExportError):
    """The record of an export cannot be read. The message names no path; the log does."""


class ExportStore:
    """The directory of the exports: a small file for each, and a lock for the one that runs.

    The lock dies with its process. So what is said to run, while nobody has the lock, was interrupted.
    """

    def __init__(self, directory: Path) -> None:
        """Make the directory.

        Raises:
            ExportError: it cannot be made.
        """
        with file_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory.resolve()  # the process may go elsewhere
        self._reported: set[str] = set()

    def claim(self) -> AbstractContextManager[None]:
        """Be the one who exports.

        Raises:
            ExportError: another is, or the directory cannot be written to.
        """
        return locked(self._directory / "exports")

    def get(self, export_id: UUID) -> Export | None:
        """Return the state of an export; `None` if there is none of that id.

        Raises:
            DamagedRecordError: the record cannot be read.
        """
        export = self._read(self._record(export_id))
        if export is not None and export.state == "running" and self._nobody_exports():
            export = self._read(self._record(export_id))  # it may have ended in between
            if export is not None and export.state == "running":
                return export.model_copy(update={"state": "interrupted"})
        return export

    def all(self) -> list[Export]:
        """Return all exports whose records can be read, the newest first."""
        found = [export for path in self._directory.glob("*.json") if (export := self._found(path))]
        return sorted(found, key=lambda export: export.created_at, reverse=True)

    def _found(self, path: Path) -> Export | None:
        export_id = None
        with suppress(ValueError):
            export_id = UUID(path.stem)
        if export_id is None or path != self._record(export_id):  # UUID takes other spellings, too
            self._report(path, "its name is not the id of an export")
            return None
        with suppress(DamagedRecordError):
            return self.get(export_id)
        return None

    def running(self) -> Export | None:
        """The export that runs, whichever worker runs it."""
        return next((export for export in self.all() if export.state == "running"), None)

    def settle(self) -> list[Export]:
        """All exports, once the one who has the lock has marked what a process that died has left."""
        for export in self.all():
            if export.state == "running":
                self.save(export.model_copy(update={"state": "interrupted"}))
        return self.all()

    def save(self, export: Export) -> Export:
        """Tell how an export stands.

        Raises:
            ExportError: it cannot be written.
        """
        path = self._record(export.id)
        with file_errors(path):
            part = sibling(path, ".part")
            part.unlink(missing_ok=True)
            with part.open("x", encoding="utf-8") as file:  # not through a link that somebody put there
                file.write(export.model_dump_json())
            part.replace(path)
        return export

    def remove(self, export: Export) -> None:
        """Remove an export that does not run, with its file and journal.

        Raises:
            ExportError: it cannot be removed.
        """
        record = self._record(export.id)
        others = [path for path in self._directory.glob(f"{export.id}.*") if path != record]
        for path in [*others, record]:  # the record last: if this fails midway, the next attempt finds it
            with file_errors(path):
                rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    def target(self, export: Export) -> Path:
        """Where the file of an export goes."""
        return self._path(export, f".{export.order.format}")

    def file(self, export: Export) -> Path | None:
        """Return the path of an export's file if it is complete, and not a link that somebody put there."""
        path = self.target(export)
        return path if export.state == "done" and path.is_file() and not path.is_symlink() else None

    def ask_to_cancel(self, export: Export, *, asked: bool = True) -> None:
        """Ask whoever runs an export to end it, or take that back.

        Raises:
            ExportError: it cannot be written.
        """
        marker = self._path(export, ".cancel")
        with file_errors(marker):
            if asked:
                create_private(marker, 0o666).close()  # follows no planted link
            else:
                marker.unlink(missing_ok=True)

    def asked_to_cancel(self, export: Export) -> bool:
        """Return whether an export is to end.

        Raises:
            ExportError: the directory cannot be read.
        """
        marker = self._path(export, ".cancel")
        with file_errors(marker):
            return marker.exists()

    def _read(self, path: Path) -> Export | None:
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):  # a pipe, for one, could keep the reader waiting for ever
                problem = "it is not a regular file"
            elif found.st_size > _LARGEST:
                problem = "it is too large"
            else:
                export = Export.model_validate_json(path.read_bytes())
                if path == self._record(export.id):
                    return export
                problem = f"it holds the record of {export.id}"
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = str(error.strerror)
        except ValidationError as error:
            problem = f"{error.error_count()} of its values are wrong, or it is not JSON"
        self._report(path, problem)
        raise DamagedRecordError(
            f"the record of export {path.stem} is damaged: the log of this server says why. Remove that "
            "record from the directory of the exports; other exports are not affected"
        )

    def _report(self, path: Path, problem: str) -> None:
        """Log, once, that a file is skipped."""
        if path.name not in self._reported:
            self._reported.add(path.name)
            logger.warning(
                "skipped %s, which is not the record of an export: %s", escape_control(str(path)), problem
            )

    def _nobody_exports(self) -> bool:
        with suppress(ExportError), self.claim():
            return True
        return False

    def _record(self, export_id: UUID) -> Path:
        return self._directory / f"{export_id}.json"

    def _path(self, export: Export, suffix: str) -> Path:
        return self._directory / f"{export.id}{suffix}"
