"""Check a built site for resources from other hosts, broken links, and reprs in signatures."""

from __future__ import annotations

import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["problems"]

_LOADS = {("link", "href"), ("object", "data"), ("use", "href")}  # in addition to every src and srcset


class _Document(HTMLParser):
    """The resources, links and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = {""}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of a tag."""
        for name, value in attrs:
            if value is None:
                continue
            if name in {"src", "srcset"} or (tag, name) in _LOADS:
                self.loads.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)
            elif name == "id":
                self.anchors.add(value)
            elif name == "style":
                self.loads += re.findall(r"url\(['\"]?([^'\")]+)", value)


@cache
def _read(path: Path) -> _Document:
    document = _Document()
    document.feed(path.read_text(encoding="utf-8"))
    return document


def problems(site: Path) -> list[str]:
    """Return a message for each problem.

    Args:
        site: Directory of the built site.
    """
    pages = sorted(site.rglob("*.html"))
    assert pages, f"no site in {site}"
    found = []
    for page in pages:
        document = _read(page)
        if re.search("&lt;(bound method|class|function) ", page.read_text(encoding="utf-8")):
            found.append(f"{page}: shows the repr of an object")
        found += [f"{page}: loads {url}" for url in document.loads if not _is_local(url, page)]
        found += [
            f"{page}: has a broken link to {url}" for url in document.links if not _is_valid_link(url, page)
        ]
    for style in site.rglob("*.css"):
        urls = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s]+)", style.read_text(encoding="utf-8"))
        found += [f"{style}: loads {url}" for url in urls if not _is_local(url, style)]
    return found


def _is_local(url: str, page: Path) -> bool:
    """Return whether a resource is a file of the site or inline data."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return parts.scheme == "data"
    return not parts.path or (page.parent / unquote(parts.path)).is_file()


def _is_valid_link(url: str, page: Path) -> bool:
    """Return whether a link leads to another host (not checked), or to an existing file and anchor."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return parts.scheme in {"https", "mailto"}
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return False
    return target.suffix != ".html" or unquote(parts.fragment) in _read(target).anchors
