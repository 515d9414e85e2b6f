"""`write_report`: a catalogue as one HTML page that needs no server and sends no request."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, fields_dict

from braze_segments_async._support import atomic_write, create_private, file_errors
from braze_segments_async._text import escape_control
from braze_segments_async._version import __version__
from braze_segments_async.errors import ConfigError

from ._values import CatalogueSegment

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from braze_segments_async._models import SizePoint

    from ._values import Catalogue

__all__ = ["fill_report", "write_report"]

_SCHEMA = 1  # version of the data in the page; see docs/report.md
_TEXTS = ("description", "text_description", "tags", "teams")
_TIMES = ("created_at", "updated_at", "estimated_size_updated_at")


def write_report(
    catalogue: Catalogue,
    path: str | os.PathLike[str],
    previous: Catalogue | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a page that shows a catalogue: findings, changes, and all segments with search and filters.

    The page is one HTML file. It opens from the disk or as an attachment, and sends no request. The file
    appears when it is complete.

    Args:
        catalogue: The segments to show.
        path: The file.
        previous: An earlier catalogue; the page shows what has changed since.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file exists already, or is the exported file.
        ExportError: The file cannot be written.
    """
    path = Path(path)
    shown = escape_control(str(path))
    if path.exists() and any(
        each is not None and each.path is not None and each.path.exists() and path.samefile(each.path)
        for each in (catalogue, previous)
    ):
        raise ConfigError(f"{shown} is the exported file: name another file for the page")
    if not overwrite and path.exists():
        raise ConfigError(f"{shown} exists: name a new file", remedy={"overwrite=True": "replaces it"})
    with file_errors(path):
        atomic_write(path, partial(fill_report, catalogue, previous=previous), replace=overwrite)


def fill_report(catalogue: Catalogue, path: Path, previous: Catalogue | None = None) -> None:
    """Write the page to a new file.

    Raises:
        OSError: The file system failed.
    """
    before, after = _template().split("{data}")
    with create_private(path, 0o666) as file:
        file.write(before.encode())
        for piece in _data(catalogue, previous):
            file.write(piece)
        file.write(after.encode())


def _template() -> str:
    """Return the page, with the place for its data. Its policy allows this style and this script only."""
    folder = files(__package__) / "_page"
    page, style, script = (
        folder.joinpath(f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js")
    )
    for name, text in (("style", style), ("script", script)):
        digest = b64encode(sha256(text.encode()).digest()).decode()
        page = page.replace(f"{{{name}_hash}}", digest).replace(f"{{{name}}}", text)
    return page


def _data(catalogue: Catalogue, previous: Catalogue | None) -> Iterator[bytes]:
    """Yield the data of the page as JSON, a piece for each segment."""
    provenance = catalogue.provenance
    head = {
        "schema": _SCHEMA,
        "written_by": f"braze-segments-async {__version__}",
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": catalogue.path.name if catalogue.path else None,
        "provenance": asdict(provenance) if provenance else None,
        "fields": sorted(_fields(catalogue)),
        "failed": dict(catalogue.failed),
        "findings": [],
        "changes": _changes(previous) if previous else None,
    }
    yield _json(head).removesuffix(b"}") + b',"segments":['
    for number, segment in enumerate(catalogue.segments):
        yield (b",\n" if number else b"\n") + _json(_row(segment))
    yield b"]}"


def _fields(catalogue: Catalogue) -> frozenset[str]:
    """Return the fields that the file has; all of them if there are no segments."""
    if not catalogue.segments:
        return frozenset(fields_dict(CatalogueSegment))
    return frozenset().union(*(segment.fields for segment in catalogue.segments))


def _row(segment: CatalogueSegment) -> dict[str, Any]:
    """Return a segment without its empty fields, with the names of its attributes."""
    row: dict[str, Any] = {"id": segment.id, "name": segment.name}
    row |= {name: value for name in _TEXTS if (value := getattr(segment, name))}
    row |= {name: value.isoformat() for name in _TIMES if (value := getattr(segment, name))}
    if (size := _number(segment.estimated_size)) is not None:
        row["estimated_size"] = size
    if segment.analytics_tracking_enabled is not None:
        row["analytics_tracking_enabled"] = segment.analytics_tracking_enabled
    if segment.sizes:
        row["sizes"] = _sizes(segment.sizes)
    return row


def _sizes(points: tuple[SizePoint, ...]) -> dict[str, Any]:
    """Return the size history: the first day if there is a point for each day, else all days."""
    first = points[0].time
    values = [_number(point.size) or 0 for point in points]
    if points[-1].time - first == timedelta(days=len(points) - 1):
        return {"from": first.isoformat(), "values": values}
    return {"times": [point.time.isoformat() for point in points], "values": values}


def _number(value: float | None) -> int | None:
    """Return a size as an integer; `None` if JavaScript has no such number."""
    return round(value) if value is not None and abs(value) < math.inf and value < 10**300 else None


def _json(value: object) -> bytes:
    r"""Return JSON that cannot end the element it is in: `<` is written as `\u003c`, as in `</script>`."""
    try:
        return _readable.encode(value).replace("<", "\\u003c").encode()
    except UnicodeEncodeError:  # a lone surrogate
        return _escaped.encode(value).replace("<", "\\u003c").encode()


def _plain(value: object) -> str:
    """Return text for a time, which JSON does not have."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no JSON for a {type(value).__name__}")


_readable = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
_escaped = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_plain)


def _changes(previous: Catalogue) -> dict[str, Any]:
    """Return where the previous catalogue comes from, and what has changed since."""
    provenance = previous.provenance
    since = {
        "file": previous.path.name if previous.path else None,
        "finished_at": provenance.finished_at if provenance else None,
    }
    return {"since": since, "items": []}
