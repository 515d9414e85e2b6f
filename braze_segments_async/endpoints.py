"""What is asked of Braze: one builder an endpoint, and nothing about how it is sent."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from attrs import frozen

from .codec import decode_details, decode_list, decode_series
from .config import check_integer, check_segment_id
from .errors import ConfigError
from .models import Segment, SegmentDetails, SizePoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PAGE_SIZE", "Endpoint", "Request", "details", "identifier", "list_page", "series_windows"]

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
    """

    method: str
    path: str
    permission: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


LIST = Endpoint("GET", "/segments/list", "segments.list")
DETAILS = Endpoint("GET", "/segments/details", "segments.details")
DATA_SERIES = Endpoint("GET", "/segments/data_series", "segments.data_series")


@frozen(eq=False)
class Request(Generic[T]):
    """One request, ready to be sent, and how to read its answer.

    Attributes:
        endpoint: where it goes.
        params: the query; what is in it goes out percent-encoded.
        decode: the reply's JSON object to the value the caller wants; raises `ReplyError`.
        segment_id: for messages: the segment it is about, if any.
        page: for messages: the list page it is about, if any.
    """

    endpoint: Endpoint
    params: Mapping[str, str]
    decode: Callable[[dict[str, Any]], T]
    segment_id: str | None = None
    page: int | None = None


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


def series_windows(
    segment: str | Segment, length: int, ending_at: datetime | date | None, now: datetime
) -> list[Request[list[SizePoint]]]:
    """`GET /segments/data_series`, as often as its limit of 100 days takes, oldest window first.

    Args:
        segment: an id, or a row of the list.
        length: days, any number.
        ending_at: the last day, or moment; `None` leaves it to Braze: the time of the request.
        now: stands in for `None` if there are several windows.
    """
    segment_id = identifier(segment)
    check_integer("length", length, at_least=1)
    end = _moment(ending_at)
    if end is None and length > _LONGEST_SERIES:
        end = now
    requests = []
    while length > 0:
        window = min(length, _LONGEST_SERIES)
        params = {"segment_id": segment_id, "length": str(window)}
        if end is not None:
            params["ending_at"] = end.isoformat(timespec="seconds")
        requests.append(Request(DATA_SERIES, params, decode_series, segment_id=segment_id))
        length -= window
        if end is not None and length:
            end = _back(end, window)
    return requests[::-1]


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
