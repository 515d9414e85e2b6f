"""How exports stand, in files: any worker tells of them, and so does the next start."""

from contextlib import AbstractContextManager, suppress
from pathlib import Path
from shutil import rmtree
from uuid import UUID

from pydantic import ValidationError

from braze_segments_async.errors import ExportError
from braze_segments_async.export.lock import locked
from braze_segments_async.files import beside, file_errors

from .schemas import Export

__all__ = ["ExportRecords"]

_UUIDS = "-".join("?" * length for length in (8, 4, 4, 4, 12))


class ExportRecords:
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

    def claim(self) -> AbstractContextManager[None]:
        """Be the one who exports.

        Raises:
            ExportError: another is, or the directory cannot be written to.
        """
        return locked(self._directory / "exports")

    def get(self, export_id: UUID) -> Export | None:
        """How an export stands; `None` if there is none of that id."""
        export = self._read(export_id)
        if export is not None and export.state == "running" and self._nobody_exports():
            export = self._read(export_id)  # it may have come to its end in between
            if export is not None and export.state == "running":
                return export.model_copy(update={"state": "interrupted"})
        return export

    def all(self) -> list[Export]:
        """All exports, the newest first."""
        ids = [UUID(path.stem) for path in self._directory.glob(f"{_UUIDS}.json")]
        found = [export for export_id in ids if (export := self.get(export_id)) is not None]
        return sorted(found, key=lambda export: export.created_at, reverse=True)

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
        path = self._path(export, ".json")
        with file_errors(path):
            part = beside(path, ".part")
            part.write_text(export.model_dump_json(), "utf-8")
            part.replace(path)
        return export

    def remove(self, export: Export) -> None:
        """Remove an export that does not run, with its file and journal.

        Raises:
            ExportError: it cannot be removed.
        """
        for path in self._directory.glob(f"{export.id}.*"):
            with file_errors(path):
                rmtree(path) if path.is_dir() else path.unlink()

    def target(self, export: Export) -> Path:
        """Where the file of an export goes."""
        return self._path(export, f".{export.order.format}")

    def file(self, export: Export) -> Path | None:
        """The file of an export, if it is there and whole."""
        path = self.target(export)
        return path if export.state == "done" and path.is_file() else None

    def ask_to_cancel(self, export: Export, *, asked: bool = True) -> None:
        """Ask whoever runs an export to end it, or take that back.

        Raises:
            ExportError: it cannot be written.
        """
        marker = self._path(export, ".cancel")
        with file_errors(marker):
            marker.touch() if asked else marker.unlink(missing_ok=True)

    def asked_to_cancel(self, export: Export) -> bool:
        """Whether an export is to end."""
        return self._path(export, ".cancel").exists()

    def _read(self, export_id: UUID) -> Export | None:
        with suppress(OSError, ValidationError):
            return Export.model_validate_json((self._directory / f"{export_id}.json").read_bytes())
        return None

    def _nobody_exports(self) -> bool:
        with suppress(ExportError), self.claim():
            return True
        return False

    def _path(self, export: Export, suffix: str) -> Path:
        return self._directory / f"{export.id}{suffix}"
