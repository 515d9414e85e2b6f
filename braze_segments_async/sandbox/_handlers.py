"""What Braze answers to a request that is authorised: the documented parameters, and the body they get."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ._faults import Endpoint
from ._workspace import Workspace

UNKNOWN_SEGMENT: Final = "segment_id must be a string of the Segment api identifier"

Query = Mapping[str, str]


class RefusedError(Exception):
    """The request is answered with 400 and this text."""


def success_body(workspace: Workspace, endpoint: Endpoint, query: Query, now: float) -> dict[str, Any]:
    """Return the body of the genuine answer; `now` is in seconds since the epoch.

    Raises:
        RefusedError: A parameter is missing or wrong.
    """
    if endpoint == "list":
        return _list(workspace, query)
    segment_id = query.get("segment_id", "")
    if segment_id not in workspace:
        raise RefusedError(UNKNOWN_SEGMENT)
    if endpoint == "details":
        return workspace.details(segment_id)
    return _data_series(workspace, segment_id, query, now)


def _list(workspace: Workspace, query: Query) -> dict[str, Any]:
    page = query.get("page", "0")
    if not re.fullmatch("[0-9]{1,12}", page):
        raise RefusedError("page must be a non-negative integer")
    direction = query.get("sort_direction", "asc")
    if direction not in {"asc", "desc"}:
        raise RefusedError("sort_direction must be asc or desc")
    rows = workspace.page(int(page), newest_first=direction == "desc")
    return {"message": "success", "segments": rows}


def _data_series(workspace: Workspace, segment_id: str, query: Query, now: float) -> dict[str, Any]:
    length = query.get("length", "")
    if not re.fullmatch("[0-9]{1,3}", length) or not 1 <= int(length) <= 100:
        raise RefusedError("length must be an integer between 1 and 100")
    ending_at = query.get("ending_at")
    try:
        end = datetime.fromtimestamp(now, UTC) if ending_at is None else datetime.fromisoformat(ending_at)
        return {"message": "success", "data": workspace.sizes(segment_id, int(length), end.date())}
    except (ValueError, OverflowError):  # an unreadable date, or one so early that no days are before it
        raise RefusedError("ending_at must be an ISO 8601 date") from None
