"""Exports of every format are read alike, compared, audited and followed; all known findings are found."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve, fields_dict
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import BrazeSegments, ConfigError, SizePoint
from braze_segments_async.catalogue import (
    RULES,
    Catalogue,
    CatalogueSegment,
    Provenance,
    audit,
    diff,
    history,
    read_catalogue,
)
from braze_segments_async.cli.app import app
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ALL = frozenset(set(fields_dict(CatalogueSegment)) - {"fields"})
texts = st.text(max_size=3)
names = st.lists(texts, max_size=3).map(tuple)
segments = st.builds(
    CatalogueSegment,
    id=st.text("abcdef", min_size=1, max_size=1),
    name=texts,
    description=st.none() | texts,
    tags=names,
    teams=names,
    estimated_size=st.none() | st.integers(0, 9),
    fields=st.just(ALL),
)
catalogues = st.builds(
    Catalogue, segments=st.lists(segments, max_size=5, unique_by=lambda each: each.id).map(tuple)
)


def _segment(segment_id: str, **values: Any) -> CatalogueSegment:
    """Return a segment in which no rule finds anything."""
    good: dict[str, Any] = {
        "name": f"Buyers {segment_id}",
        "description": f"filter {segment_id}",
        "text_description": "For the newsletter.",
        "tags": ("crm",),
        "teams": ("Growth",),
        "updated_at": NOW - timedelta(days=3),
        "estimated_size": 1_000,
        "analytics_tracking_enabled": True,
        "fields": ALL,
    }
    return CatalogueSegment(id=segment_id, **good | values)


def _series(*sizes: float) -> tuple[SizePoint, ...]:
    return tuple(SizePoint(date(2026, 10, 1) + timedelta(days=day), size) for day, size in enumerate(sizes))


def _catalogue(*found: CatalogueSegment, at: datetime = NOW, **values: Any) -> Catalogue:
    return Catalogue(segments=found, modified_at=at, **values)


PROVENANCE = Provenance(
    instance="rest.iad-01.braze.com",
    started_at=NOW,
    finished_at=NOW,
    rows=1,
    failed=1,
    archived=0,
    recovered=0,
    consistency="safe",
    version="1",
)


def _run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ending:
        app([str(argument) for argument in arguments])
    assert isinstance(ending.value.code, int)
    return ending.value.code, *capfd.readouterr()


async def test_every_format_is_read_alike(tmp_path: Path) -> None:
    """All formats give equal segments and failures; Parquet and SQLite know where they come from."""
    read = {}
    async with (
        Sandbox(30) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        sandbox.rename(sandbox.segment_ids[0], "=1+1; 'quoted' \"twice\"\n\u202e, \\ud83d")
        sandbox.inject(Answer(status=422), segment_id=sandbox.segment_ids[3], times=99)
        for suffix in ("ndjson", "csv", "parquet", "sqlite"):
            path = tmp_path / f"x [1]*.{suffix}"
            result = await export_segments(client, path, sizes=10, allow_partial=True)
            path = path.rename(tmp_path / f"odd #?{suffix}")  # the content names the format
            failures = path.with_name(f"{path.name}.failures.ndjson")
            (tmp_path / f"x [1]*.{suffix}.failures.ndjson").rename(failures)
            read[suffix] = read_catalogue(path)
            recorded = read[suffix].provenance
            assert recorded == (result.provenance if suffix in {"parquet", "sqlite"} else None)
        failing = sandbox.segment_ids[3]
    first = read["ndjson"]
    assert len(first.segments) == 29
    assert len(first.segments[0].sizes) == 10
    for catalogue in read.values():
        assert set(catalogue.failed) == {failing}
        assert catalogue.partial
        assert catalogue.segments == first.segments
    recorded = read["sqlite"].provenance
    assert recorded is not None
    assert (recorded.rows, recorded.failed, recorded.instance) == (29, 1, "127.0.0.1")
    assert recorded.options == {"sizes": 10}


def test_csv_of_a_spreadsheet(tmp_path: Path) -> None:
    """A byte order mark, semicolons and times without a zone are read; a cut row is refused."""
    path = tmp_path / "a.csv"
    text = 'id;name;created_at;analytics_tracking_enabled\r\na;"A;\nB";2026-01-02 03:04:05;TRUE\r\n'
    path.write_text(text, encoding="utf-8-sig", newline="")
    (segment,) = read_catalogue(path).segments
    assert (segment.name, segment.created_at) == ("A;\nB", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert segment.analytics_tracking_enabled is True
    assert segment.fields == {"id", "name", "created_at", "analytics_tracking_enabled"}
    path.write_text(text + "b;B\r\n", encoding="utf-8-sig", newline="")
    with pytest.raises(ConfigError, match="segment 2 is not one of an export"):
        read_catalogue(path)


@pytest.mark.parametrize("content", [b"SQLite format 3\0" + b"\xff" * 100, b"PAR1" + b"\0" * 100])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A damaged database and a damaged Parquet file are refused in one line."""
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x is not an export: [^\n]+$"):
        read_catalogue(tmp_path / "x")


