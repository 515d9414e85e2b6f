"""Build the requests to Braze: one function per endpoint. No I/O."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import define, frozen

from braze_segments_async._arguments import check_integer, check_segment_id, check_users_export
from braze_segments_async._models import Segment, SegmentDetails, SizePoint, StartedExport
from braze_segments_async.errors import ConfigError

from .decoding import decode_details, decode_list, decode_series, decode_started

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = [
    "CANCEL",
    "DATA_SERIES",
    "DETAILS",
    "LIST",
    "PAGE_SIZE",
    "USERS",
    "Endpoint",
    "Request",
    "cancel_exports",
    "data_series",
    "details",
    "export_users",
    "identifier",
    "list_page",
    "series_spans",
]

PAGE_SIZE = 100  # GET /segments/list: "returned in groups of 100"
_MAX_SERIES = 100  # GET /segments/data_series: `length` is 1 to 100 days

T = TypeVar("T")


@frozen
class Endpoint:
    """An endpoint, as documented on Braze's page about it.

    Attributes:
        method: HTTP method.
        path: Path below the base URL.
        permission: Permission that the API key needs.
        success: Statuses of a successful response.
        documented: Whether Braze documents the body of a successful response.
        repeatable: Whether a request that may have arrived can be sent again.
    """

    method: str
    path: str
    permission: str
    success: tuple[int, ...] = (200,)
    documented: bool = True
    repeatable: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


LIST = Endpoint("GET", "/segments/list", "segments.list")
DETAILS = Endpoint("GET", "/segments/details", "segments.details")
DATA_SERIES = Endpoint("GET", "/segments/data_series", "segments.data_series")
# Not repeatable: a second request fails while the first export runs, and starts another export after it.
USERS = Endpoint(
    "POST", "/users/export/segment", "users.export.segment", success=(200, 201), repeatable=False
)
CANCEL = Endpoint(
    "POST",
    "/export/segment/cancel",
    "segments.list",
    success=(200, 201, 204),
    documented=False,
    repeatable=False,
)


@define(eq=False)
class Request(Generic[T]):
    """One request, and the decoder of its response.

    Attributes:
        endpoint: The endpoint.
        params: Query parameters, not percent-encoded yet.
        decode: Turns the JSON object of the response into the value of the request; raises `ReplyError`.
        segment_id: Segment that the request is about, if any; for messages.
        page: Page of the list that the request is about, if any; for messages.
        json: Body of a POST.
    """

    endpoint: Endpoint
    params: Mapping[str, str]
    decode: Callable[[Any], T]
    segment_id: str | None = None
    page: int | None = None
    json: Mapping[str, Any] | None = None

    @property
    def labels(self) -> dict[str, str | int | None]:
        """The attributes of log records about the request."""
        return {"endpoint": str(self.endpoint), "segment_id": self.segment_id, "page": self.page}


def list_page(number: int, sort_direction: str) -> Request[tuple[Segment, ...]]:
    """Return a request for one page (`GET /segments/list`)."""
    params = {"page": str(number), "sort_direction": sort_direction}
    return Request(LIST, params, decode_list, page=number)


def identifier(segment: str | Segment) -> str:
    """Return the API identifier of a segment; raise `ConfigError` if it is invalid."""
    return check_segment_id(segment.id if isinstance(segment, Segment) else segment)


def details(segment: str | Segment) -> Request[SegmentDetails]:
    """Return a request for the details of a segment (`GET /segments/details`).

    The result also has the `analytics_tracking_enabled` of a `Segment`, which the response does not contain.
    """
    segment_id = identifier(segment)
    tracking = segment.analytics_tracking_enabled if isinstance(segment, Segment) else None
    return Request(
        DETAILS,
        {"segment_id": segment_id},
        lambda body: decode_details(body, segment_id, tracking),
        segment_id=segment_id,
    )


def export_users(
    segment: str | Segment,
    fields: Collection[str],
    callback_endpoint: str | None,
    output_format: str | None,
    custom_attributes: Collection[str] | None = None,
) -> Request[StartedExport]:
    """Return a request that starts an export of a segment's users (`POST /users/export/segment`)."""
    segment_id = identifier(segment)
    check_users_export(fields, callback_endpoint, output_format, custom_attributes)
    body = {
        "segment_id": segment_id,
        "fields_to_export": list(fields),
        "custom_attributes_to_export": None if custom_attributes is None else list(custom_attributes),
        "callback_endpoint": callback_endpoint,
        "output_format": output_format,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return Request(USERS, {}, decode_started, segment_id=segment_id, json=body)


def cancel_exports(segment: str | Segment) -> Request[None]:
    """Return a request that cancels the exports of a segment's users (`POST /export/segment/cancel`)."""
    segment_id = identifier(segment)
    return Request(CANCEL, {}, lambda _: None, segment_id=segment_id, json={"segment_id": segment_id})


def series_spans(
    length: int, ending_at: datetime | date | None, now: datetime
) -> tuple[Mapping[str, str], ...]:
    """Split a size history into windows for `GET /segments/data_series`.

    Args:
        length: Number of days.
        ending_at: Last day, as a date or as an aware datetime; `None` is the time of the request.
        now: Used in place of `None` if there are several windows.

    Returns:
        The query parameters of each window, oldest first.

    Raises:
        ConfigError: An argument is invalid.
    """
    check_integer("length", length, at_least=1)
    end = _as_datetime(ending_at)
    if end is None and length > _MAX_SERIES:
        end = now
    spans = []
    while length > 0:
        window = min(length, _MAX_SERIES)
        span = {"length": str(window)}
        if end is not None:
            span["ending_at"] = end.isoformat(timespec="seconds")
        spans.append(span)
        length -= window
        if end is not None and length:
            end = _days_before(end, window)
    return tuple(spans[::-1])


def data_series(segment: str | Segment, span: Mapping[str, str]) -> Request[list[SizePoint]]:
    """Return a request for one window of `series_spans` (`GET /segments/data_series`)."""
    segment_id = identifier(segment)
    return Request(DATA_SERIES, {"segment_id": segment_id, **span}, decode_series, segment_id=segment_id)


def _as_datetime(ending_at: object) -> datetime | None:
    if ending_at is None:
        return None
    if isinstance(ending_at, datetime):
        if ending_at.utcoffset() is None:
            raise ConfigError(
                "is naive; it needs a time zone, such as datetime.now(timezone.utc)", argument="ending_at"
            )
        return ending_at
    if isinstance(ending_at, date):
        return datetime.combine(ending_at, time(23, 59, 59), UTC)  # the end of that day
    raise ConfigError(
        f"must be an aware datetime or a date, got a {type(ending_at).__name__}", argument="ending_at"
    )


def _days_before(end: datetime, days: int) -> datetime:
    try:
        return end - timedelta(days=days)
    except OverflowError:
        pass
    raise ConfigError("goes back before the year 1", argument="length")
