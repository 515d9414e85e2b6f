"""The file that `write_report` writes. The page itself is tested in tests/browser."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from datetime import UTC, date, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_helpers import catalogue, segment, sizes

from braze_segments_async import SizePoint
from braze_segments_async.catalogue import Catalogue, Provenance, write_report
from braze_segments_async.errors import ConfigError, ExportError

MAX_BYTES = 1_500_000  # of a page without segments


class Elements(HTMLParser):
    """The scripts and styles of a page, and all its attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.blocks: list[tuple[str | None, str]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember the attributes, and start a block."""
        self.attributes += attrs
        if tag in {"script", "style"}:
            self._open = dict(attrs).get("type") or tag
            self.blocks.append((self._open, ""))

    def handle_endtag(self, tag: str) -> None:
        """End a block."""
        if tag in {"script", "style"}:
            self._open = None

    def handle_data(self, data: str) -> None:
        """Add text to the open block."""
        if self._open:
            kind, text = self.blocks.pop()
            self.blocks.append((kind, text + data))


def parse(path: Path) -> Elements:
    """Parse a page."""
    elements = Elements()
    elements.feed(path.read_text(encoding="utf-8"))
    return elements


def data(path: Path) -> dict[str, Any]:
    """Return the data in a page."""
    (found,) = [text for kind, text in parse(path).blocks if kind == "application/json"]
    value: dict[str, Any] = json.loads(found)
    return value


def test_the_data(tmp_path: Path) -> None:
    """The page has the segments as JSON, with the names of their attributes and without empty values."""
    one = segment(
        1, text_description="note", teams=("A",), sizes=sizes(1, 2.6), analytics_tracking_enabled=False
    )
    provenance = Provenance(
        instance="rest.iad-01.braze.com",
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
        finished_at=datetime(2026, 3, 2, tzinfo=UTC),
        rows=2,
        failed=1,
        archived=0,
        recovered=0,
        consistency="safe",
        version="0.1.0",
    )
    two = segment(2, tags=(), description=None, updated_at=None, estimated_size=None)
    write_report(
        Catalogue(path=Path("/x/a.ndjson"), segments=(one, two), failed={"f": "why"}, provenance=provenance),
        path := tmp_path / "page.html",
    )
    found = data(path)
    assert (found["schema"], found["file"], found["failed"]) == (1, "a.ndjson", {"f": "why"})
    assert found["provenance"]["finished_at"] == "2026-03-02T00:00:00+00:00"
    assert found["segments"] == [
        {
            "id": "id-1",
            "name": "Segment 1",
            "description": "Session Count is more than 1",
            "text_description": "note",
            "tags": ["odd"],
            "teams": ["A"],
            "created_at": "2026-01-02T12:00:00+00:00",
            "updated_at": "2026-01-02T13:00:00+00:00",
            "estimated_size": 10,
            "analytics_tracking_enabled": False,
            "sizes": {"from": "2026-03-01", "values": [1, 3]},
        },
        {"id": "id-2", "name": "Segment 2", "created_at": "2026-01-03T12:00:00+00:00"},
    ]


def test_sizes_with_gaps(tmp_path: Path) -> None:
    """A size history with missing days has all its days; a number too large for JavaScript is unknown."""
    points = (SizePoint(date(2026, 3, 1), 1), SizePoint(date(2026, 3, 5), 10**400))
    write_report(catalogue(segment(1, sizes=points, estimated_size=10**400)), path := tmp_path / "page.html")
    (row,) = data(path)["segments"]
    assert row["sizes"] == {"times": ["2026-03-01", "2026-03-05"], "values": [1, 0]}
    assert "estimated_size" not in row


@given(
    st.text(st.characters(exclude_categories=[]), max_size=40)
    | st.sampled_from(["</script>", "<!--<script>"])
)
@settings(max_examples=50)
def test_any_text_is_preserved(text: str) -> None:
    """Any text comes back as it was, lone surrogates included, and does not end the element that it is in."""
    with TemporaryDirectory() as folder:
        write_report(
            catalogue(segment(1, id=text, name=text, tags=(text, "b"))), path := Path(folder) / "a.html"
        )
        (row,) = data(path)["segments"]
        assert (row["id"], row["name"], row["tags"]) == (text, text, [text, "b"])
        assert len(parse(path).blocks) == 3


def test_the_policy(tmp_path: Path) -> None:
    """The policy allows nothing but the script and the style that are in the page; no address is in it."""
    write_report(catalogue(count=2), path := tmp_path / "page.html")
    elements = parse(path)
    (policy,) = [value for _, value in elements.attributes if value and value.startswith("default-src")]
    for kind, text in elements.blocks:
        if kind != "application/json":
            digest = b64encode(sha256(text.encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [name for name, _ in elements.attributes if name.startswith("on") or name == "style"]
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in text
    assert path.stat().st_size < MAX_BYTES


def test_an_existing_file(tmp_path: Path) -> None:
    """An existing file is replaced only if asked; the exported file never is."""
    exported, page = tmp_path / "a.ndjson", tmp_path / "page.html"
    exported.write_text("exported", encoding="utf-8")
    page.write_text("old", encoding="utf-8")
    shown = catalogue(count=1, path=exported)
    with pytest.raises(ConfigError, match="exists: name a new file"):
        write_report(shown, page)
    assert page.read_text(encoding="utf-8") == "old"
    write_report(shown, page, overwrite=True)
    assert len(data(page)["segments"]) == 1
    for arguments in ((shown, exported), (catalogue(), exported, shown)):
        with pytest.raises(ConfigError, match="is the exported file"):
            write_report(*arguments, overwrite=True)
    assert exported.read_text(encoding="utf-8") == "exported"


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    """A page that cannot be written is an `ExportError` that names the path, and leaves nothing."""
    with pytest.raises(ExportError, match=r"cannot write .*page\.html: No such file"):
        write_report(catalogue(), tmp_path / "none" / "page.html")
    assert not list(tmp_path.iterdir())
