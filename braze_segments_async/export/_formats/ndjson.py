"""NDJSON: one segment is one JSON object is one line. The journal and every other format start from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from braze_segments_async._models import SegmentDetails, SizePoint
from braze_segments_async._support import create_private

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FIELDS", "TIMES", "replace_surrogates", "to_json", "to_json_line", "write_ndjson"]

FIELDS = tuple(SegmentDetails.__annotations__)
TIMES = {"created_at", "updated_at", "estimated_size_updated_at"}


def to_json_line(details: SegmentDetails, *, sizes: Iterable[SizePoint] | None = None) -> bytes:
    r"""Return a segment as a line of NDJSON, in UTF-8, with its line end.

    Keys are the fields of `SegmentDetails`, in their order; times are ISO 8601 with their offset. A line that
    holds a lone surrogate, which UTF-8 cannot encode, is written with `\u` escapes.

    Args:
        details: The segment.
        sizes: Its size history, for the last key, `sizes`; by default there is no such key.
    """
    value: dict[str, object] = {name: getattr(details, name) for name in FIELDS}
    if sizes is not None:
        value["sizes"] = [{"time": point.time, "size": point.size} for point in sizes]
    try:
        return (_readable.encode(value) + "\n").encode()
    except UnicodeEncodeError:
        return (_escaped.encode(value) + "\n").encode()


def to_json(value: object) -> str:
    """Return compact JSON text, for a cell that holds a list or an object."""
    return replace_surrogates(_readable.encode(value))


def replace_surrogates(text: str) -> str:
    r"""Return text that UTF-8 can encode: a lone surrogate becomes its escape, such as `\ud83d`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def write_ndjson(path: Path, lines: Iterable[bytes]) -> None:
    """Write finished lines as they are."""
    with create_private(path, 0o666) as file:
        file.writelines(lines)


def _plain(value: object) -> Any:
    """Return a value of a type that JSON has, for a date or a mapping."""
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no JSON for a {type(value).__name__}")


# Built once: json.dumps with arguments builds an encoder for every call. NaN would not be JSON.
_readable = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
_escaped = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)
