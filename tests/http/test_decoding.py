"""Decoding is strict: a body is exactly what Braze documents, or a `ReplyError` with its path."""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError
from fault_client import series_windows
from hypothesis import given, settings
from hypothesis import strategies as st

from braze_segments_async import BrazeError, ReplyError
from braze_segments_async._http.decoding import decode_details, decode_list, decode_series, parse_json
from braze_segments_async._http.endpoints import Request, details, list_page
from braze_segments_async._http.responses import Response, parse_response
from braze_segments_async._models import (
    Segment,
    SegmentDetails,
    SegmentFailure,
    SegmentPage,
    SizePoint,
    Stats,
)

ROW = {"id": "a", "name": "A", "analytics_tracking_enabled": True, "tags": ["x", "y"]}
DETAILS: dict[str, Any] = {"message": "success", "name": "A", "tags": ["x"], "teams": ["EU"]}
DETAILS |= {"description": "Gender is any", "text_description": ""}
DETAILS |= dict.fromkeys(["created_at", "updated_at"], "2026-07-16T19:55:53+00:00")
SERIES = series_windows("a", 30, None, datetime.now(UTC))
REQUESTS: list[Request[Any]] = [list_page(0, "asc"), details("a"), *SERIES]


def one(**fields: Any) -> Segment:
    """Return the second row of a list, so that its path has an index."""
    return decode_list({"segments": [ROW, {**ROW, **fields}]})[1]


def detailed(**fields: Any) -> SegmentDetails:
    """Return details of the segment `asked-for`."""
    return decode_details({**DETAILS, **fields}, "asked-for", None)


def assert_refused(path: str | None, text: str, *attempt: Any) -> None:
    """Assert that a call raises a `ReplyError` without a chained exception."""
    function, *arguments = attempt
    with pytest.raises(ReplyError) as caught:
        function(*arguments)
    error = caught.value
    assert (error.path, error.reason, error.retryable) == (path, text, True)
    assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "an empty body"),
        (b" \r\n", "an empty body"),
        (b"\n<!DOCTYPE html>", "HTML instead of JSON, most likely from a proxy"),
        (b'{"segments": [', "not JSON: Expecting value at character 14"),
        (b'{"a": NaN}', "a number that JSON or Python does not accept"),
        (b"1e999", "a number that JSON or Python does not accept"),
        (b"9" * 5000, "a number that JSON or Python does not accept"),
        (b"[" * 100_000, "JSON nested too deeply"),
        (b'{"name": "\xff"}', "not UTF-8 at byte 10"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
    ],
)
def test_a_body_that_is_not_json_is_a_reply_error(body: bytes, reason: str) -> None:
    """HTML, cut or deeply nested JSON, NaN, huge numbers and other encodings have clear messages."""
    assert_refused(None, reason, parse_json, body)


def test_json_is_parsed_exactly() -> None:
    """A byte order mark is skipped; big integers and escaped lone surrogates are exact."""
    body = b'\xef\xbb\xbf["\xc3\xa9", "\\ud800", 12345678901234567890]'
    assert parse_json(body) == ["é", "\ud800", 12345678901234567890]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("name", None, "expected text, got null"),
        ("name", 5, "expected text, got a number"),
        ("id", None, "expected text, got null"),
        ("id", "", "expected an id, got empty text"),
        ("id", "\ud800", "expected an id in UTF-8, got text"),
        ("tags", "abc", "expected a list, got text"),
        ("tags", [1], "expected text, got a number"),
        ("tags", ["a", ["b"]], "expected text, got a list"),
        ("analytics_tracking_enabled", "false", "expected true or false, got text"),
        ("analytics_tracking_enabled", 0, "expected true or false, got a number"),
    ],
)
def test_a_row_of_the_wrong_type_is_refused(field: str, value: object, problem: str) -> None:
    """A value of the wrong type is never converted; the path names the row."""
    assert_refused(f"$.segments[1].{field}", problem, lambda: one(**{field: value}))


@pytest.mark.parametrize("field", ["id", "name"])
def test_a_row_needs_id_and_name(field: str) -> None:
    """A row must have an id and a name; everything else may be missing or null."""
    rows = [ROW, ROW, {key: value for key, value in ROW.items() if key != field}]
    assert_refused(f"$.segments[2].{field}", "a required field is missing", decode_list, {"segments": rows})
    assert decode_list({"segments": [{"id": "a", "name": ""}]}) == (Segment("a", ""),)
    assert one(tags=None, analytics_tracking_enabled=None) == Segment("a", "A")


