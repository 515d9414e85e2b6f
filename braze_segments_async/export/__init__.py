"""Segments into files. Nothing in here knows the network: it is handed values."""

from .ndjson import to_json_line

__all__ = ["to_json_line"]
