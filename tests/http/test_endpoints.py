"""The parameters of each request, and the windows that cover a series exactly."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve
from fault_client import series_windows
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import ConfigError, Segment, SegmentDetails, SizePoint
from braze_segments_async._http.endpoints import (
    CANCEL,
    DATA_SERIES,
    DETAILS,
    LIST,
    PAGE_SIZE,
    USERS,
    cancel_exports,
    details,
    export_users,
    list_page,
)

NOW = datetime(2026, 11, 22, 10, 15, 30, 999_999, tzinfo=UTC)
DAY = timedelta(days=1)


def test_endpoints_are_as_documented() -> None:
    """Each endpoint has its documented method, path and permission."""
    assert [(str(of), of.permission) for of in (LIST, DETAILS, DATA_SERIES, USERS, CANCEL)] == [
        ("GET /segments/list", "segments.list"),
        ("GET /segments/details", "segments.details"),
        ("GET /segments/data_series", "segments.data_series"),
        ("POST /users/export/segment", "users.export.segment"),
        ("POST /export/segment/cancel", "segments.list"),
    ]
    assert PAGE_SIZE == 100


def test_the_body_of_a_users_export() -> None:
    """The JSON body has the names of Braze, without options that were not given."""
    request = export_users(Segment("a", "A"), ("email", "braze_id"), None, None)
    assert (request.endpoint, request.segment_id, request.params) == (USERS, "a", {})
    assert request.json == {"segment_id": "a", "fields_to_export": ["email", "braze_id"]}
    assert not request.endpoint.repeatable
    more = export_users("a", ["email"], "https://example.com/done", "gzip").json
    assert more is not None
    assert (more["callback_endpoint"], more["output_format"]) == ("https://example.com/done", "gzip")
    assert cancel_exports("a").json == {"segment_id": "a"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("email", None, None),
            "fields must be a list of field names, such as [\"external_id\"], got 'email'",
        ),
        (([], None, None), "fields must be one or more names, each of them text and not empty"),
        (([""], None, None), "fields must be one or more names, each of them text and not empty"),
        (([1], None, None), "fields must be one or more names, each of them text and not empty"),
        ((["email"], 5, None), "callback_endpoint must be a URL, got 5"),
        ((["email"], None, "tar"), 'output_format must be "zip" or "gzip", got \'tar\''),
    ],
)
def test_an_export_of_users_checks_its_arguments(arguments: Any, text: str) -> None:
    """A bare string is refused as fields; the names themselves are not checked."""
    with pytest.raises(ConfigError) as caught:
        export_users("a", *arguments)
    assert str(caught.value) == text


def test_the_request_for_a_page() -> None:
    """The request has the parameter names of Braze, and the page for messages."""
    request = list_page(7, "desc")
    assert (request.endpoint, request.params) == (LIST, {"page": "7", "sort_direction": "desc"})
    assert (request.page, request.segment_id) == (7, None)
    assert request.decode({"segments": [{"id": "a", "name": "A"}]}) == (Segment("a", "A"),)


def test_details_by_id_and_by_row() -> None:
    """The id is sent unchanged; fields that only the list has are copied from the row."""
    by_id, by_row = details("a&b=c/日本"), details(Segment("b", "B", analytics_tracking_enabled=True))
    assert (by_id.endpoint, by_id.params) == (DETAILS, {"segment_id": "a&b=c/日本"})
    assert (by_id.segment_id, by_id.page, by_row.params) == ("a&b=c/日本", None, {"segment_id": "b"})
    assert by_id.decode({"name": "A"}) == SegmentDetails(id="a&b=c/日本", name="A")
    tracked = SegmentDetails(id="b", name="B", analytics_tracking_enabled=True)
    assert by_row.decode({"name": "B", "id": "internal"}) == evolve(tracked, extra={"id": "internal"})


@pytest.mark.parametrize("segment_id", ["", None, 5, b"a", "\udfff", Segment("", "empty")])
def test_an_id_that_cannot_be_sent_is_refused(segment_id: Any) -> None:
    """Details and series refuse an id that cannot be sent."""
    with pytest.raises(ConfigError, match=r"^segment_id "):
        details(segment_id)
    with pytest.raises(ConfigError, match=r"^segment_id "):
        series_windows(segment_id, 30, None, NOW)


def test_a_short_series_is_one_request() -> None:
    """Without `ending_at`, Braze uses its own time."""
    (request,) = series_windows("a", 100, None, NOW)
    assert (request.endpoint, request.params) == (DATA_SERIES, {"segment_id": "a", "length": "100"})
    assert (request.segment_id, request.page) == ("a", None)
    assert request.decode({"data": [{"time": "2026-11-22", "size": 5}]}) == [SizePoint(NOW.date(), 5)]


def test_a_long_series_is_oldest_first() -> None:
    """A year has four windows, the last of which ends now; a date means the whole day."""
    assert [window.params for window in series_windows("a", 365, None, NOW)] == [
        {"segment_id": "a", "length": "65", "ending_at": "2026-01-26T10:15:30+00:00"},
        {"segment_id": "a", "length": "100", "ending_at": "2026-05-06T10:15:30+00:00"},
        {"segment_id": "a", "length": "100", "ending_at": "2026-08-14T10:15:30+00:00"},
        {"segment_id": "a", "length": "100", "ending_at": "2026-11-22T10:15:30+00:00"},
    ]
    (window,) = series_windows("a", 1, date(2026, 11, 20), NOW)
    assert window.params["ending_at"] == "2026-11-20T23:59:59+00:00"


ZONES: list[tzinfo] = [UTC, timezone(timedelta(hours=-9, minutes=-30)), ZoneInfo("Europe/Berlin")]
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.sampled_from(ZONES))  # noqa: DTZ001


@given(st.integers(1, 2000), st.none() | MOMENTS | st.dates(date(2000, 1, 1)))
def test_windows_tile_the_days(length: int, ending_at: datetime | date | None) -> None:
    """Windows of 1 to 100 days cover exactly the requested days, without gap or overlap, in any zone."""
    windows = [window.params for window in series_windows("a", length, ending_at, NOW)]
    lengths = [int(window["length"]) for window in windows]
    assert sum(lengths) == length
    assert len(lengths) == -(-length // 100)
    assert all(1 <= days <= 100 for days in lengths)
    if ending_at is None and length <= 100:
        assert "ending_at" not in windows[0]
        return
    ends = [datetime.fromisoformat(window["ending_at"]).replace(tzinfo=None) for window in windows]
    for before, after, days in zip(ends, ends[1:], lengths[1:], strict=False):
        assert before == after - days * DAY  # days are counted by the local clock
    last = NOW if ending_at is None else ending_at
    if isinstance(last, datetime):
        assert ends[-1] == last.replace(tzinfo=None, microsecond=0)
    else:
        assert ends[-1] == datetime(last.year, last.month, last.day, 23, 59, 59)  # noqa: DTZ001


@pytest.mark.parametrize("ending_at", [None, datetime(1, 4, 1, tzinfo=UTC), date(1, 1, 1)])
def test_a_series_before_the_year_one_is_refused(ending_at: datetime | date | None) -> None:
    """A series before the year 1 is refused before anything is sent."""
    with pytest.raises(ConfigError, match=r"^length goes back before the year 1$") as caught:
        series_windows("a", 10**6, ending_at, NOW)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("length", "ending_at", "text"),
    [
        (0, None, "length must be at least 1, got 0"),
        (True, None, "length must be an integer of at least 1, got True"),
        (30.0, None, "length must be an integer of at least 1, got 30.0"),
        (
            1,
            datetime(2026, 1, 1),  # noqa: DTZ001
            "ending_at is naive; it needs a time zone, such as datetime.now(timezone.utc)",
        ),
        (1, "2026-01-01", "ending_at must be an aware datetime or a date, got a str"),
        (1, 1_795_341_600, "ending_at must be an aware datetime or a date, got a int"),
    ],
)
def test_a_series_checks_its_arguments(length: Any, ending_at: Any, text: str) -> None:
    """A series checks its arguments; a naive `ending_at` is refused because its zone is unknown."""
    with pytest.raises(ConfigError) as caught:
        series_windows("a", length, ending_at, NOW)
    assert str(caught.value) == text


def test_custom_attributes_of_a_users_export() -> None:
    """`custom_attributes` is sent as `custom_attributes_to_export`."""
    request = export_users("a", ["external_id"], None, None, ["plan", "city"])
    assert request.json == {
        "segment_id": "a",
        "fields_to_export": ["external_id"],
        "custom_attributes_to_export": ["plan", "city"],
    }


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ("plan", "must be a list of names of custom attributes, got 'plan'"),
        ([], "must be one or more names, each of them text and not empty"),
        (["plan", ""], "must be one or more names, each of them text and not empty"),
        ([f"a{number}" for number in range(501)], "must have at most 500 names (Braze's limit)"),
        (["plan"], 'must not be combined with "custom_attributes" in fields, which exports all of them'),
    ],
)
def test_invalid_custom_attributes(names: Any, problem: str) -> None:
    """Custom attributes are up to 500 names, and exclude the field that exports all of them."""
    with pytest.raises(ConfigError) as caught:
        export_users("a", ["custom_attributes"], None, None, names)
    assert (caught.value.argument, caught.value.reason) == ("custom_attributes", problem)
