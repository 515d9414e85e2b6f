"""The formats of exports: columns, types, the order of rows, and text that is preserved exactly."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from attrs import evolve
from export_helpers import FORMATS, content, names_in, page_segments
from hypothesis import given, settings
from hypothesis import strategies as st

from braze_segments_async import BrazeSegments, ConfigError, SegmentDetails, SizePoint
from braze_segments_async.export import Format, csv_header, export_segments, to_csv_line, to_json_line
from braze_segments_async.export._formats import write_rows
from braze_segments_async.export._options import format_of
from braze_segments_async.sandbox import Answer, Sandbox

HOSTILE = [
    'commas, "quotes" and; semicolons',
    "line\nbreaks\r\nof every\rkind\u2028and\x0bmore",
    "=cmd|' /C calc'!A0",
    "emoji 👩‍👩‍👧‍👦 🔥 and e\u0301",
    "שלום \u202eright to left\u202c مرحبا",
    "\x00nul \x1b[31mescape\x07 tab\t",
    "",
    " spaces ",
    "NULL",
    "1e5",
    "\\u0041 \\ud83d \\N",
]
ONE = SegmentDetails(
    id="a",
    name="One",
    description="of them",
    tags=("x", "y, z"),
    created_at=datetime(2026, 7, 16, 19, 55, 53, 120000, UTC),
    updated_at=datetime.fromisoformat("2026-07-16T21:55:53+02:00"),
    estimated_size=12,
    analytics_tracking_enabled=False,
    extra={"id": "0a", "new": [1, None]},
)
SIZES = [SizePoint(date(2026, 7, 15), 7), SizePoint(date(2026, 7, 16), 8.5)]
# Includes lone surrogates and control characters, which every format must accept.
texts = st.text(st.characters(exclude_categories=[]), max_size=20)


def write_and_read(
    kind: Format, *rows: SegmentDetails, sizes: list[SizePoint] | None = None, safe: bool = False
) -> Any:
    """Write the rows to a file of the format, and return the rows read from it."""
    lines = [to_json_line(details, sizes=sizes) for details in rows]
    with TemporaryDirectory() as folder:
        # A name that DuckDB could parse as a pattern or as the end of a string.
        path = Path(folder, "it's [a] *?.file")
        write_rows(path, lines, kind, sizes=sizes is not None, csv_safe=safe)
        assert [left.name for left in Path(folder).iterdir()] == [path.name]
        return read(kind, path)


def read(kind: Format, path: Path) -> Any:
    """Return the rows of a file."""
    match kind:
        case "ndjson":
            return [json.loads(line) for line in path.read_bytes().splitlines()]
        case "csv":
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        case "html":
            return [
                {"text_description": "", **row} for row in page_segments(path)
            ]  # empty values are left out
        case "sqlite":
            with closing(sqlite3.connect(path)) as database:
                database.row_factory = sqlite3.Row
                return [dict(row) for row in database.execute("SELECT * FROM segments ORDER BY rowid")]
        case "parquet":
            # Read under another name, because DuckDB parses brackets as a pattern.
            plain = path.with_name("plain.parquet")
            plain.hardlink_to(path)
            # Return times as numbers, because times with a zone need another package.
            query = """
                SELECT * EXCLUDE (estimated_size_updated_at)
                         REPLACE (epoch_us(created_at) AS created_at, epoch_us(updated_at) AS updated_at)
                FROM read_parquet($path)"""
            with duckdb.connect() as database:
                table = database.execute(query, {"path": str(plain)})
                names = [column[0] for column in table.description or ()]
                return [dict(zip(names, row, strict=True)) for row in table.fetchall()]


def escape_surrogates(text: str) -> str:
    """Return a text with escaped surrogates, as in all formats except NDJSON."""
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.ndjson", "ndjson"),
        ("a.jsonl", "ndjson"),
        ("a.b.CSV", "csv"),
        ("a.parquet", "parquet"),
        ("a.sqlite", "sqlite"),
        ("a.db", "sqlite"),
        ("a.html", "html"),
        ("a.xlsx", "xlsx"),
    ],
)
def test_the_suffix_selects_the_format(name: str, kind: str) -> None:
    """The suffix selects the format in any letter case; `format` overrides it."""
    assert format_of(Path(name)) == kind
    assert format_of(Path(name), "csv") == "csv"


@pytest.mark.parametrize("name", ["a", "a.json", "a.csv.gz", ".csv"])
def test_an_unknown_suffix_is_refused(name: str) -> None:
    """An unknown suffix is refused, and the error lists the known ones."""
    with pytest.raises(ConfigError, match=r"names no format; use one of \.ndjson, .*\.xlsx; format= chooses"):
        format_of(Path(name))
    assert format_of(Path(name), "sqlite") == "sqlite"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet", "sqlite"])
def test_every_format_preserves_special_characters(kind: Format, text: str) -> None:
    """Special characters in names, notes, tags and teams are preserved."""
    segment = evolve(ONE, name=text, text_description=text, tags=(text, "b"), teams=(text,))
    (row,) = write_and_read(kind, segment, sizes=[])
    assert (row["name"], row["text_description"]) == (text, text)
    tags, teams = row["tags"], row["teams"]
    if kind in {"csv", "sqlite"}:
        tags, teams = json.loads(tags), json.loads(teams)
    assert (tags, teams) == ([text, "b"], [text])


@pytest.mark.parametrize("kind", ["ndjson", "csv", "sqlite"])
@given(name=texts, tag=texts, key=texts)
@settings(max_examples=60)
def test_any_text_is_preserved(kind: Format, name: str, tag: str, key: str) -> None:
    """Any text is preserved; lone surrogates are preserved in NDJSON and escaped in the other formats."""
    (row,) = write_and_read(kind, evolve(ONE, name=name, tags=(tag,), extra={key: tag}))
    if kind == "ndjson":
        assert (row["name"], row["tags"], row["extra"]) == (name, [tag], {key: tag})
    else:
        assert row["name"] == escape_surrogates(name)
        assert json.loads(row["tags"]) == [tag]
        assert json.loads(row["extra"]) == {key: tag}


@given(st.lists(texts, min_size=1, max_size=30))
@settings(max_examples=10)
def test_any_text_is_preserved_in_parquet(names: list[str]) -> None:
    """Any text is preserved in Parquet, except for lone surrogates, which are escaped."""
    rows = write_and_read("parquet", *[evolve(ONE, name=name, tags=(name,)) for name in names])
    assert [row["name"] for row in rows] == [escape_surrogates(name) for name in names]
    assert [row["tags"] for row in rows] == [[escape_surrogates(name)] for name in names]


def test_ndjson_columns() -> None:
    """An NDJSON line has the fields of `SegmentDetails` in order, then the sizes; times have an offset."""
    assert to_json_line(ONE, sizes=SIZES).decode() == (
        '{"id":"a","name":"One","description":"of them","text_description":null,"tags":["x","y, z"],'
        '"teams":[],"created_at":"2026-07-16T19:55:53.120000+00:00","updated_at":"2026-07-16T21:55:53+02:00",'
        '"estimated_size":12,"estimated_size_updated_at":null,"analytics_tracking_enabled":false,'
        '"extra":{"id":"0a","new":[1,null]},"sizes":[{"time":"2026-07-15","size":7},'
        '{"time":"2026-07-16","size":8.5}]}\n'
    )


def test_csv_columns() -> None:
    """CSV quotes text and writes lists as JSON; a missing value is an empty cell, empty text a quoted one."""
    assert csv_header() == (
        b"id,name,description,text_description,tags,teams,created_at,updated_at,estimated_size,"
        b"estimated_size_updated_at,analytics_tracking_enabled,extra\r\n"
    )
    assert csv_header(sizes=True).endswith(b",extra,sizes\r\n")
    assert to_csv_line(to_json_line(evolve(ONE, name=""), sizes=SIZES[:1])).decode() == (
        '"a","","of them",,"[""x"",""y, z""]","[]","2026-07-16T19:55:53.120000+00:00",'
        '"2026-07-16T21:55:53+02:00",12,,false,"{""id"":""0a"",""new"":[1,null]}",'
        '"[{""time"":""2026-07-15"",""size"":7}]"\r\n'
    )


def test_csv_for_excel() -> None:
    """`excel` adds a byte order mark and the apostrophes of `csv_safe`, and writes times without a T."""
    assert csv_header(excel=True) == b"\xef\xbb\xbf" + csv_header()
    row = evolve(ONE, name="=1+1", description="a;b", created_at=None)
    id_, name, description, *_ = to_csv_line(to_json_line(row), excel=True).decode().split(",")
    assert (id_, name, description) == ('"a"', '"\'=1+1"', '"a;b"')
    assert ',"[]",,2026-07-16 19:55:53,12,,false,' in to_csv_line(to_json_line(row), excel=True).decode()
    early = evolve(ONE, updated_at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))))
    assert b',"0001-01-01T00:00:00+02:00",12,' in to_csv_line(to_json_line(early), excel=True)


@pytest.mark.parametrize("first", "=+-@\t\r")
def test_csv_safe_escapes_formulas(first: str) -> None:
    """`csv_safe` adds an apostrophe to text that a spreadsheet would evaluate, and to no other text."""
    row = evolve(ONE, name=f"{first}1+1", description=f"a{first}b", estimated_size=-1)
    (cells,) = write_and_read("csv", row, safe=True)
    assert (cells["name"], cells["description"]) == (f"'{first}1+1", f"a{first}b")
    assert cells["estimated_size"] == "-1"
    (cells,) = write_and_read("csv", row)
    assert cells["name"] == f"{first}1+1"


def test_parquet_columns_are_typed(tmp_path: Path) -> None:
    """Parquet has times with a zone, lists, integers and dates; unknown fields are JSON in `extra`."""
    path = tmp_path / "a.parquet"
    write_rows(path, [to_json_line(ONE, sizes=SIZES)], "parquet", sizes=True)
    with duckdb.connect() as database:
        columns = database.execute("DESCRIBE FROM read_parquet($path)", {"path": str(path)}).fetchall()
    assert {name: kind for name, kind, *_ in columns} == {
        "id": "VARCHAR",
        "name": "VARCHAR",
        "description": "VARCHAR",
        "text_description": "VARCHAR",
        "tags": "VARCHAR[]",
        "teams": "VARCHAR[]",
        "created_at": "TIMESTAMP WITH TIME ZONE",
        "updated_at": "TIMESTAMP WITH TIME ZONE",
        "estimated_size": "BIGINT",
        "estimated_size_updated_at": "TIMESTAMP WITH TIME ZONE",
        "analytics_tracking_enabled": "BOOLEAN",
        "extra": "VARCHAR",
        "sizes": 'STRUCT("time" DATE, size BIGINT)[]',
    }


def test_parquet_values() -> None:
    """Parquet converts times to UTC exactly, and sizes to integers."""
    (row,) = write_and_read("parquet", ONE, sizes=SIZES)
    assert row["created_at"] == 1784231753_120000
    assert row["updated_at"] == 1784231753_000000
    assert (row["estimated_size"], row["text_description"], row["teams"]) == (12, None, [])
    assert row["analytics_tracking_enabled"] is False
    assert json.loads(row["extra"]) == ONE.extra
    assert row["sizes"] == [
        {"time": date(2026, 7, 15), "size": 7},
        {"time": date(2026, 7, 16), "size": 8},
    ]
    assert write_and_read("parquet", sizes=[]) == []


def test_parquet_in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows keep their order if they are passed to DuckDB in several files."""
    monkeypatch.setattr("braze_segments_async.export._formats.parquet._PIECE", 10_000)
    names = [str(number) for number in range(5_000)]
    rows = write_and_read("parquet", *[evolve(ONE, name=name) for name in names])
    assert [row["name"] for row in rows] == names