@pytest.mark.parametrize(("body", "key"), [({}, "segments"), ({}, "data"), ({"data": []}, "segments")])
def test_a_missing_list_is_an_error(body: dict[str, Any], key: str) -> None:
    """A missing or null `segments` or `data` is an error, so that it cannot end a listing."""
    decode: Any = decode_list if key == "segments" else decode_series
    assert_refused(f"$.{key}", f"`{key}` is missing", decode, body)
    kinds: list[tuple[Any, str]] = [(None, "null"), ({}, "an object"), ("", "text"), (0, "a number")]
    for value, kind in kinds:
        assert_refused(f"$.{key}", f"expected a list, got {kind}", decode, {key: value})
    assert not decode({key: []})


@pytest.mark.parametrize("row", [None, 3, "id", [["id", "a"], ["name", "b"]]])
def test_a_row_that_is_not_an_object_is_refused(row: object) -> None:
    """A row or point that is not an object invalidates its whole page or series."""
    for decode, key in ((decode_list, "segments"), (decode_series, "data")):
        with pytest.raises(ReplyError, match="expected an object, got ") as caught:
            decode({key: [row, ROW]})
        assert caught.value.path == f"$.{key}[0]"


def test_unknown_fields_are_extra_and_null_tags_are_dropped() -> None:
    """Rows keep their order, unknown fields are in `extra`, and null tags are dropped."""
    assert one(tags=["b", None, "a"]).tags == ("b", "a")
    assert one(folder={"id": 1}, note=None).extra == {"folder": {"id": 1}, "note": None}
    assert one(extra={"x": 1}).extra == {"extra": {"x": 1}}
    assert [row.id for row in decode_list({"segments": [{**ROW, "id": i} for i in "cab"]})] == list("cab")


def test_details_have_the_requested_id() -> None:
    """The `id` in the body is an internal one and goes to `extra`, like all undocumented fields."""
    found = decode_details({**DETAILS, "id": "5f0c", "extra": 1, "analytics_tracking_enabled": 0}, "a", True)
    assert (found.id, found.analytics_tracking_enabled) == ("a", True)
    assert found.extra == {"id": "5f0c", "extra": 1, "analytics_tracking_enabled": 0}
    assert "message" not in detailed().extra


def test_details_need_only_a_name() -> None:
    """Every field of details but the name may be missing or null."""
    least = SegmentDetails(id="asked-for", name="A")
    assert decode_details({"name": "A"}, "asked-for", None) == least
    assert detailed(**dict.fromkeys(set(DETAILS) - {"name", "message"})) == least
    assert_refused("$.name", "a required field is missing", decode_details, {"tags": []}, "a", None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-07-16T19:55:53+00:00", datetime(2026, 7, 16, 19, 55, 53, tzinfo=UTC)),
        ("2026-07-16T19:55:53Z", datetime(2026, 7, 16, 19, 55, 53, tzinfo=UTC)),
        ("2026-07-16T19:55:53.250Z", datetime(2026, 7, 16, 19, 55, 53, 250_000, tzinfo=UTC)),
        ("2026-07-16T19:55:53", datetime(2026, 7, 16, 19, 55, 53, tzinfo=UTC)),
        ("2026-07-16", datetime(2026, 7, 16, tzinfo=UTC)),
        ("2026-07-16T19:55:53+05:30", datetime(2026, 7, 16, 14, 25, 53, tzinfo=UTC)),
    ],
)
def test_times_are_aware(text: str, moment: datetime) -> None:
    """A date with `Z`, milliseconds, an offset, no zone or no time is aware; UTC is the default."""
    found = detailed(created_at=text, updated_at=text, estimated_size_updated_at=text)
    assert found.created_at == found.updated_at == found.estimated_size_updated_at == moment
    offset = timedelta(hours=5, minutes=30) if "+05:30" in text else timedelta(0)
    assert found.created_at is not None
    assert found.created_at.utcoffset() == offset  # the zone in the response is kept


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("created_at", "yesterday", "not an ISO 8601 date"),
        ("updated_at", "2026-13-01", "not an ISO 8601 date"),
        ("estimated_size_updated_at", 1784231753, "expected text, got a number"),
        ("estimated_size", True, "expected a number, got a boolean"),
        ("description", 0, "expected text, got a number"),
        ("teams", "EU", "expected a list, got text"),
        ("tags", [False], "expected text, got a boolean"),
    ],
)
def test_details_of_the_wrong_type_are_refused(field: str, value: object, problem: str) -> None:
    """A field of the wrong type is refused with its path."""
    assert_refused(f"$.{field}", problem, lambda: detailed(**{field: value}))


@pytest.mark.parametrize(("sent", "size"), [(26660.0, 26660), (0, 0), (-0.0, 0), (1.5, 1.5), (2**62, 2**62)])
def test_a_whole_size_is_an_int(sent: float, size: float) -> None:
    """A size of `26660.0` is an integer, in details and in a series."""
    point = decode_series({"data": [{"time": "2022-09-01", "size": sent}]})[0]
    for found in (detailed(estimated_size=sent).estimated_size, point.size):
        assert (found, type(found)) == (size, type(size))