def test_another_database_is_refused(tmp_path: Path) -> None:
    """A database without the tables of an export is refused."""
    with closing(sqlite3.connect(tmp_path / "x")) as database:
        database.execute("CREATE TABLE other (a)")
    with pytest.raises(ConfigError, match="x is not an export: no such table"):
        read_catalogue(tmp_path / "x")


def test_all_changes_are_found_and_nothing_else() -> None:
    """Each changed field is one change; changes within the threshold or the noise are none."""
    noisy = _series(*(1_000, 600, 1_400) * 5)
    calm = _series(*[1_000, 1_001, 999] * 5)
    old = _catalogue(
        _segment("a"), _segment("b"), _segment("c"), _segment("d", sizes=noisy), _segment("e", sizes=calm)
    )
    new = _catalogue(
        _segment("a", teams=(), analytics_tracking_enabled=False),
        _segment("b", estimated_size=790),
        _segment("c", estimated_size=810),
        _segment("d", sizes=noisy, estimated_size=600),
        _segment("e", sizes=calm, estimated_size=600),
    )
    found = diff(old, new)
    assert [(each.kind, each.id, each.before, each.after) for each in found] == [
        ("teams", "a", ("Growth",), ()),
        ("tracking", "a", True, False),
        ("size", "b", 1_000, 790),
        ("size", "e", 1_000, 600),
    ]
    assert not diff(old, evolve(new, segments=new.segments[1:4]), size_change=None)[2:]
    assert [each.id for each in diff(old, new, size_change=0.1) if each.kind == "size"] == ["b", "c", "e"]
    for wrong in ({"by": "x"}, {"size_change": -1}):
        with pytest.raises(ConfigError):
            diff(old, new, **wrong)


def test_two_workspaces_are_compared_by_name() -> None:
    """By name, ids and sizes may differ; of two segments with one name, those with equal filters match."""
    old = _catalogue(
        _segment("1", name="A", description="x"),
        _segment("2", name="A", description="y"),
        _segment("3", name="B"),
    )
    new = _catalogue(
        _segment("7", name="A", description="y", estimated_size=1),
        _segment("8", name="A", description="z"),
        _segment("9", name="C"),
    )
    assert [(each.kind, each.id) for each in diff(old, new, by="name")] == [
        ("description", "8"),
        ("added", "9"),
        ("removed", "3"),
    ]
    failed = evolve(new, failed={"10": "x"})  # its name is not known, so it may be B
    assert [(each.kind, each.id) for each in diff(old, failed, by="name")][2:] == [
        ("unknown", "3"),
        ("unknown", "10"),
    ]


def test_a_partial_file_without_its_list_of_failures() -> None:
    """If a file says that segments failed and the list is missing, a missing segment is unknown."""
    old = _catalogue(_segment("a"), _segment("b"))
    new = _catalogue(_segment("a"), provenance=PROVENANCE)
    assert new.partial
    assert [(each.kind, each.id) for each in diff(old, new)] == [("unknown", "b")]


@given(catalogues, catalogues)
def test_a_diff_is_symmetric(old: Catalogue, new: Catalogue) -> None:
    """Nothing differs from itself, and what is added in one direction is removed in the other."""
    assert not diff(old, old)
    assert not diff(old, old, by="name")
    swapped = {"added": "removed", "removed": "added"}
    forth = {(swapped.get(each.kind, each.kind), each.id) for each in diff(old, new, size_change=0)}
    assert forth == {(each.kind, each.id) for each in diff(new, old, size_change=0)}


