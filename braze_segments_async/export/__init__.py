"""Export segments to files: atomic, resumable, and with the same rows for the same data.

    from braze_segments_async.export import export_segments

    result = await export_segments(client, "segments.parquet")

All requests are sent through the open client that `export_segments` gets.
"""

from braze_segments_async._arguments import FORMATS, Format

# The names that are imported as themselves are for other parts of the package. They are not public.
from braze_segments_async._support import failures_of as failures_of

from ._destination import count_failures as count_failures
from ._destination import is_finished as is_finished
from ._destination import journal_of as journal_of
from ._destination import locked_destination as locked_destination
from ._export import destination_path as destination_path
from ._export import export_segments
from ._export import export_to_file as export_to_file
from ._formats.csv import csv_header, to_csv_line
from ._formats.ndjson import to_json_line
from ._options import RESUME_WITHIN as RESUME_WITHIN
from ._options import ExportOptions
from ._options import format_of as format_of
from ._options import parse_duration as parse_duration
from ._results import ExportProgress, ExportResult, IncompleteExportError, ResumeError
from ._run import ExportRun as ExportRun

__all__ = [
    "FORMATS",
    "ExportOptions",
    "ExportProgress",
    "ExportResult",
    "Format",
    "IncompleteExportError",
    "ResumeError",
    "csv_header",
    "export_segments",
    "to_csv_line",
    "to_json_line",
]
