"""HTML: the page of `write_report`, in one file."""

from __future__ import annotations

import json
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from braze_segments_async._models import SizePoint
from braze_segments_async.catalogue import Catalogue, CatalogueSegment, fill_report

from .ndjson import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["write_html"]

_TIMES = ("created_at", "updated_at", "estimated_size_updated_at")
_date = lru_cache(date.fromisoformat)


def write_html(path: Path, lines: Iterable[bytes], *, sizes: bool) -> None:
    """Write lines of NDJSON as a page. All of them are in memory, as the page compares segments."""
    fields = frozenset(FIELDS) - {"extra"} | ({"sizes"} if sizes else frozenset())
    fill_report(Catalogue(segments=tuple(_segment(json.loads(line), fields) for line in lines)), path)


def _segment(row: dict[str, Any], fields: frozenset[str]) -> CatalogueSegment:
    values = {name: row[name] for name in fields}
    for name in _TIMES:
        values[name] = datetime.fromisoformat(row[name]) if row[name] else None
    if "sizes" in fields:
        values["sizes"] = tuple(SizePoint(_date(point["time"]), point["size"]) for point in row["sizes"])
    return CatalogueSegment(
        **values | {"tags": tuple(row["tags"]), "teams": tuple(row["teams"])}, fields=fields
    )