def test_sqlite_tables(tmp_path: Path) -> None:
    """Tags and sizes have tables with foreign keys; names and descriptions have a full-text index."""
    path = tmp_path / "a.db"
    two = evolve(ONE, id="b", name="Zwei Käufer", tags=("x", "x"), estimated_size=10**30)
    lines = [to_json_line(ONE, sizes=SIZES), to_json_line(two, sizes=[])]
    write_rows(path, lines, "sqlite", sizes=True)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert database.execute("SELECT * FROM segment_tags").fetchall() == [
            ("a", "x"),
            ("a", "y, z"),
            ("b", "x"),
        ]
        assert database.execute("SELECT * FROM segment_sizes").fetchall() == [
            ("a", "2026-07-15", 7),
            ("a", "2026-07-16", 8.5),
        ]
        found = database.execute("SELECT name FROM segments_fts WHERE segments_fts MATCH 'kaufer'")
        assert found.fetchall() == [("Zwei Käufer",)]
        assert database.execute("SELECT estimated_size FROM segments").fetchall() == [(12,), (1e30,)]
        # The query with which Datasette finds the full-text index of a table.
        detected = """
            SELECT name FROM sqlite_master WHERE rootpage = 0 AND sql LIKE '%USING FTS%content="segments"%'
            """
        assert database.execute(detected).fetchall() == [("segments_fts",)]
        keys = database.execute("PRAGMA foreign_key_list(segment_tags)").fetchall()
        assert keys[0][2:5] == ("segments", "segment_id", "id")


