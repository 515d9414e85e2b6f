"""Segments into files: whole or absent, resumable, the same bytes for the same data.

    from braze_segments_async.export import export_segments

    result = await export_segments(client, "segments.parquet")

Nothing in here knows the network: `export_segments` is handed an open client, the rest values.
"""

from .csv_lines import csv_header, to_csv_line
from .formats import FORMATS, Format
from .ndjson import to_json_line
from .results import ExportProgress, ExportResult, IncompleteExportError, ResumeError
from .work import export_segments

__all__ = [
    "FORMATS",
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
