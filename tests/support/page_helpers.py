"""Catalogues for the tests of the page."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from attrs import fields_dict

from braze_segments_async import SizePoint
from braze_segments_async.catalogue import Catalogue, CatalogueSegment

FIELDS = frozenset(fields_dict(CatalogueSegment)) - {"fields"}
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def segment(number: int, **changes: Any) -> CatalogueSegment:
    """Return a segment whose values follow from a number; each is one day younger, and ten users larger."""
    values: dict[str, Any] = {
        "id": f"id-{number}",
        "name": f"Segment {number}",
        "description": f"Session Count is more than {number}",
        "created_at": START + timedelta(days=number),
        "updated_at": START + timedelta(days=number, hours=number),
        "estimated_size": number * 10,
        "tags": ("even" if number % 2 == 0 else "odd",),
        "fields": FIELDS,
    }
    return CatalogueSegment(**values | changes)


def catalogue(*segments: CatalogueSegment, count: int = 0, **changes: Any) -> Catalogue:
    """Return a catalogue of these segments, and of as many more as `count` says."""
    return Catalogue(segments=(*segments, *map(segment, range(count))), **changes)


def sizes(*values: float) -> tuple[SizePoint, ...]:
    """Return a size history of consecutive days."""
    return tuple(SizePoint(date(2026, 3, 1) + timedelta(days=day), size) for day, size in enumerate(values))
