"""Workbooks and CSV for Excel, opened by LibreOffice; run by `make recipes`."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest

from braze_segments_async import SegmentDetails
from braze_segments_async.export import to_json_line
from braze_segments_async.export._formats import write_rows

if TYPE_CHECKING:
    from pathlib import Path

OFFICE = shutil.which("soffice")
pytestmark = [
    pytest.mark.skipif("RECIPES" not in os.environ, reason="run by make recipes"),
    pytest.mark.skipif(OFFICE is None, reason="LibreOffice is not installed: libreoffice-calc-nogui"),
    pytest.mark.timeout(180),
]
NAMES = [
    "plain",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    '=HYPERLINK("https://example.com")',
    "https://example.com",
    "1e5",
    "007",
    "2026-01-01",
    "TRUE",
    "_x0041_",
    "<r><t>bold</t></r> ",
    "a;b,c\t\"d\" 'e'",
    "two\nlines",
    "emoji 👩‍👩‍👧‍👦 🔥 and e\u0301",
    "שלום مرحبا",
]
EDITED = datetime(2026, 7, 16, 19, 55, 53, tzinfo=UTC)
ROWS = [to_json_line(SegmentDetails(id=f"id-{name}", name=name, updated_at=EDITED)) for name in NAMES]


def converted(path: Path, kind: str, *options: str) -> Path:
    """Open a file with LibreOffice and save it as another type, in the folder `converted`."""
    folder = path.with_name("converted")
    profile = f"-env:UserInstallation={path.with_name('profile').as_uri()}"
    subprocess.run(  # noqa: S603
        [
            str(OFFICE),
            profile,
            "--headless",
            *options,
            "--convert-to",
            kind,
            "--outdir",
            str(folder),
            str(path),
        ],
        check=True,
        capture_output=True,
        timeout=150,
    )
    (file,) = folder.iterdir()
    return file


def test_a_workbook(tmp_path: Path) -> None:
    """LibreOffice shows every text as it is, and evaluates none as a formula, a number or a date."""
    write_rows(path := tmp_path / "a.xlsx", ROWS, "xlsx")
    # Comma, quote, UTF-8, cells as shown.
    with converted(path, "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Name"] for row in rows] == NAMES
    assert {row["Edited"] for row in rows} == {"2026-07-16 19:55"}


def test_csv_for_excel(tmp_path: Path) -> None:
    """Texts in a CSV for Excel are no formulas, characters are right, and times are recognised as times."""
    write_rows(path := tmp_path / "a.csv", ROWS, "csv", excel=True)
    # Comma, quote, UTF-8: Excel knows the last one by the byte order mark, this program only in its dialog.
    workbook = converted(path, "xlsx:Calc MS Excel 2007 XML", "--infilter=CSV:44,34,76,1")
    (sheet,) = openpyxl.load_workbook(workbook)
    heading, *rows = sheet.values
    found: list[dict[Any, Any]] = [dict(zip(heading, row, strict=True)) for row in rows]
    assert heading[0] == "id"
    assert [row["id"] for row in found] == [f"id-{name}" for name in NAMES]
    assert {row["updated_at"] for row in found} == {EDITED.replace(tzinfo=None)}
    assert not [cell for row in sheet for cell in row if cell.data_type == "f"]
