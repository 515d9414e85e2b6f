"""Segments into files: whole or absent, resumable, the same bytes for the same data.

    from braze_segments_async.export import export_segments

    result = await export_segments(client, "segments.parquet")

Nothing in here knows the network: `export_segments` is handed an open client, the rest values.
"""

from braze_segments_async._arguments import FORMATS, Format

from ._export import export_segments
from ._formats.csv import csv_header, to_csv_line
from ._formats.ndjson import to_json_line
from ._options import ExportOptions
from ._results import ExportProgress, ExportResult, IncompleteExportError, ResumeError

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