FINDINGS = {
    "same-filters": [("b", "c")],
    "copy-name": [("d",), ("e",)],
    "test-name": [("f",)],
    "stale": [("g",)],
    "no-tags": [("h",)],
    "no-note": [("i",)],
    "no-team": [("j",)],
    "size-zero": [("k",)],
    "size-unknown": [("l",)],
    "shrinking": [("m",)],
    "name-pattern": [("n",)],
}
SEEDED = _catalogue(
    _segment("a", name="Buyers contest A/B test, latest copywriting"),
    _segment("b", description="same  filters"),
    _segment("c", description="same filters "),
    _segment("d", name="Buyers d (copy 2)"),
    _segment("e", name="Copy of Buyers"),
    _segment("f", name="Buyers_TEST_2"),
    _segment("g", updated_at=NOW - timedelta(days=365)),
    _segment("h", tags=()),
    _segment("i", text_description=" "),
    _segment("j", teams=()),
    _segment("k", estimated_size=0),
    _segment("l", estimated_size=None),
    _segment("m", sizes=_series(*range(1_000, 600, -20))),
    _segment("n", name="customers"),
    _segment("o", sizes=_series(*[1_000, 700, 1_300] * 6, 700, 800), updated_at=NOW - timedelta(days=364)),
)


def test_all_findings_are_found_and_nothing_else() -> None:
    """Each rule finds its seeded segments and no other; a rule can be chosen."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for finding in audit(SEEDED, name_pattern="Buyers"):
        found.setdefault(finding.rule, []).append(tuple(each.id for each in finding.segments))
        assert finding.why.endswith(".")
        assert "unused" not in finding.why + finding.check
    assert found == FINDINGS
    assert tuple(found) == RULES
    assert [each.rule for each in audit(SEEDED, ["stale"])] == ["stale"]
    for wrong in ({"rules": ["no"]}, {"rules": ["name-pattern"]}, {"name_pattern": "("}, {"stale_days": 0}):
        with pytest.raises(ConfigError):
            audit(SEEDED, **wrong)


def test_fields_that_a_file_lacks_are_not_audited() -> None:
    """The output of `list` has no filters, notes, teams and sizes, so nothing is said about them."""
    listed = CatalogueSegment(id="a", name="A", tags=("x",), fields=frozenset({"id", "name", "tags"}))
    assert not audit(Catalogue(segments=(listed,)))


@given(catalogues)
def test_an_audit_names_only_segments_of_the_file(catalogue: Catalogue) -> None:
    """Findings name segments of the catalogue, each once in a finding."""
    for finding in audit(catalogue, as_of=NOW):
        ids = [each.id for each in finding.segments]
        assert ids
        assert len(ids) == len(set(ids))
        assert set(ids) <= {each.id for each in catalogue.segments}


def test_history_skips_exports_in_which_a_segment_failed() -> None:
    """Changes come newest first; a failed segment is compared with the last export that has it."""
    days = [NOW + timedelta(days=day) for day in range(4)]
    exports = [
        _catalogue(_segment("a"), _segment("b"), at=days[0]),
        _catalogue(_segment("b"), at=days[1], failed={"a": "x"}),
        _catalogue(_segment("a", name="A2"), _segment("b", tags=()), at=days[2]),
        _catalogue(_segment("b", tags=()), at=days[3]),
    ]
    found = history(reversed(exports))
    assert [(each.change.kind, each.change.id, each.since, each.seen_at) for each in found] == [
        ("removed", "a", days[2], days[3]),
        ("renamed", "a", days[0], days[2]),
        ("tags", "b", days[1], days[2]),
    ]
    assert [each.change.kind for each in history(exports, segment="b")] == ["tags"]
    with pytest.raises(ConfigError, match="two exports have the same time"):
        history([exports[0], exports[0]])
    with pytest.raises(ConfigError, match="the time of a catalogue is not known"):
        history([evolve(exports[0], modified_at=None)])


def test_all_rows_of_an_audit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Of each rule ten rows are printed, and the number of the others; all of them with --all."""
    path = tmp_path / "a.ndjson"
    path.write_text("".join(f'{{"id":"{number}","name":"test {number}"}}\n' for number in range(12)))
    code, printed, _ = _run(capfd, "audit", path, "--rule", "test-name")
    assert code == 1
    assert "test 9 (9)" in printed
    assert "test 10 (10)" not in printed
    assert "and 2 more: --all prints them, --json too" in printed
    code, printed, _ = _run(capfd, "audit", path, "--rule", "test-name", "--all")
    assert code == 1
    assert "test 11 (11)" in printed
    assert " more" not in printed


