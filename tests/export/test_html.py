"""Exports as a page; interruptions and hostile text are tested with the other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export_helpers import names_in, page_segments

from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async import BrazeSegments
    from braze_segments_async.sandbox import Sandbox


async def test_export_as_a_page(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """An export to an .html file has every segment, with its details and its size history."""
    await export_segments(client, page := tmp_path / "a.html", sizes=3)
    rows = page_segments(page)
    assert {row["id"] for row in rows} == set(sandbox.segment_ids)
    details = sandbox.details(rows[0]["id"])
    assert rows[0]["name"] == details["name"]
    assert rows[0]["description"] == details["description"]
    assert all(len(row["sizes"]["values"]) == 3 for row in rows)
    assert names_in(page) == {"a.html"}


async def test_a_partial_page(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """The page of a partial export says how many segments are missing, and where the data comes from."""
    sandbox.inject(Answer(400), segment_id=sandbox.segment_ids[3])
    await export_segments(client, page := tmp_path / "a.html", allow_partial=True)
    text = page.read_text(encoding="utf-8")
    assert '"provenance":{"instance":"127.0.0.1",' in text
    assert '"rows":249,"failed":1,' in text
    assert names_in(page) == {"a.html", "a.html.failures.ndjson"}
