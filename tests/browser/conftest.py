"""A headless browser for the tests of the page. Each test gets a new tab without cookies or cache."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from braze_segments_async.catalogue import write_report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from braze_segments_async.catalogue import Catalogue

    Show = Callable[..., Awaitable[Any]]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EXECUTABLE = next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    """Headless Chromium; if it or Playwright is missing, skip the tests, or fail in `make browser`."""
    try:
        from playwright.async_api import async_playwright  # noqa: PLC0415 - installed by `make browser`
    except ImportError:
        async_playwright = None
    if EXECUTABLE is None or async_playwright is None:
        assert not os.environ.get("BROWSER"), f"install Playwright, and one of {', '.join(BROWSERS)}"
        pytest.skip("Chromium or Playwright is not installed: make browser")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=EXECUTABLE)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def show(browser: Any, tmp_path: Path) -> AsyncIterator[Show]:
    """Write a page and open it. At the end, it has sent no request and has written nothing to the console."""
    contexts, requests, problems = [], [], []

    async def show(catalogue: Catalogue, previous: Catalogue | None = None, **options: Any) -> Any:
        write_report(catalogue, path := tmp_path / "page.html", previous, overwrite=True)
        context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = await context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        await page.goto(path.as_uri())
        await page.locator("#content").wait_for()
        return page

    yield show
    for context in contexts:
        await context.close()
    assert not problems
    # The page itself, and the file that a test downloads.
    assert not [url for url in requests if not url.startswith(("file://", "blob:null/", "blob:file:"))]
