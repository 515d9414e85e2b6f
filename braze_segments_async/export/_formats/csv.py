"""CSV after RFC 4180, in UTF-8: text is always quoted, so that an empty text and no value stay apart.

Written here and not by `csv.writer`, which cannot keep them apart before Python 3.12.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from braze_segments_async._support import create_private

from .ndjson import FIELDS, TIMES, replace_surrogates, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["csv_header", "to_csv_line", "write_csv"]

# A cell that begins so is a formula to a spreadsheet (OWASP: "CSV Injection"), the full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def csv_header(*, sizes: bool = False, excel: bool = False) -> bytes:
    """Return the line with the names of the columns, for Excel with a byte order mark before it."""
    line = (",".join((*FIELDS, "sizes") if sizes else FIELDS) + "\r\n").encode()
    return BOM_UTF8 + line if excel else line


def to_csv_line(line: bytes, *, safe: bool = False, excel: bool = False) -> bytes:
    """Return a line of NDJSON as a line of CSV, its columns in the order of the keys.

    Args:
        line: From `to_json_line`.
        safe: Put an apostrophe in front of text that a spreadsheet would evaluate as a formula.
        excel: Write times as Excel reads them in every language, in UTC. Implies `safe`.
    """
    row = json.loads(line)
    cells = [
        f"{moment:%Y-%m-%d %H:%M:%S}"
        if excel and (moment := _time(name, value))
        else _cell(value, safe=safe or excel)
        for name, value in row.items()
    ]
    return (",".join(cells) + "\r\n").encode()


def write_csv(path: Path, lines: Iterable[bytes], *, sizes: bool, safe: bool, excel: bool = False) -> None:
    """Write lines of NDJSON as CSV, under a header."""
    with create_private(path, 0o666) as file:
        file.write(csv_header(sizes=sizes, excel=excel))
        file.writelines(to_csv_line(line, safe=safe, excel=excel) for line in lines)


def _time(name: str, value: str | None) -> datetime | None:
    if name in TIMES and value is not None:
        with suppress(OverflowError):  # in the first or last hours of the calendar
            return datetime.fromisoformat(value).astimezone(UTC)
    return None


def _cell(value: object, *, safe: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return to_json(value)
    text = replace_surrogates(value) if isinstance(value, str) else to_json(value)
    if safe and text.startswith(_FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"'
