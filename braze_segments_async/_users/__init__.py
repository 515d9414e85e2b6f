"""The users of a segment: the export at Braze, the download of its file, and the reader of the file."""

from .export import UsersExport
from .reader import save_path

__all__ = [
    "UsersExport",
    "save_path",
]
