"""The provenance of an export, as JSON text in a file."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from attrs import asdict, fields

from ._values import Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PROVENANCE", "format_provenance", "parse_provenance", "provenance_to_dict"]

PROVENANCE = "braze_segments_async"  # key of the metadata in Parquet, and of the row in SQLite
_TIMES = ("started_at", "finished_at")


def provenance_to_dict(provenance: Provenance) -> dict[str, Any]:
    """Return the provenance as an object for JSON; times are ISO 8601."""
    times = {name: getattr(provenance, name).isoformat() for name in _TIMES}
    return asdict(provenance, recurse=False) | {"options": dict(provenance.options)} | times


def format_provenance(provenance: Provenance) -> str:
    """Return the provenance as JSON text."""
    return json.dumps(provenance_to_dict(provenance))


def parse_provenance(found: Sequence[Any] | None) -> Provenance | None:
    """Return the provenance in a row of one value; `None` if there is none, or it is from another program."""
    try:
        values = json.loads(found[0]) if found else {}
        values |= {name: datetime.fromisoformat(values[name]) for name in _TIMES}
        return Provenance(**{each.name: values[each.name] for each in fields(Provenance)})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
