"""What is asked of Braze: one builder an endpoint, and nothing about how it is sent."""

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
    "PAGE_SIZE",
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
_LONGEST_SERIES = 100  # GET /segments/data_series: `length` is 1 to 100 days

T = TypeVar("T")


@frozen
class Endpoint:
    """A method and a path, with what Braze's page of it says.

    Attributes:
        method: the HTTP method.
        path: below the base url.
        permission: what the API key needs.
        success: the statuses of its answer.
        documented: whether Braze says what the body of that answer is.
        repeatable: whether a request that may have arrived can be sent again.
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
# A second one would be refused while the first one's export runs, or start another export once it is over.
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
    """One request, ready to be sent, and how to read its answer.

    Attributes:
        endpoint: where it goes.
        params: the query; what is in it goes out percent-encoded.
        decode: Turns the JSON object of the response into the value of the request; raises `ReplyError`.
        segment_id: for messages: the segment it is about, if any.
        page: for messages: the list page it is about, if any.
        json: what a POST carries.
    """

    endpoint: Endpoint
    params: Mapping[str, str]
    decode: Callable[[Any], T]
    segment_id: str | None = None
    page: int | None = None
    json: Mapping[str, Any] | None = None

    @property
    def labels(self) -> dict[str, str | int | None]:
        """What a log record says of it, as attributes beside its text."""
        return {"endpoint": str(self.endpoint), "segment_id": self.segment_id, "page": self.page}


def list_page(number: int, sort_direction: str) -> Request[tuple[Segment, ...]]:
    """`GET /segments/list`: one page."""
    params = {"page": str(number), "sort_direction": sort_direction}
    return Request(LIST, params, decode_list, page=number)


def identifier(segment: str | Segment) -> str:
    """The API identifier of a segment, checked."""
    return check_segment_id(segment.id if isinstance(segment, Segment) else segment)


def details(segment: str | Segment) -> Request[SegmentDetails]:
    """`GET /segments/details`, by id or for a row of the list, whose list-only fields are carried over."""
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
) -> Request[StartedExport]:
    """`POST /users/export/segment`: start the export of a segment's users."""
    segment_id = identifier(segment)
    check_users_export(fields, callback_endpoint, output_format)
    body = {
        "segment_id": segment_id,
        "fields_to_export": list(fields),
        "callback_endpoint": callback_endpoint,
        "output_format": output_format,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return Request(USERS, {}, decode_started, segment_id=segment_id, json=body)


def cancel_exports(segment: str | Segment) -> Request[None]:
    """`POST /export/segment/cancel`: end all exports of a segment's users that are running."""
    segment_id = identifier(segment)
    return Request(CANCEL, {}, lambda _: None, segment_id=segment_id, json={"segment_id": segment_id})


def series_spans(
    length: int, ending_at: datetime | date | None, now: datetime
) -> tuple[Mapping[str, str], ...]:
    """The windows of a size history of any length, as `GET /segments/data_series` takes them: oldest first.

    Args:
        length: days.
        ending_at: the last day, or moment; `None` leaves it to Braze: the time of the request.
        now: stands in for `None` if there are several windows.
    """
    check_integer("length", length, at_least=1)
    end = _moment(ending_at)
    if end is None and length > _LONGEST_SERIES:
        end = now
    spans = []
    while length > 0:
        window = min(length, _LONGEST_SERIES)
        span = {"length": str(window)}
        if end is not None:
            span["ending_at"] = end.isoformat(timespec="seconds")
        spans.append(span)
        length -= window
        if end is not None and length:
            end = _back(end, window)
    return tuple(spans[::-1])


def data_series(segment: str | Segment, span: Mapping[str, str]) -> Request[list[SizePoint]]:
    """`GET /segments/data_series`: one window of `series_spans`."""
    segment_id = identifier(segment)
    return Request(DATA_SERIES, {"segment_id": segment_id, **span}, decode_series, segment_id=segment_id)


def _moment(ending_at: object) -> datetime | None:
    if ending_at is None:
        return None
    if isinstance(ending_at, datetime):
        if ending_at.utcoffset() is None:
            raise ConfigError("ending_at needs a time zone, such as datetime.now(timezone.utc); it is naive")
        return ending_at
    if isinstance(ending_at, date):
        return datetime.combine(ending_at, time(23, 59, 59), UTC)  # the whole of that day
    raise ConfigError(f"ending_at must be an aware datetime or a date, got a {type(ending_at).__name__}")


def _back(end: datetime, days: int) -> datetime:
    try:
        return end - timedelta(days=days)
    except OverflowError:
        pass
    raise ConfigError("length reaches back before the year 1")
