"""The differences of two exports: segments added, removed, renamed, unknown; changed texts and tags."""

from __future__ import annotations

import csv
import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

from ._destination import failures_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

__all__ = ["Change", "Kind", "compare", "failed_segments", "read_export", "read_lines"]

Kind = Literal["added", "removed", "unknown", "renamed", "description", "tags", "text_description"]
Row = Mapping[str, Any]

_MAX_FIELD = 2**31 - 1  # characters; descriptions can be longer than the 131,072 that csv allows
_COMPARED: dict[str, Kind] = {
    "name": "renamed",
    "description": "description",
    "tags": "tags",
    "text_description": "text_description",
}


@frozen
class Change:
    """One difference between two exports. A segment with three differences has three changes.

    Attributes:
        kind: "added", "removed", "renamed", "description", "tags" or "text_description";
            "unknown" if the segment is missing in one export because its details could not be fetched.
        id: Id of the segment.
        name: Name in the new export, else in the old one; empty if it is in neither.
        before: Old text or, sorted, old tags; `None` if added, removed or unknown.
        after: New text or tags.
    """

    kind: Kind
    id: str
    name: str
    before: str | tuple[str, ...] | None = None
    after: str | tuple[str, ...] | None = None


def compare(
    old: Iterable[Row],
    new: Iterable[Row],
    *,
    failed_old: Collection[str] = (),
    failed_new: Collection[str] = (),
) -> Iterator[Change]:
    """Yield the changes from one export to the other.

    The changes are in the order of the new export; then follow the segments that are only in the old one, and
    finally the failed segments that are in neither, by id.

    A key that only one of two rows has is not compared, so the output of `list`, which has no filters, can be
    compared too.

    Args:
        old: Rows from `read_export`; held in memory, without the keys that are not compared.
        new: Rows from `read_export`, read one by one.
        failed_old: Ids of the segments that failed in the old export; see `failed_segments`.
        failed_new: Ids of the segments that failed in the new export.
    """
    in_neither = {*failed_old, *failed_new}
    before = {row["id"]: row for row in old}
    for row in new:
        was = before.pop(row["id"], None)
        in_neither.discard(row["id"])
        if was is None:
            yield Change("unknown" if row["id"] in failed_old else "added", row["id"], row["name"])
            continue
        for key, kind in _COMPARED.items():
            if key in row and key in was and row[key] != was[key]:
                yield Change(kind, row["id"], row["name"], was[key], row[key])
    for row in before.values():
        in_neither.discard(row["id"])
        yield Change("unknown" if row["id"] in failed_new else "removed", row["id"], row["name"])
    for segment_id in sorted(in_neither):
        yield Change("unknown", segment_id, "")


def failed_segments(path: Path) -> set[str]:
    """Return the ids in the file that `allow_partial` leaves beside an export; none if there is no such file.

    Raises:
        ConfigError: The file cannot be read, or is not a list of failed segments.
    """
    # Beside the file that a link leads to, as an export writes it.
    failures = failures_of(Path(os.path.realpath(path)))
    shown = escape_control(str(failures))
    ids: set[str] = set()
    number = 0
    try:
        with failures.open("rb") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007 - for the message
                ids.add(_text(json.loads(line)["segment_id"]))
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}:
            return ids
        raise ConfigError(f"cannot read {shown}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(f"{shown}: line {number:,} does not name a failed segment") from None
    return ids


def read_export(path: Path) -> Iterator[Row]:
    """Yield the segments of an export: CSV by its suffix, else NDJSON.

    Raises:
        ConfigError: The file cannot be read, or is no export; raised at the row in question.
    """
    shown = escape_control(str(path))
    try:
        if path.suffix.lower() == ".csv":
            csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
            with path.open(encoding="utf-8-sig", newline="") as text:
                yield from _rows(csv.DictReader(text, strict=True), shown)
        else:
            with path.open("rb") as lines:
                yield from read_lines(lines, shown)
    except OSError as error:
        raise ConfigError(f"cannot read {shown}: {error.strerror or error}") from None


def read_lines(lines: Iterable[bytes], shown: str) -> Iterator[Row]:
    """Yield the segments of an export in NDJSON.

    Args:
        lines: The lines; blank ones are skipped.
        shown: Name of the file, for messages.

    Raises:
        ConfigError: A line is no segment; raised at that line.
    """
    return _rows((json.loads(line) for line in lines if line.strip()), shown)


def _rows(values: Iterable[Any], shown: str) -> Iterator[Row]:
    seen: set[str] = set()
    problem = "is not one of an export in NDJSON or CSV"
    # All errors of the parsers: bad JSON, CSV or UTF-8, another shape, too deep nesting.
    with suppress(ValueError, TypeError, KeyError, RecursionError, csv.Error):
        for value in values:
            row = _row(value)
            if row["id"] in seen:
                problem = f"has the id of one before it, {escape_control(row['id'])}"
                break
            seen.add(row["id"])
            yield row
        else:
            return
    raise ConfigError(f"{shown}: segment {len(seen) + 1:,} {problem}")


def _row(value: Any) -> Row:
    row: dict[str, Any] = {"id": _text(value["id"]), "name": _text(value["name"])}
    for key in ("description", "text_description"):
        if key in value:
            row[key] = _text(value[key] or "")  # Python reads an empty text and no value of CSV alike
    if "tags" in value:
        tags = value["tags"] or []
        tags = json.loads(tags) if isinstance(tags, str) else tags
        row["tags"] = tuple(sorted(map(_text, tags)))  # their order means nothing
    return row


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value
