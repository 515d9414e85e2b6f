"""NDJSON: one segment is one JSON object is one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from braze_segments_async.models import SegmentDetails

__all__ = ["to_json_line"]

_FIELDS = tuple(SegmentDetails.__annotations__)


def to_json_line(details: SegmentDetails) -> bytes:
    r"""A segment as a line of NDJSON, in UTF-8, with its line end.

    Keys are the fields of `SegmentDetails`, in their order; times are ISO 8601 with their offset. A line that
    holds a lone surrogate, which UTF-8 cannot say, is written with `\u` escapes.
    """
    value = {name: getattr(details, name) for name in _FIELDS}
    try:
        return (_readable.encode(value) + "\n").encode()
    except UnicodeEncodeError:
        return (_escaped.encode(value) + "\n").encode()


def _plain(value: object) -> Any:
    """What JSON has no word for."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON for a {type(value).__name__}")


# Built once: json.dumps with arguments builds an encoder for every call. NaN would not be JSON.
_readable = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
_escaped = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)
