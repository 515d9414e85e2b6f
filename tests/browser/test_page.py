"""The page of `write_report` in a real browser."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_helpers import catalogue, segment, sizes

from braze_segments_async.catalogue import write_report

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Show = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = Path(__file__).parents[2] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"viewport": {"width": 390, "height": 844}}
HOSTILE = {
    "script": "</script><script>alert(1)</script>",
    "comment": "<!--<script>alert(1)",
    "image": '<img src=x onerror="alert(1)">',
    "attribute": "\"><svg onload=alert(1)> ' onmouseover='alert(1)",
    "entity": "&lt;b&gt; &amp; &#x41;",
    "template": "{data} ${alert(1)} {{7*7}}",
    "bidi": "\u202egpj.exe\u2066 \u200f\u0627\u0633\u0645\u2069",
    "controls": "a\x00b\x1b[31m\x85\u2028c\ufeff",
    "surrogate": "half \ud83d emoji",
    "long": "x" * 10_000,
    "formula": "=1+1",
}


async def names(page: Any) -> list[str]:
    """Return the names of the rows in the document, in order."""
    found: list[str] = await page.locator("#table td.name button").all_inner_texts()
    return found


async def search(page: Any, text: str) -> str:
    """Type a search, and return the number of segments that the page then shows."""
    await page.locator("input[type=search]").fill(text)
    await page.locator("#table:not([aria-busy])").wait_for(state="attached")
    return await count(page)


async def count(page: Any) -> str:
    """Return the text with the number of segments."""
    text: str = await page.locator("#count").inner_text()
    return text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kundiger", ["Kündiger"]),
        ("KÜNDIGER", ["Kündiger"]),
        ("purchase france", ["Lapsed"]),
        ("ask before", ["VIP"]),
        ("loyalty", ["VIP"]),
        ("日本", ["Lapsed"]),
        ("id-7", ["Segment 7"]),
        ("a.c", []),
    ],
)
async def test_search(show: Show, text: str, found: list[str]) -> None:
    """The search finds all words, in names, filters, notes and tags, without regard to case and accents."""
    page = await show(
        catalogue(
            segment(101, name="Kündiger"),
            segment(102, name="Lapsed", description="Last Purchase in France", tags=("日本",)),
            segment(103, name="VIP", text_description="Ask before editing", tags=("Loyalty",)),
            count=8,
        )
    )
    assert await search(page, text) == f"{len(found)} of 11 segments"
    assert sorted(await names(page)) == found
    assert await page.locator("#empty").is_visible() is not bool(found)


async def test_nothing_found(show: Show) -> None:
    """If nothing matches, the page says so, and one button removes the search and all filters."""
    page = await show(catalogue(count=5))
    await page.get_by_label("even").check()
    assert await search(page, "no such segment") == "0 of 5 segments"
    assert await page.get_by_role("button", name="Download CSV: 0 rows").is_disabled()
    await page.get_by_role("button", name="Clear search and filters").click()
    assert await count(page) == "5 segments"
    assert await page.locator("input[type=search]").input_value() == ""
    assert not await page.get_by_label("even").is_checked()


async def test_marks(show: Show) -> None:
    """The words of the search are marked where they are found, also in the middle of long filters."""
    page = await show(catalogue(segment(1, description="x " * 200 + "Country is Germany"), count=0))
    await search(page, "germany")
    assert await page.locator("mark").all_inner_texts() == ["Germany"]
    assert "Country is" in await page.locator("td.name p").inner_text()


async def test_facets(show: Show) -> None:
    """Tags and teams restrict the list together; their numbers are those of the segments that are shown."""
    page = await show(
        catalogue(
            segment(1, tags=("CRM", "promo"), teams=("Growth",)),
            segment(2, tags=("CRM",)),
            segment(3, tags=("promo", "promo")),
            segment(4, tags=()),
        )
    )
    tags = page.locator("#tags label:visible")
    assert await tags.all_inner_texts() == ["CRM\n2", "promo\n2", "No tags\n1"]
    await page.locator("#tags").get_by_label("CRM").check()
    assert sorted(await names(page)) == ["Segment 1", "Segment 2"]
    assert await tags.all_inner_texts() == ["CRM\n2", "promo\n1"]
    await page.locator("#teams").get_by_label("Growth").check()
    assert await names(page) == ["Segment 1"]
    await page.get_by_role("button", name="Remove the filter CRM").click()
    await page.get_by_role("button", name="Remove the filter Growth").click()
    await page.get_by_label("No tags").check()
    assert await names(page) == ["Segment 4"]


async def test_many_tags(show: Show) -> None:
    """The most frequent tags are shown first; a button shows the others."""
    page = await show(catalogue(*[segment(number, tags=(f"tag {number}", "all")) for number in range(40)]))
    assert await page.locator("#tags label").count() == 14
    await page.get_by_role("button", name="Show all 41").click()
    assert await page.locator("#tags label").count() == 41
    await page.locator("#tags").get_by_label("tag 39").check()
    assert await names(page) == ["Segment 39"]


@pytest.mark.parametrize(
    ("column", "first", "again"),
    [
        ("Name", ["a2", "A10", "b"], ["b", "A10", "a2"]),
        ("Size", ["b", "a2", "A10"], ["a2", "b", "A10"]),
        ("Created", ["A10", "b", "a2"], ["b", "A10", "a2"]),
    ],
)
async def test_sort(show: Show, column: str, first: list[str], again: list[str]) -> None:
    """A column header sorts, and sorts the other way the second time; missing values are last in both."""
    page = await show(
        catalogue(
            segment(1, name="b", estimated_size=900),
            segment(3, name="A10", estimated_size=None),
            segment(2, name="a2", estimated_size=5, created_at=None),
        )
    )
    assert await names(page) == ["A10", "a2", "b"]  # edited last
    header = page.get_by_role("columnheader", name=column)
    await header.get_by_role("button").click()
    assert await names(page) == first
    order = await header.get_attribute("aria-sort")
    await header.get_by_role("button").click()
    assert await names(page) == again
    assert {order, await header.get_attribute("aria-sort")} == {"ascending", "descending"}
    await page.get_by_label("Sort").select_option("Edited: oldest first")
    assert await names(page) == ["b", "a2", "A10"]


async def test_details(show: Show) -> None:
    """A row opens a panel with everything about a segment; the next one is one click away."""
    page = await show(
        catalogue(
            segment(
                2, text_description="Owner: CRM\nAsk first", teams=("Growth",), sizes=sizes(100, 150, 80)
            ),
            segment(1, description=None, estimated_size=None, analytics_tracking_enabled=False),
        )
    )
    await page.locator("#table tbody tr").first.click()
    panel = page.get_by_role("dialog", name="Segment 2")
    text = await panel.inner_text()
    for part in ("1 of 2", "id-2", "Session Count is more than 2", "Owner: CRM\nAsk first", "even", "Growth"):
        assert part in text
    assert "5 Jan 2026, 12:00" not in text
    assert "3 Jan 2026, 12:00" in text
    assert "100 → 80 (-20%)" in text
    assert await panel.get_by_role("img").get_attribute("aria-label") == (
        "Size history: 100 on 1 Mar 2026, 80 on 3 Mar 2026, -20%"
    )
    await panel.get_by_text("Show the numbers").click()
    assert await panel.get_by_role("row").all_inner_texts() == [
        "Day\tSize", "3 Mar 2026\t80", "2 Mar 2026\t150", "1 Mar 2026\t100",
    ]  # fmt: skip
    await panel.get_by_role("button", name="Next segment").click()
    panel = page.get_by_role("dialog", name="Segment 1")
    text = await panel.inner_text()
    assert "No filters" in text
    assert "unknown" in text
    assert await panel.get_by_role("button", name="Next segment").is_disabled()
    await panel.get_by_role("button", name="Close").click()
    assert not await panel.is_visible()


async def test_address_of_a_segment(show: Show) -> None:
    """The address of the page names the open segment, and opens it again."""
    page = await show(catalogue(segment(1, id="a/b c%", name="One"), count=3))
    await page.get_by_role("button", name="One").click()
    address = page.url
    assert address.endswith("#segment=a%2Fb%20c%25")
    await page.goto("about:blank")
    await page.goto(address)
    assert await page.get_by_role("dialog", name="One").is_visible()


async def test_keyboard(show: Show) -> None:
    """Everything works without a pointer: search, rows beyond the screen, the panel, and back."""
    page = await show(catalogue(count=300))
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the catalogue"
    await page.keyboard.press("/")
    await page.keyboard.type("segment")
    focused = "document.activeElement.textContent"
    for number in range(40):
        await page.keyboard.press("ArrowDown")
        assert await page.evaluate(focused) == f"Segment {299 - number}"
    await page.keyboard.press("Enter")
    assert await page.get_by_role("dialog", name="Segment 260").is_visible()
    await page.keyboard.press("Escape")
    assert await page.evaluate(focused) == "Segment 260"
    await page.keyboard.press("End")
    assert await page.evaluate(focused) == "Segment 0"
    box = await page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    assert 0 < box["top"] < box["bottom"] <= 800
    await page.keyboard.press("Home")
    assert await page.evaluate(focused) == "Segment 299"
    await page.keyboard.press("ArrowUp")
    assert await page.evaluate("document.activeElement.type") == "search"


async def test_only_visible_rows_are_in_the_document(show: Show) -> None:
    """Of many segments, only the rows near the screen are in the document, in their place and order."""
    page = await show(catalogue(count=5_000))
    await page.get_by_label("Sort").select_option("Name: A to Z")
    for share in (0, 0.5, 1):
        await page.evaluate(f"scrollTo(0, document.body.scrollHeight * {share})")
        await page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        rows = await page.locator("#table tbody tr").evaluate_all(
            "rows => rows.map(row => [+row.ariaRowIndex, row.getBoundingClientRect().top])"
        )
        assert len(rows) < 60
        assert rows == sorted(rows)
        assert [index for index, _ in rows] == list(range(rows[0][0], rows[-1][0] + 1))
        assert (await names(page))[0] == f"Segment {rows[0][0] - 2}"
    assert rows[-1][0] == 5_001
    assert await page.locator("#table").get_attribute("aria-rowcount") == "5001"


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_text(show: Show, kind: str) -> None:
    """Any text is shown as that text, wherever it is: it is no HTML, no script, and stays in its place."""
    text = HOSTILE[kind]
    page = await show(
        catalogue(
            segment(
                1, id=text, name=text, description=text, text_description=text, tags=(text,), teams=(text,)
            ),
            failed={text: text},
        )
    )
    shown = text.replace("\ud83d", "\ufffd") if kind == "surrogate" else text
    contents = await page.locator("#table td.name bdi").evaluate_all(
        "all => all.map(each => each.textContent)"
    )
    assert contents[0].encode("utf-8", "replace") == text.encode("utf-8", "replace") or contents[0] == shown
    await page.locator("#table tbody tr").click()
    assert await page.evaluate("document.querySelectorAll('img, iframe, body script').length") == 2
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert await page.locator("#panel .filters").evaluate("each => each.textContent.length") == len(text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_themes(show: Show, scheme: str) -> None:
    """The page follows the theme of the system, and has a button for the other one."""
    page = await show(catalogue(count=3), color_scheme=scheme)
    colour = "getComputedStyle(document.body).backgroundColor"
    before = await page.evaluate(colour)
    await page.get_by_role("button", name="Light" if scheme == "dark" else "Dark").click()
    after = await page.evaluate(colour)
    dark, light = (before, after) if scheme == "dark" else (after, before)
    assert (dark, light) == ("rgb(18, 20, 23)", "rgb(246, 246, 243)")
    assert await page.get_by_role("button", name="Dark" if scheme == "dark" else "Light").is_visible()


async def test_phone(show: Show) -> None:
    """On a phone, nothing is wider than the screen: the list, its filters, the panel."""
    long = segment(1, name="w" * 300, tags=("t" * 90, "b"), description="d" * 900, sizes=sizes(*range(30)))
    page = await show(catalogue(long, count=30, failed={"x" * 300: "y" * 300}), **PHONE)
    fits = "document.documentElement.scrollWidth <= 390"
    assert await page.evaluate(fits)
    assert not await page.get_by_label("even").is_visible()
    await page.get_by_text("Filter by tag or team").click()
    await page.get_by_label("t" * 90).check()
    assert await count(page) == "1 of 31 segments"
    assert await page.evaluate(fits)
    await page.locator("#table tbody tr").click()
    assert await page.locator("#panel").evaluate("panel => panel.scrollWidth <= 390")


async def test_csv(show: Show, tmp_path: Path) -> None:
    """The rows that are shown, in their order, are a CSV file in which no text is a formula."""
    page = await show(
        catalogue(
            segment(1, name="=1+1", description='say "hi"\nthere, you', tags=("a", "b")),
            segment(2, name="＝cmd", text_description="\t@x"),  # noqa: RUF001 - full width
            segment(3, name="Käufer", estimated_size=-3, updated_at=None),
            segment(4, name="last", description=None),
            segment(5, id="x"),
        )
    )
    await page.get_by_label("Sort").select_option("Size: smallest first")
    assert await search(page, "id-") == "4 of 5 segments"
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download CSV: 4 rows").click()
    file = await download.value
    assert file.suggested_filename == "segments.csv"
    await file.save_as(path := tmp_path / "segments.csv")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["name"] for row in rows] == ["Käufer", "'=1+1", "'＝cmd", "last"]  # noqa: RUF001
    assert rows[0]["estimated_size"] == "-3"
    assert rows[0]["updated_at"] == ""
    assert rows[1]["description"] == 'say "hi"\nthere, you'
    assert rows[1]["tags"] == "a, b"
    assert rows[1]["created_at"] == "2026-01-02T12:00:00+00:00"
    assert rows[2]["text_description"] == "'\t@x"


async def test_missing_fields(show: Show) -> None:
    """Of an export without details, the page has the columns that there are, and no chart."""
    some = frozenset({"id", "name", "tags", "analytics_tracking_enabled"})
    page = await show(
        catalogue(
            segment(1, description=None, created_at=None, updated_at=None, estimated_size=None, fields=some)
        )
    )
    assert await page.get_by_role("columnheader").all_inner_texts() == ["Name"]
    assert not await page.locator("#activity").is_visible()
    await page.locator("#table tbody tr").click()
    assert "Not in the exported file" in await page.get_by_role("dialog").inner_text()


async def test_empty_catalogue(show: Show) -> None:
    """The page of an empty workspace says that it has no segments."""
    page = await show(catalogue())
    assert "No segments" in await page.locator("#empty").inner_text()
    assert await count(page) == "0 segments"


async def test_partial_catalogue(show: Show) -> None:
    """The page of a partial export says so first, and lists what is missing."""
    page = await show(catalogue(count=2, failed={"id-9": "server error"}))
    notice = page.locator("#partial")
    assert "Partial: 1 segment could not be fetched" in await notice.inner_text()
    await notice.get_by_text("Show them").click()
    assert "id-9: server error" in await notice.inner_text()


async def test_activity(show: Show) -> None:
    """The charts count the segments of each month; the numbers can be read as a table."""
    page = await show(catalogue(count=40))
    await page.get_by_text("Show the numbers").click()
    rows = await page.locator("#activity tbody tr").all_inner_texts()
    assert "Jan 2026\t31\t30" in rows
    assert "Feb 2026\t9\t10" in rows
    assert len(rows) == 24


async def test_print(show: Show) -> None:
    """On paper, all rows are there, one below the other, without the controls."""
    page = await show(catalogue(count=200))
    await page.emulate_media(media="print")
    await page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(await names(page)) == 200
    tops = await page.locator("#table tbody tr").evaluate_all("rows => rows.map(row => row.offsetTop)")
    assert tops == sorted(set(tops))
    assert not await page.locator("input[type=search]").is_visible()
    await page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert len(await names(page)) < 60


async def test_damaged_file(show: Show, tmp_path: Path) -> None:
    """A page that was cut or changed says that it is damaged."""
    page = await show(catalogue(count=20))
    path = tmp_path / "page.html"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"segments":[', '"segments":'), encoding="utf-8")
    await page.reload()
    assert "damaged or incomplete" in await page.get_by_role("alert").inner_text()
    path.write_text(text.replace('"schema":1', '"schema":2'), encoding="utf-8")
    await page.reload()
    assert "another version" in await page.get_by_role("alert").inner_text()


async def test_policy(browser: Any, tmp_path: Path) -> None:
    """The policy of the page blocks requests, other scripts and other styles."""
    write_report(catalogue(count=1), path := tmp_path / "page.html")
    page = await browser.new_page()
    await page.goto(path.as_uri())
    blocked = await page.evaluate(
        """async () => {
            const blocked = [];
            addEventListener("securitypolicyviolation", event => blocked.push(event.effectiveDirective));
            await fetch("http://127.0.0.1:9/").catch(() => {});
            const add = (tag, values) => {
                document.body.append(Object.assign(document.createElement(tag), values));
            };
            add("img", { src: "http://127.0.0.1:9/x.png" });
            add("script", { textContent: "document.title = 'changed'" });
            add("style", { textContent: "body { display: none }" });
            add("iframe", { src: "http://127.0.0.1:9/" });
            await new Promise(done => setTimeout(done, 100));
            return blocked;
        }"""
    )
    assert sorted(blocked) == ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-elem"]
    assert await page.title() == "Segments"
    await page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desktop", "phone"])
async def test_accessibility(show: Show, scheme: str, size: dict[str, Any]) -> None:
    """axe-core finds nothing to complain about, in the page and in the panel."""
    if not AXE.exists():
        assert not os.environ.get("BROWSER"), f"{AXE} is missing"
        pytest.skip("axe-core is not installed: make browser")
    first = segment(99, name="Nötig", text_description="Note", teams=("A",), sizes=sizes(*range(30)))
    page = await show(
        catalogue(first, count=60, failed={"x": "failed"}),
        catalogue(segment(99, name="Old"), count=50),
        color_scheme=scheme,
        reduced_motion="reduce",
        **size,
    )
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    await search(page, "e")
    assert await _violations(page) == []
    await page.get_by_role("button", name="Nötig").first.click()
    await page.get_by_text("Show the numbers").last.click()
    assert await _violations(page) == []


async def _violations(page: Any) -> list[str]:
    """Return what axe-core complains about: rule and elements."""
    found: list[str] = await page.evaluate(
        """async () => (await axe.run()).violations.map(
            each => `${each.id}: ${each.nodes.map(node => node.html.slice(0, 120)).join(" | ")}`)"""
    )
    return found