@pytest.mark.parametrize("sent", [2**63, -(2**63), 10**400, 1e300])
def test_a_size_beyond_64_bits_is_refused(sent: float) -> None:
    """A size that no file format can store is an error of its segment, not of the whole export."""
    assert_refused(
        "$.estimated_size",
        "expected fewer users than 2**63, got a number",
        lambda: detailed(estimated_size=sent),
    )


def test_points_of_a_series() -> None:
    """A point has a day and a size, in the order of Braze; a time of day is dropped."""
    data = [{"time": "2022-09-02", "size": 1, "new": 1}, {"time": "2022-09-01T23:00:00Z", "size": 2.5}]
    assert decode_series({"data": data}) == [
        SizePoint(date(2022, 9, 2), 1),
        SizePoint(date(2022, 9, 1), 2.5),
    ]


@pytest.mark.parametrize(
    ("point", "where", "problem"),
    [
        ({"time": "2022-09-01"}, ".size", "a required field is missing"),
        ({"size": 1}, ".time", "a required field is missing"),
        ({"time": "2022-09-01", "size": None}, ".size", "expected a number, got null"),
        ({"time": "x", "size": 1}, ".time", "not an ISO 8601 date"),
    ],
)
def test_a_point_of_the_wrong_type_is_refused(point: object, where: str, problem: str) -> None:
    """A point without a valid day and size is refused with its path."""
    assert_refused(
        f"$.data[1]{where}", problem, decode_series, {"data": [{"time": "2022-09-01", "size": 0}, point]}
    )


TEXT = st.text(st.characters(), max_size=5)  # lone surrogates included
NUMBERS = st.one_of(st.integers(), st.floats())
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, st.sampled_from(["2026-07-16", "success"]))
NAMES = ["message", "segments", "data", "id", "name", "tags", "time", "size", "created_at", "extra"]
KEYS = st.one_of(st.sampled_from(NAMES), TEXT)
JSON = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner)), max_leaves=8
)
ANY_ROW = st.fixed_dictionaries(
    {}, optional={**{name: st.one_of(st.just(ROW[name]), JSON) for name in ROW}, "new": JSON}
)
ANY_DETAILS = {name: st.one_of(st.just(value), JSON) for name, value in DETAILS.items()}
ANY_POINT = st.fixed_dictionaries({"time": st.one_of(st.just("2026-07-16"), JSON), "size": LEAVES})
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries({"message": st.just("success"), "segments": st.lists(ANY_ROW, max_size=3)}),
    st.fixed_dictionaries(ANY_DETAILS, optional={"estimated_size": JSON, "id": JSON}),
    st.fixed_dictionaries({"message": st.just("success"), "data": st.lists(ANY_POINT, max_size=3)}),
)
quick = settings(max_examples=150)


def assert_strict_types(value: Any) -> None:
    """Assert that each field of a value has its type, and that the value hashes and pickles."""
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301
    hash(value)
    if isinstance(value, Segment | SegmentDetails):
        assert value.id
        assert type(value.name) is str
        assert value.analytics_tracking_enabled in (None, False, True)
        assert all(type(name) is str for name in value.tags)
    if isinstance(value, SegmentDetails):
        assert all(moment is None or moment.tzinfo for moment in (value.created_at, value.updated_at))


@quick
@given(st.sampled_from(REQUESTS), st.one_of(st.binary(max_size=40), BODIES.map(json.dumps)))
def test_any_body_is_a_value_or_a_reply_error(request: Request[Any], body: str | bytes) -> None:
    """Any bytes and any JSON of any endpoint are a model or a `ReplyError`."""
    raw = body.encode() if isinstance(body, str) else body
    found: Any = ()
    with suppress(ReplyError):
        found = parse_response(request, Response(200, {}, raw, None, 0.0), "key")
    for value in found if isinstance(found, tuple | list) else [found]:
        assert_strict_types(value)


MODELS: list[Any] = [
    Segment("a", "A", None, ("x",), {"new": [1]}),
    Stats(requests=1),
    SegmentPage(0, (Segment("a", "A"),)),
    detailed(),
    SizePoint(date(2022, 9, 1), 5),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_are_values(model: Any) -> None:
    """Models are frozen, hashable, equal to their copies, and can be pickled; `extra` is not hashed."""
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert (copy, hash(copy), {copy: 1}[model]) == (model, hash(model), 1)
    for name in (model.__attrs_attrs__[0].name, "new_attribute"):
        with pytest.raises((FrozenInstanceError, AttributeError)):
            setattr(model, name, 1)


def test_a_failure_is_a_value() -> None:
    """A failure can be unpacked and pickled with its error, and is frozen."""
    failure = SegmentFailure("a", BrazeError("no"))
    segment_id, error = pickle.loads(pickle.dumps(failure))  # noqa: S301
    assert (segment_id, str(error)) == ("a", "no")
    with pytest.raises(AttributeError):
        failure.segment_id = "b"  # type: ignore[misc]
