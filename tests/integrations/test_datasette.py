"""The metadata for Datasette, served and opened in Chromium; run by `make recipes`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from cli_helpers import ROOT

from braze_segments_async import SegmentDetails
from braze_segments_async.export import to_json_line
from braze_segments_async.export._formats import write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif("RECIPES" not in os.environ, reason="run by make recipes")
METADATA = ROOT / "examples" / "datasette" / "metadata.json"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=alert(1)> VIP"
ROWS = [
    SegmentDetails(id="a", name=HOSTILE, description="Age is 7", tags=("crm",), estimated_size=5),
    SegmentDetails(id="b", name="Lapsed", description="Age is 7", tags=("crm", "web"), estimated_size=9),
    SegmentDetails(id="c", name="Tagless", description="Age is 8"),
]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Address of the database, served by Datasette with the metadata."""
    write_rows(path := tmp_path / "segments.sqlite", [to_json_line(row) for row in ROWS], "sqlite")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "datasette", str(path), "--metadata", str(METADATA), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    address = f"http://127.0.0.1:{port}/segments"
    for _ in range(300):
        try:
            urlopen(address).close()
            break
        except URLError:
            assert process.poll() is None, "Datasette has ended"
            time.sleep(0.1)
    yield address
    process.terminate()
    process.wait()


def test_canned_queries_and_views(url: str) -> None:
    """Each canned query, table and view of the metadata answers; the search finds tags, too."""
    database = json.loads(METADATA.read_text())["databases"]["segments"]
    found = {}
    for name in (*database["tables"], *database["queries"]):
        words = "&words=WEB" if name == "find" else ""
        with urlopen(f"{url}/{name}.json?_shape=array{words}") as response:  # noqa: S310 - this machine
            found[name] = json.load(response)
    assert [row["id"] for row in found["find"]] == ["b"]
    assert [row["id"] for row in found["largest"]] == ["b", "a"]
    assert found["tags"][0] == {"tag": "crm", "segments": 2, "users": 14}
    assert [row["ids"] for row in found["duplicate_filters"]] == ['["a","b"]']
    assert [row["id"] for row in found["untagged_segments"]] == ["c"]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_page_in_a_browser(url: str) -> None:
    """The pages have the titles of the metadata, and show a hostile name as text."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: make browser"
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        page.goto(url)
        page.get_by_role("link", name="Find segments").click()
        page.get_by_label("words").fill("vip")
        page.get_by_role("button", name="Run SQL").click()
        page.get_by_role("cell", name=HOSTILE).wait_for()
        page.goto(f"{url}/segments")
        assert "One row for each segment." in page.inner_text("body")
        if folder := os.environ.get("PICTURES"):
            page.screenshot(path=f"{folder}/datasette.png")
        browser.close()
    assert not dialogs
