"""Exports as a page; interruptions and hostile text are tested with the other formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export_helpers import names_in, page_segments

from braze_segments_async.export import export_segments

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
