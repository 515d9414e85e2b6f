"""Measure how fast the page of `write_report` is written, opens, scrolls and searches in headless Chromium.

Prints a Markdown table. Needs Playwright and a browser: `make browser` installs the first.
"""

from __future__ import annotations

import argparse
import shutil
import time
from datetime import date, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from attrs import fields_dict
from playwright.sync_api import sync_playwright

from braze_segments_async import SizePoint
from braze_segments_async.catalogue import Catalogue, CatalogueSegment, write_report
from braze_segments_async.sandbox._workspace import Workspace

_DAYS, _UNTIL = 90, date(2026, 11, 23)
_FIELDS = frozenset(fields_dict(CatalogueSegment)) - {"fields"}
# Three seconds of fast scrolling: the time of each frame in ms, in order.
_SCROLL = """async () => {
    document.getElementById("catalogue").scrollIntoView();
    const frames = [];
    let last = performance.now();
    for (const end = last + 3000; last < end;) {
        scrollBy(0, 400);
        const now = await new Promise(requestAnimationFrame);
        frames.push(now - last);
        last = now;
    }
    return frames.slice(2).sort((a, b) => a - b);
}"""
# The first search also prepares the text of all segments.
_SEARCH = """async (words) => {
    const [search, count] = ["search", "count"].map(id => document.getElementById(id));
    const [start, before] = [performance.now(), count.textContent];
    search.value = words;
    search.dispatchEvent(new Event("input"));
    while (count.textContent === before) await new Promise(done => setTimeout(done, 1));
    return performance.now() - start;
}"""


class Measured(NamedTuple):
    """Times in seconds, of frames and searches in ms; the size in MB."""

    size: float
    write: float
    open: float
    frame: float
    slow_frame: float
    first_search: float
    next_search: float


def invent(count: int) -> Catalogue:
    """Return the catalogue of an invented workspace, with size histories."""
    workspace = Workspace(count, 0)
    return Catalogue(segments=tuple(_segment(workspace, each) for each in workspace.live_ids))


def _segment(workspace: Workspace, segment_id: str) -> CatalogueSegment:
    details = {name: value for name, value in workspace.details(segment_id).items() if name in _FIELDS}
    times = {
        name: datetime.fromisoformat(value) for name, value in details.items() if name[-3:] == "_at" and value
    }
    sizes = tuple(
        SizePoint(date.fromisoformat(point["time"]), point["size"])
        for point in workspace.sizes(segment_id, _DAYS, _UNTIL)
    )
    lists = {"tags": tuple(details["tags"]), "teams": tuple(details["teams"] or ())}
    return CatalogueSegment(**details | times | lists | {"id": segment_id, "sizes": sizes, "fields": _FIELDS})


def measure(browser: Any, count: int, rounds: int) -> Measured:
    """Write and open a page; return the median of several rounds."""
    catalogue = invent(count)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        began = time.perf_counter()
        write_report(catalogue, path)
        written = time.perf_counter() - began
        del catalogue
        found = [_open(browser, path) for _ in range(rounds)]
        return Measured(path.stat().st_size / 1e6, written, *map(median, zip(*found, strict=True)))


def _open(browser: Any, path: Path) -> tuple[float, ...]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    began = time.perf_counter()
    page.goto(path.as_uri())
    page.locator("#table tbody tr").first.wait_for()
    opened = time.perf_counter() - began
    frames = page.evaluate(_SCROLL)
    first, second = (page.evaluate(_SEARCH, words) for words in ("japanese push", "germany"))
    page.close()
    return opened, median(frames), frames[len(frames) * 99 // 100], first, second


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    print(
        "| segments | file | written in | opens in | frame while scrolling | 99 % of frames | first search "
        "| next search |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        for count in options.segments:
            row = measure(browser, count, options.rounds)
            print(
                f"| {count:,} | {row.size:.1f} MB | {row.write:.1f} s | **{row.open:.1f} s** "
                f"| {row.frame:.0f} ms | {row.slow_frame:.0f} ms "
                f"| {row.first_search:.0f} ms | {row.next_search:.0f} ms |",
                flush=True,
            )
        browser.close()


if __name__ == "__main__":
    main()
