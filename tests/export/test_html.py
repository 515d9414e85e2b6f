"""Exports as a page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from export_helpers import names_in, requested_ids

from braze_segments_async.export import IncompleteExportError, export_segments
from braze_segments_async.sandbox import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async import BrazeSegments
    from braze_segments_async.sandbox import Sandbox


def segments(path: Path) -> list[dict[str, Any]]:
    """Return the segments in a page."""
    text = path.read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])[
        "segments"
    ]
    return found


async def test_export_as_a_page(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """An export to an .html file has every segment, with its details and its size history."""
    await export_segments(client, page := tmp_path / "a.html", sizes=3)
    rows = segments(page)
    assert {row["id"] for row in rows} == set(sandbox.segment_ids)
    details = sandbox.details(rows[0]["id"])
    assert rows[0]["name"] == details["name"]
    assert rows[0]["description"] == details["description"]
    assert all(len(row["sizes"]["values"]) == 3 for row in rows)
    assert names_in(page) == {"a.html"}


async def test_resume_a_page(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """An interrupted export to a page resumes: it asks for what is missing, and has the same segments."""
    await export_segments(client, whole := tmp_path / "whole.html")
    failing = sandbox.segment_ids[7]
    sandbox.inject(Answer(400), segment_id=failing, times=1)
    with pytest.raises(IncompleteExportError):
        await export_segments(client, page := tmp_path / "a.html")
    assert not page.exists()
    before = requested_ids(sandbox)
    result = await export_segments(client, page, resume=True)
    assert result.resumed == 249
    assert len(requested_ids(sandbox)) == len(before) + 1
    assert segments(page) == segments(whole)
