"""`diff` reports a segment that failed in an export as unknown, not as removed or added."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from braze_segments_async import BrazeSegments, ConfigError
from braze_segments_async.catalogue import Change
from braze_segments_async.catalogue._read import read_failures
from braze_segments_async.cli.app import app
from braze_segments_async.cli.commands.diff import change_text, summary
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path


def _write(path: Path, ids: str, *, failed: str | None = None) -> Path:
    """Write an export whose segments have the letters as ids, and the list of the failed segments."""
    path.write_text("".join(f'{{"id": "{letter}", "name": "{letter.upper()}"}}\n' for letter in ids))
    if failed is not None:
        lines = [f"{json.dumps({'segment_id': letter})}\n" for letter in failed]
        path.with_name(f"{path.name}.failures.ndjson").write_text("".join(lines))
    return path


def _diff(*arguments: str | Path) -> int:
    """Run the command in this process, and return its exit code."""
    with pytest.raises(SystemExit) as ending:
        app(["diff", *map(str, arguments)])
    assert isinstance(ending.value.code, int)
    return ending.value.code


@pytest.mark.parametrize("suffix", [".ndjson", ".csv"])
def test_a_segment_that_failed_is_unknown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str
) -> None:
    """A segment that failed in one export is unknown; an archived segment is removed or added."""
    whole, partial = tmp_path / f"whole{suffix}", tmp_path / f"partial{suffix}"

    async def export() -> tuple[str, str]:
        async with Sandbox(6) as sandbox:
            failing, archived = sandbox.segment_ids[3], sandbox.segment_ids[5]
            async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
                await export_segments(client, whole)
                sandbox.archive(archived)
                sandbox.inject(Answer(status=422), segment_id=failing)
                await export_segments(client, partial, allow_partial=True)
        return failing, archived

    failing, archived = asyncio.run(export())
    for old, new, other in ((whole, partial, "removed"), (partial, whole, "added")):
        assert _diff(old, new, "--json") == 1
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert {line["id"]: line["kind"] for line in lines} == {failing: "unknown", archived: other}
        assert all(line["name"] for line in lines)
        assert _diff(old, new) == 1
        assert capfd.readouterr().out.splitlines()[-1] in {f"1 unknown, 1 {other}", f"1 {other}, 1 unknown"}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (("ab", ""), ("a", "b"), ["unknown b B"]),
        (("a", "b"), ("ab", ""), ["unknown b B"]),
        (("a", "b"), ("a", "b"), ["unknown b "]),  # in neither export, so its name is unknown
        (("a", "b"), ("a", None), ["unknown b "]),
        (("a", None), ("a", "b"), ["unknown b "]),
        (("ab", None), ("a", "c"), ["removed b B", "unknown c "]),
        (("a", "c"), ("ab", None), ["added b B", "unknown c "]),
        (("ab", "b"), ("a", ""), ["removed b B"]),  # the list of failures is older than the export
        (("ab", "b"), ("ab", "b"), []),
        (("ab", ""), ("ab", None), []),
    ],
)
def test_failed_segments_of_both_sides(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    old: tuple[str, str | None],
    new: tuple[str, str | None],
    changes: list[str],
) -> None:
    """Only failed segments are unknown; unknown segments are differences, so the exit code is 1."""
    files = [
        _write(tmp_path / f"{number}.ndjson", ids, failed=failed)
        for number, (ids, failed) in enumerate((old, new))
    ]
    assert _diff(*files, "--json") == (1 if changes else 0)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [f"{line['kind']} {line['id']} {line['name']}" for line in lines] == changes


def test_an_unknown_segment_as_text() -> None:
    """An unknown segment is marked with a question mark, and shown without a name if it has none."""
    assert change_text(Change("unknown", "b", "B")) == "? unknown  B  (b)"
    assert change_text(Change("unknown", "b", "")) == "? unknown  (b)"
    assert summary([Change("unknown", "b", "B")]) == "1 unknown"


def test_through_a_link(tmp_path: Path) -> None:
    """`diff` finds the failures of a linked export beside the target of the link, where they are written."""
    (tmp_path / "files").mkdir()
    old = _write(tmp_path / "old.ndjson", "ab")
    _write(tmp_path / "files" / "new.ndjson", "a", failed="b")
    (new := tmp_path / "new.ndjson").symlink_to(tmp_path / "files" / "new.ndjson")
    assert read_failures(old) == {}
    assert read_failures(new) == {"b": ""}


@pytest.mark.parametrize("line", ["not json", "[1]", "7", "{}", '{"segment_id": 7}', "[" * 100_000, "\udcff"])
def test_a_damaged_list_of_failures_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], line: str
) -> None:
    """A damaged list of failures exits 2 with one line that names the file and the line."""
    old, new = _write(tmp_path / "old.ndjson", "ab"), _write(tmp_path / "new.ndjson", "a", failed="b")
    with (tmp_path / "new.ndjson.failures.ndjson").open("a", errors="surrogateescape") as failures:
        failures.write(line)
    assert _diff(old, new) == 2
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "new.ndjson.failures.ndjson: line 2 does not name a failed segment" in err


def test_a_list_of_failures_that_cannot_be_read(tmp_path: Path) -> None:
    """An unreadable list of failures is refused; a file name too long for such a list has no failures."""
    export = _write(tmp_path / "new.ndjson", "a")
    (tmp_path / "new.ndjson.failures.ndjson").mkdir()
    with pytest.raises(ConfigError, match=r"^cannot read .*new\.ndjson\.failures\.ndjson: "):
        read_failures(export)
    assert read_failures(_write(tmp_path / ("x" * 248 + ".ndjson"), "a")) == {}
