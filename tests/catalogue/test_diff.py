"""Exports are compared by the fields of their segments, and files that are no export are refused."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from braze_segments_async import ConfigError, SegmentDetails
from braze_segments_async.catalogue import Catalogue, Change, diff, read_catalogue
from braze_segments_async.catalogue._rows import read_text
from braze_segments_async.cli.commands.diff import change_text, summary
from braze_segments_async.export import csv_header, to_csv_line, to_json_line

if TYPE_CHECKING:
    from pathlib import Path

OLD = [
    SegmentDetails(id="a", name="A", description="x", tags=("1", "2"), text_description=""),
    SegmentDetails(id="b", name="B", description="x"),
    SegmentDetails(id="c", name='C "c"\n,', description="x", text_description="note"),
]
NEW = [
    SegmentDetails(id="d", name="D"),
    SegmentDetails(id="a", name="A2", description="y", tags=("3", "2"), text_description="new"),
    SegmentDetails(id="c", name='C "c"\n,', description="x", text_description="note", estimated_size=7),
]
CHANGES = [
    Change("added", "d", "D"),
    Change("renamed", "a", "A2", "A", "A2"),
    Change("description", "a", "A2", "x", "y"),
    Change("tags", "a", "A2", ("1", "2"), ("2", "3")),
    Change("text_description", "a", "A2", "", "new"),
    Change("removed", "b", "B"),
]


def _write(path: Path, segments: list[SegmentDetails]) -> Path:
    lines = [to_json_line(segment) for segment in segments]
    if path.suffix == ".csv":
        lines = [csv_header(), *(to_csv_line(line) for line in lines)]
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("old", ["old.ndjson", "old.csv"])
@pytest.mark.parametrize("new", ["new.jsonl", "new.csv"])
def test_every_kind_of_change(tmp_path: Path, old: str, new: str) -> None:
    """Each kind of change is found, in the order of the new export and in all formats; a new size is not."""
    before, after = _write(tmp_path / old, OLD), _write(tmp_path / new, NEW)
    assert list(diff(read_catalogue(before), read_catalogue(after))) == CHANGES
    assert not diff(read_catalogue(before), read_catalogue(before))


def test_the_order_of_tags_and_segments_is_ignored() -> None:
    """The order of tags and segments is ignored, and `null` equals an empty text."""
    other: dict[str, Any] = {"id": "b", "name": "B"}
    old = [{"id": "a", "name": "A", "tags": ["x", "y"], "text_description": None}, other]
    new = [other, {"id": "a", "name": "A", "tags": ["y", "x"], "text_description": ""}]
    assert not diff(_rows(old), _rows(new))


def test_the_output_of_list_can_be_compared() -> None:
    """Fields that one side lacks are not compared: the output of `list` has names and tags but no filters."""
    old = [{"id": "a", "name": "A", "tags": []}]
    new = [{"id": "a", "name": "A", "tags": ["new"], "description": "x", "text_description": "y"}]
    assert [change.kind for change in diff(_rows(old), _rows(new))] == ["tags"]


def _rows(values: list[dict[str, Any]]) -> Catalogue:
    lines = "".join(f"{json.dumps(value)}\n" for value in values)
    return Catalogue(segments=read_text(io.BytesIO(lines.encode()), "x"))


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b"7",
        b"{}",
        b'{"id": "b"}',
        b'{"id": 7, "name": "B"}',
        b'{"id": "b", "name": "B", "tags": [null]}',
        b'{"id": "b", "name": "B", "tags": 7}',
        b'{"id": "b", "name": "B", "descr',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_a_line_without_a_segment_is_refused(line: bytes) -> None:
    """A line without a segment is refused with the source and its number; blank lines are ignored."""
    lines = io.BytesIO(b'{"id": "a", "name": "A"}\n\n' + line)
    with pytest.raises(ConfigError, match=r"^old\.ndjson: segment 2 is not one of an export$"):
        read_text(lines, "old.ndjson")


def test_the_same_segment_twice_is_refused() -> None:
    """A segment that occurs twice in a file, as in two concatenated exports, is refused."""
    with pytest.raises(ConfigError, match="segment 2 has the id of one before it, a"):
        _rows([{"id": "a", "name": "A"}] * 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"no,such,columns\r\n1,2,3\r\n"),
        ("b.csv", b'id,name\r\n"a","b'),
        ("c.sqlite", b"SQLite\0\xff"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """A CSV file with other columns, an incomplete one, and a database are refused."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="segment 1 is not one of an export"):
        read_catalogue(tmp_path / name)


@pytest.mark.parametrize("text", ["no export", "no export\n", "id;title\n"])
def test_a_header_of_something_else(tmp_path: Path, text: str) -> None:
    """A file with one line that is neither a segment nor the header of an export is refused, not empty."""
    (path := tmp_path / "x").write_text(text)
    with pytest.raises(ConfigError, match="segment 1 is not one of an export"):
        read_catalogue(path)


@pytest.mark.parametrize("name", ["none.ndjson", ".", "none.csv"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """The error for an unreadable file names the file and the reason."""
    with pytest.raises(ConfigError, match=r"^cannot read "):
        read_catalogue(tmp_path / name)


def test_changes_as_text() -> None:
    """A change is one line or three; control characters are escaped; the summary counts the changes."""
    assert [change_text(change) for change in CHANGES] == [
        "+ added    D  (d)",
        "~ renamed  A2  (a)\n    - A\n    + A2",
        "~ description  A2  (a)\n    - x\n    + y",
        "~ tags     A2  (a)\n    -1, +3",
        "~ text_description  A2  (a)\n    - \n    + new",
        "- removed  B  (b)",
    ]
    hostile = Change("renamed", "\x1b[2J", "\u202eabc", "a\nb", "\x1b]0;x\x07" * 100)
    assert change_text(hostile).count("\n") == 2
    assert change_text(hostile).replace("\n", "").isprintable()
    assert summary(CHANGES) == (
        "1 added, 1 renamed, 1 filters changed, 1 tags changed, 1 note changed, 1 removed"
    )


def test_a_long_description_in_csv(tmp_path: Path) -> None:
    """A cell of an export in CSV can be longer than the default limit of Python's csv module."""
    path = tmp_path / "long.csv"
    path.write_bytes(csv_header() + to_csv_line(to_json_line(SegmentDetails(id="a", name="x" * 200_000))))
    (segment,) = read_catalogue(path).segments
    assert len(segment.name) == 200_000