@pytest.mark.parametrize(("kind", "suffix"), [each for each in FORMATS.items() if each[0] != "xlsx"])
async def test_two_exports_of_the_same_data_are_equal(
    client: BrazeSegments, tmp_path: Path, kind: Format, suffix: str
) -> None:
    """Exports of the same data have equal bytes, or rows in SQLite, ordered by the time of creation."""
    await export_segments(client, one := tmp_path / f"one{suffix}", sizes=3)
    await export_segments(
        client, two := tmp_path / f"two{suffix}", sizes=3, concurrency=3, consistency="strict"
    )
    assert content(one) == content(two)
    rows = read(kind, one)
    assert len(rows) == 250
    assert [row["created_at"] for row in rows] == sorted(row["created_at"] for row in rows)


async def test_the_order_of_rows(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """Rows are ordered by the time of creation, then by id; rows without a time are last."""
    ids = sorted(sandbox.segment_ids)[:5]
    dates = [None, "2020-01-01T02:00:00+02:00", "2020-01-01", "2020-01-01T00:00:00-01:00", "1969-01-01"]
    for segment_id, created in zip(ids, dates, strict=True):
        body = {**sandbox.details(segment_id), "message": "success", "created_at": created}
        sandbox.inject(Answer(body=body), segment_id=segment_id)
    for segment_id in set(sandbox.segment_ids) - set(ids):
        sandbox.archive(segment_id)
    await export_segments(client, target := tmp_path / "a.ndjson")
    assert [row["id"] for row in read("ndjson", target)] == [ids[4], ids[1], ids[2], ids[3], ids[0]]


async def test_parquet_without_duckdb(
    sandbox: Sandbox, client: BrazeSegments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without DuckDB, the error says what to install, before any request."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match=r'pip install "braze-segments-async\[parquet\]"'):
        await export_segments(client, tmp_path / "a.parquet")
    assert not sandbox.requests
    assert not names_in(tmp_path / "a.parquet")


@pytest.mark.parametrize("option", ["csv_safe", "excel"])
async def test_options_of_csv(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path, option: str) -> None:
    """`csv_safe` and `excel` are refused for other formats."""
    with pytest.raises(ConfigError, match=f"{option} is for CSV, and this export is parquet"):
        await export_segments(client, tmp_path / "a.parquet", **{option: True})  # type: ignore[arg-type]
    assert not sandbox.requests
