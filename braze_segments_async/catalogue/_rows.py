"""The segments in the rows of an exported file."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import IO, TYPE_CHECKING, Any

from braze_segments_async._models import SizePoint
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

from ._values import CatalogueSegment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["parse_rows", "read_text", "to_text"]

_MAX_FIELD = 2**31 - 1  # characters; descriptions can be longer than the 131,072 that csv allows
_TIMES = ("created_at", "updated_at", "estimated_size_updated_at")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_Row = dict[str, Any]


def read_text(file: IO[bytes], shown: str) -> tuple[CatalogueSegment, ...]:
    """Read NDJSON or CSV.

    Args:
        file: The open file; it need not be seekable.
        shown: Name of the file, for messages.

    Raises:
        ConfigError: A line is not a segment.
    """
    first = file.readline()
    while first and not first.strip():
        first = file.readline()
    if first.lstrip(b" \t")[:1] in {b"{", b""}:
        return parse_rows((json.loads(line) for line in _lines(first, file) if line.strip()), shown)
    return parse_rows(_csv_rows(first, file), shown, _from_cells)


def _lines(first: bytes, file: IO[bytes]) -> Iterator[bytes]:
    yield first
    yield from file


def _csv_rows(first: bytes, file: IO[bytes]) -> Iterator[_Row]:
    """Yield the rows of CSV, also of the variant for Excel: a byte order mark, and semicolons."""
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    (names,) = csv.reader([first.decode("utf-8-sig")], delimiter=(delimiter := _delimiter(first)))
    if "id" not in names or "name" not in names:
        raise ValueError("the header does not name the columns of an export")
    lines = (line.decode() for line in file)  # a cell may contain line ends, which the lines keep
    for row in csv.DictReader(lines, names, delimiter=delimiter, strict=True):
        if None in row or None in row.values():
            raise ValueError("a row has more or fewer cells than the header")
        yield row


def _delimiter(header: bytes) -> str:
    return ";" if b"," not in header else ","


def parse_rows(
    rows: Iterable[Any],
    shown: str,
    prepare: Callable[[_Row], _Row] | None = None,
) -> tuple[CatalogueSegment, ...]:
    """Return the segments of rows that have the keys and values of NDJSON.

    Args:
        rows: One object for each segment.
        shown: Name of the file, for messages.
        prepare: Converts a row of another format.

    Raises:
        ConfigError: A row is not a segment, or two have the same id.
    """
    segments: dict[str, CatalogueSegment] = {}
    shared: dict[frozenset[str], frozenset[str]] = {}  # the rows of a file have the same fields
    problem = "is not one of an export"
    # All errors of the parsers: bad JSON, CSV or UTF-8, another shape, too deep nesting.
    with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, csv.Error):
        for row in rows:
            segment = _segment(prepare(row) if prepare else row, shared)
            if segment.id in segments:
                problem = f"has the id of one before it, {escape_control(segment.id)}"
                break
            segments[segment.id] = segment
        else:
            return tuple(segments.values())
    raise ConfigError(f"{shown}: segment {len(segments) + 1:,} {problem}")


def _segment(row: _Row, shared: dict[frozenset[str], frozenset[str]]) -> CatalogueSegment:
    values: _Row = {"id": to_text(row["id"]), "name": to_text(row["name"])}
    for name, convert in _CONVERTERS.items():
        if name in row:
            values[name] = convert(row[name])
    fields = frozenset(values)
    return CatalogueSegment(**values, fields=shared.setdefault(fields, fields))


def _from_cells(row: _Row) -> _Row:
    """Return a row of CSV, in which all values are text, as one of NDJSON."""
    values: _Row = dict(row)
    for name in ("tags", "teams", "sizes"):
        if name in row:
            values[name] = json.loads(row[name] or "[]")
    for name in _TIMES:
        if name in row:
            values[name] = row[name] or None
    if "estimated_size" in row:
        values["estimated_size"] = json.loads(row["estimated_size"] or "null")
    if "analytics_tracking_enabled" in row:
        text = row["analytics_tracking_enabled"].lower()
        values["analytics_tracking_enabled"] = _FLAGS[text] if text else None
    return values


def to_text(value: Any) -> str:
    """Return a text as every format has it: only NDJSON can have a lone surrogate, the others its escape."""
    if not isinstance(value, str):
        raise TypeError
    if value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _number(value: Any) -> int | float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value != value:  # noqa: PLR0124 - NaN
        raise TypeError
    return value


def _time(value: Any) -> datetime:
    """Return an aware time; in UTC if the file names no time zone, as the variant of CSV for Excel."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def _points(value: Any) -> tuple[SizePoint, ...]:
    return tuple(SizePoint(_date(point["time"]), _number(point["size"])) for point in _list(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(to_text, _list(value or [])))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _optional(convert: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: None if value is None else convert(value)


_CONVERTERS: dict[str, Callable[[Any], object]] = {
    "description": _optional(to_text),
    "text_description": _optional(to_text),
    "tags": _texts,
    "teams": _texts,
    "created_at": _optional(_time),
    "updated_at": _optional(_time),
    "estimated_size": _optional(_number),
    "estimated_size_updated_at": _optional(_time),
    "analytics_tracking_enabled": _optional(_flag),
    "sizes": _points,
}
