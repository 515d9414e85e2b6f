"""HTML: the page of `write_report`, in one file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from braze_segments_async.catalogue import Catalogue, fill_report, parse_rows

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from braze_segments_async.catalogue import Provenance

__all__ = ["write_html"]


def write_html(path: Path, lines: Iterable[bytes], *, provenance: Provenance | None = None) -> None:
    """Write lines of NDJSON as a page. All of them are in memory, as the page compares segments."""
    segments = parse_rows(map(json.loads, lines), "the export")
    fill_report(Catalogue(segments=segments, provenance=provenance), path)
