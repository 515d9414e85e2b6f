"""Excel workbooks: sheets, types, limits, and text that is never a formula, a link or XML."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from braze_segments_async import ConfigError, SegmentDetails, SizePoint
from braze_segments_async.catalogue import Provenance, read_catalogue
from braze_segments_async.export import ExportOptions, to_json_line
from braze_segments_async.export._formats import write_rows, xlsx

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

ONE = SegmentDetails(
    id="0123",
    name="One",
    description="Country is Japan",
    text_description="two\nlines",
    tags=("x", "y; z"),
    teams=("CRM",),
    created_at=datetime(2026, 7, 16, 19, 55, 53, tzinfo=UTC),
    updated_at=datetime.fromisoformat("2026-07-16T21:55:54+02:00"),
    estimated_size=12,
    analytics_tracking_enabled=False,
    extra={"new": [1]},
)
BARE = SegmentDetails(id="b", name="Bare")
SIZES = [SizePoint(date(2026, 7, 15), 7), SizePoint(date(2026, 7, 16), 8.5)]


def write(path: Path, *rows: SegmentDetails, **how: Any) -> dict[str, Worksheet]:
    """Write the rows to a workbook, and return its sheets as openpyxl reads them."""
    lines = [to_json_line(row, sizes=SIZES if how.get("sizes") else None) for row in rows]
    write_rows(path, lines, "xlsx", **how)
    assert [left.name for left in path.parent.iterdir()] == [path.name]
    return {sheet.title: sheet for sheet in openpyxl.load_workbook(path)}


def texts(sheet: Worksheet) -> str:
    """Return the cells of a sheet as text."""
    return "\n".join(" | ".join(str(cell) for cell in row if cell is not None) for row in sheet.values)


def test_sheets(tmp_path: Path) -> None:
    """The sheets are Segments, Tags, Sizes and Read me; a cell has the type of its value."""
    sheets = write(tmp_path / "a.xlsx", ONE, BARE, sizes=True)
    assert list(sheets) == ["Segments", "Tags", "Sizes", "Read me"]
    heading, one, bare = sheets["Segments"].values
    assert dict(zip(heading, one, strict=True)) == {
        "Name": "One", "Size": 12,
        "Edited": datetime.fromisoformat("2026-07-16 19:55:54"),
        "Filters": "Country is Japan", "Teams": "CRM",
        "Created": datetime.fromisoformat("2026-07-16 19:55:53"), "Tags": "x; y; z", "Note": "two\nlines",
        "Tracking": "no", "Size estimated": None, "Id": "0123", "Other fields": '{"new":[1]}',
    }  # fmt: skip
    assert [cell for cell in bare if cell is not None] == ["Bare", "b"]
    assert list(sheets["Tags"].values) == [
        ("Tag", "Segment", "Id"),
        ("x", "One", "0123"),
        ("y; z", "One", "0123"),
    ]
    assert list(sheets["Sizes"].values)[:3] == [
        ("Segment", "Day", "Size", "Id"),
        ("One", datetime.fromisoformat("2026-07-15"), 7, "0123"),
        ("One", datetime.fromisoformat("2026-07-16"), 8.5, "0123"),
    ]
    for name in ("Segments", "Tags", "Sizes"):
        assert sheets[name].freeze_panes == "B2"
        assert sheets[name].auto_filter.ref == f"A1:{sheets[name].dimensions.partition(':')[2]}"


def test_an_empty_workspace(tmp_path: Path) -> None:
    """Without segments there are headings with filters, and no other row."""
    sheets = write(tmp_path / "a.xlsx")
    assert [sheet.max_row for sheet in sheets.values()][:3] == [1, 1, 1]
    assert "0 segments" in texts(sheets["Read me"])
    assert "Not exported" in texts(sheets["Read me"])


def test_provenance(tmp_path: Path) -> None:
    """The sheet "Read me" says where the data comes from, and whether it is partial."""
    provenance = Provenance(
        instance="rest.iad-01.braze.com",
        started_at=datetime(2026, 7, 16, 2, 17, tzinfo=UTC),
        finished_at=datetime(2026, 7, 16, 2, 19, tzinfo=UTC),
        rows=1,
        failed=3,
        archived=2,
        recovered=1,
        consistency="safe",
        options={"sizes": 90},
        version="0.2.0",
    )
    read_me = texts(write(tmp_path / "a.xlsx", ONE, provenance=provenance)["Read me"])
    for line in (
        "Partial | Segments that could not be fetched and are missing here: 3",
        "Instance | rest.iad-01.braze.com",
        "Exported | 2026-07-16 02:17 to 2026-07-16 02:19 UTC",
        "Options | sizes: 90",
        "Written by | braze-segments-async 0.2.0",
    ):
        assert line in read_me


def test_dates_that_excel_does_not_have(tmp_path: Path) -> None:
    """Times before 1900 and at the ends of the calendar are text."""
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    row = evolve(ONE, created_at=early, updated_at=datetime(1899, 12, 31, tzinfo=UTC), estimated_size=10**400)
    _, cells = write(tmp_path / "a.xlsx", row)["Segments"].values
    assert cells[1:4] == (str(10**400), "1899-12-31 00:00:00+00:00", "0001-01-01T00:00:00+02:00")


def test_long_texts_are_cut(tmp_path: Path) -> None:
    """A text above Excel's limit, counted in UTF-16, ends with a mark; "Read me" counts these texts."""
    long = [evolve(ONE, name=name) for name in ("a" * 32_767, "🔥" * 16_384, "b" * 32_766, "🔥" * 16_383)]
    sheets = write(tmp_path / "a.xlsx", *[evolve(row, tags=()) for row in long])
    names = [row[0] for row in sheets["Segments"].values][1:]
    assert all(isinstance(name, str) and len(name.encode("utf-16-le")) // 2 < 32_767 for name in names)
    assert [str(name).endswith("… [cut]") for name in names] == [True, True, False, False]
    assert "Segments has 2 texts that were cut to 32,767 characters" in texts(sheets["Read me"])


def test_a_full_sheet_continues_on_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows beyond Excel's limit are on another sheet with headings and filters; "Read me" says so."""
    monkeypatch.setattr(xlsx, "_MAX_ROWS", 11)
    sheets = write(tmp_path / "a.xlsx", *[evolve(BARE, id=str(number)) for number in range(25)])
    assert list(sheets) == ["Segments", "Tags", "Sizes", "Segments 2", "Segments 3", "Read me"]
    assert [sheets[name].max_row - 1 for name in ("Segments", "Segments 2", "Segments 3")] == [10, 10, 5]
    assert sheets["Segments 3"].auto_filter.ref == "A1:L6"
    assert "Segments continues on 2 more sheets" in texts(sheets["Read me"])


@given(st.lists(st.text(st.characters(exclude_categories=[])), min_size=1, max_size=9))
@settings(max_examples=30)
def test_any_text_is_text(names: list[str]) -> None:
    """Any text is a text, never a formula, a link or XML; lone surrogates are escaped."""
    hostile = [
        "=1+1",
        "@x",
        "https://example.com",
        "mailto:a@b.c",
        "<r><t>x</t></r>",
        "<r></is></c><f>1</f></r>",
    ]
    names = [*names, *hostile, "{=1}", "_x0041_", "a\x00b\x1f", "\ufffe", "' ", "]]>", "&amp;"]
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.xlsx")
        sheets = write(path, *[evolve(BARE, name=name, tags=(name,)) for name in names])
        with zipfile.ZipFile(path) as archive:
            found = archive.read("xl/worksheets/sheet1.xml").decode()
            assert not any("hyperlink" in name or "external" in name for name in archive.namelist())
    cells = [row[0].value or "" for row in sheets["Segments"].iter_rows(min_row=2)]
    assert {row[0].data_type for row in sheets["Segments"].iter_rows(min_row=2)} <= {"inlineStr", "s", "n"}
    assert not re.search(r"<f[ >]|<hyperlink", found)
    assert [_unescape(str(cell)) for cell in cells] == [_written(name) for name in names]


def _written(name: str) -> str:
    text = name.encode("utf-8", "backslashreplace").decode()
    return _newlines(f"{text} " if text.startswith("<r>") and text.endswith("</r>") else text)


def _newlines(text: str) -> str:
    """Return a text with the line ends that an XML parser leaves."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unescape(text: str) -> str:
    """Return the text that Excel shows for the escapes `_x0000_` of its file format."""
    return _newlines(re.sub(r"_x([0-9A-F]{4})_", lambda match: chr(int(match[1], 16)), text))


def test_reading_back(tmp_path: Path) -> None:
    """`read_catalogue` refuses a workbook with a remedy, and reads a CSV for Excel as any CSV."""
    write(path := tmp_path / "a.xlsx", ONE)
    with pytest.raises(ConfigError, match="is a workbook, which is for people: use an export in another"):
        read_catalogue(path)
    for name, excel in (("plain.csv", False), ("excel.csv", True)):
        write_rows(tmp_path / name, [to_json_line(ONE)], "csv", excel=excel)
    assert read_catalogue(tmp_path / "plain.csv").segments == read_catalogue(tmp_path / "excel.csv").segments


def test_without_xlsxwriter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without XlsxWriter, the error says what to install."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(ConfigError, match=r'pip install "braze-segments-async\[xlsx\]"'):
        ExportOptions(format="xlsx")


def test_an_error_leaves_nothing_open(tmp_path: Path) -> None:
    """If the rows end with an error, the temporary files are closed and removed."""

    def lines() -> Any:
        yield to_json_line(ONE)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"), closing(lines()) as rows:
        write_rows(tmp_path / "a.xlsx", rows, "xlsx")
    assert [left.name for left in tmp_path.iterdir()] == ["a.xlsx"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit for the size of files")
def test_a_full_disk(tmp_path: Path) -> None:
    """If the disk is full when the file is packed, the error says so, and nothing is printed later."""
    program = f"""
import os, resource, signal
from pathlib import Path
from braze_segments_async import SegmentDetails
from braze_segments_async.export import to_json_line
from braze_segments_async.export._formats import write_rows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, -1))  # more than the rows, and less than all sheets
rows = (to_json_line(SegmentDetails(id=str(n), name=os.urandom(99).hex())) for n in range(500))
try:
    write_rows(Path({str(tmp_path / "a.xlsx")!r}), rows, "xlsx")
except Exception as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert "File too large" in ran.stdout
    assert ran.stderr == ""