def test_the_command_audit(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`audit` exits 1 with findings, names their ids, and says that they are candidates in a partial file."""
    file = tmp_path / "a.ndjson"
    rows = [{"id": f"id-{n}", "name": f"Copy of \x1b[2J*{n}*", "tags": []} for n in range(15)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "a.ndjson.failures.ndjson").write_text('{"segment_id": "x"}\n')
    code, out, err = _run(capfd, "audit", file)
    assert (code, err) == (1, "")
    assert "is partial: 1 segment could not be fetched" in out
    assert "no-tags: 15 segments" in out
    assert "candidates" in out
    assert out.replace("\n", "").isprintable()
    code, out, err = _run(capfd, "audit", file, "--json", "--rule", "copy-name", "--exit-zero")
    assert code == 0
    assert [json.loads(line)["segments"][0]["id"] for line in out.splitlines()] == [row["id"] for row in rows]
    assert "is partial" in err
    code, out, _ = _run(capfd, "audit", file, "--markdown", "--rule", "no-tags")
    assert code == 1
    assert r"- Copy of \\x1b\[2J\*0\* (id-0)" in out
    code, out, err = _run(capfd, "audit", file, "--rule", "no-such")
    assert (code, out) == (2, "")
    assert "--rule must be " in err


def test_the_commands_diff_and_history(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`diff --markdown` prints a list, `history` the changes of a segment given by its id or name."""
    old, new = tmp_path / "old.ndjson", tmp_path / "new.ndjson"
    old.write_text('{"id": "a", "name": "A", "estimated_size": 10, "tags": ["x"]}\n')
    new.write_text(
        '{"id": "a", "name": "*B*", "estimated_size": 20, "tags": ["y"]}\n{"id": "c", "name": "C"}\n'
    )
    code, out, _ = _run(capfd, "diff", old, new, "--markdown")
    assert code == 1
    assert "**Segments: 1 renamed, 1 tags changed, 1 size changed, 1 added**" in out
    assert r"- **renamed** \*B\* (a): A → \*B\*" in out
    assert _run(capfd, "diff", old, new, "--size-change", "150%")[1].count("size") == 0
    assert _run(capfd, "diff", old, new, "--size-change", "much")[0] == 2
    assert _run(capfd, "diff", old, new, "--by", "name", "--json")[0] == 1
    for segment in ("a", "A"):
        code, out, _ = _run(capfd, "history", old, new, "--segment", segment, "--json")
        assert [json.loads(line)["kind"] for line in out.splitlines()] == ["renamed", "tags", "size"]
        assert code == 0
    assert "+ added    C  (c)" in _run(capfd, "history", old, new)[1]
    assert _run(capfd, "history", old)[0] == 2
    assert _run(capfd, "history", old, new, "--segment", "none")[0] == 2


async def test_the_views_of_sqlite(tmp_path: Path) -> None:
    """The views find stale, duplicate and untagged segments and trends; tags are in the full-text index."""
    path = tmp_path / "a.sqlite"
    async with (
        Sandbox(60) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        await export_segments(client, path, sizes=10)
    catalogue = read_catalogue(path)
    with closing(sqlite3.connect(path)) as database:
        (stale, untagged) = (
            {row[0] for row in database.execute(f"SELECT id FROM {view}")}  # noqa: S608 - fixed names
            for view in ("stale_segments", "untagged_segments")
        )
        for rule, view in (("stale", stale), ("no-tags", untagged)):
            findings = audit(catalogue, [rule], as_of=datetime.now(UTC))
            assert {each.id for finding in findings for each in finding.segments} == view
        trend = database.execute("SELECT id, first_size, last_size FROM size_trend").fetchall()
        assert {row[0]: row[1:] for row in trend} == {
            each.id: (each.sizes[0].size, each.sizes[-1].size) for each in catalogue.segments if each.sizes
        }
        groups = database.execute("SELECT ids FROM duplicate_filters").fetchall()
        assert {frozenset(json.loads(ids)) for (ids,) in groups} == {
            frozenset(each.id for each in finding.segments) for finding in audit(catalogue, ["same-filters"])
        }
        tagged = {each.name for each in catalogue.segments if "loyalty" in each.tags}
        query = "SELECT name FROM segments_fts WHERE segments_fts MATCH 'tags: loyalty'"
        assert {name for (name,) in database.execute(query)} == tagged
