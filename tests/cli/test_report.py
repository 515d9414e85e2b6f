"""`braze-segments report` in a subprocess."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli_helpers import run_command
from export_helpers import page_segments

from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async import BrazeSegments


async def test_report(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """The page has the segments of the file, and the changes since an earlier one in another format."""
    await export_segments(client, old := tmp_path / "old.csv")
    sandbox.rename(renamed := sandbox.segment_ids[3], "New name")
    await export_segments(client, new := tmp_path / "new.sqlite", sizes=2)
    before = len(sandbox.requests)
    command = ("report", str(new), "-o", str(page := tmp_path / "page.html"), "--previous", str(old))
    code, out, err = await run_command(sandbox, *command)
    assert (code, out, err) == (0, "", f"250 segments → {page}\n")
    assert len(sandbox.requests) == before
    rows = page_segments(page)
    assert {row["id"] for row in rows} == set(sandbox.segment_ids)
    assert all(len(row["sizes"]["values"]) == 2 for row in rows)
    assert f'"kind":"renamed","id":"{renamed}","name":"New name"' in page.read_text(encoding="utf-8")
    code, _, err = await run_command(sandbox, *command)
    assert (code, "--overwrite replaces it" in err) == (2, True)
    assert (await run_command(sandbox, *command, "--overwrite", "--quiet"))[::2] == (0, "")


async def test_wrong_use(tmp_path: Path) -> None:
    """A file that is no export exits 2, a page that cannot be written exits 1; both name the file."""
    (file := tmp_path / "a.ndjson").write_text("", encoding="utf-8")
    (other := tmp_path / "b.ndjson").write_text('{"a": 1}\n', encoding="utf-8")
    async with Sandbox(0) as sandbox:
        code, _, err = await run_command(sandbox, "report", str(other), "-o", str(tmp_path / "b.html"))
        assert (code, str(other) in err) == (2, True)
        missing = tmp_path / "missing" / "a.html"
        code, _, err = await run_command(sandbox, "report", str(file), "-o", str(missing))
        assert (code, str(missing) in err) == (1, True)
        assert (await run_command(sandbox, "report", str(file)))[0] == 2
