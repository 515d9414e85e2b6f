"""A response is parsed into a value, or into the matching error with a remedy and without the key."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    ExportRunningError,
    NotFoundError,
    PermissionDeniedError,
    RateLimit,
    RateLimitedError,
    RedirectError,
    ReplyError,
    Segment,
    ServerError,
    StatusError,
)
from braze_segments_async._http.endpoints import cancel_exports, details, export_users, list_page
from braze_segments_async._http.rate_limiter import RateLimiter
from braze_segments_async._http.responses import Response, parse_response, request_id
from braze_segments_async._text import Secret, contains_part, escape_control

KEY = "d3adb33f-0000/4a+1=-%feedc0ffee"
SENT = 1_795_341_600.0  # 2026-11-22 10:00:00 UTC
NO_SEGMENT = "the parameters are not accepted; most often there is no such segment"
KEY_REFUSED = (
    "the API key is not accepted: check the key, that base_url is the REST endpoint of its cluster, "
    "and that it has the permission segments.details"
)
NOT_BRAZE = (
    "the response is not from Braze but from something in front of it, such as a proxy or a firewall: check "
    "the proxy, and that base_url is Braze's REST endpoint"
)
MAY_NOT_BE = "; the body is not Braze's, so something in front of Braze may have sent it"
NO_PATH = "no such path here: check that base_url is Braze's REST endpoint"
HTML = b"<html><h1>502 Bad Gateway</h1></html>"


def response(status: int, body: object = None, **headers: str) -> Response:
    """Return a response with a JSON body, or with a body of bytes."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, raw, RateLimit(100, 5, None), SENT)


def error_of(status: int, body: object = None, **headers: str) -> Any:
    """Return the error of such a response to a request for details."""
    with pytest.raises(BrazeError) as caught:
        parse_response(details("a"), response(status, body, **headers), KEY)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "text"),
    [
        (202, ServerError, True, "queued: Braze is in maintenance, try again later"),
        (201, ReplyError, True, "status 201 is a success, but not one Braze documents"),
        (204, ReplyError, True, "status 204 is a success, but not one Braze documents"),
        (300, RedirectError, False, "a redirect, not followed so that the key stays here: check base_url"),
        (301, RedirectError, False, "a redirect, not followed so that the key stays here: check base_url"),
        (308, RedirectError, False, "a redirect, not followed so that the key stays here: check base_url"),
        (400, BadRequestError, False, NOT_BRAZE),
        (401, AuthenticationError, False, KEY_REFUSED + MAY_NOT_BE),
        (403, PermissionDeniedError, False, NOT_BRAZE),
        (404, NotFoundError, False, NO_PATH + MAY_NOT_BE),
        (408, ServerError, True, "the service gave up waiting for the request"),
        (418, StatusError, False, f"the request is refused{MAY_NOT_BE}"),
        (429, RateLimitedError, True, "the workspace's rate limit is used up"),
        (500, ServerError, True, "the service failed"),
        (501, ServerError, False, "the service cannot do this"),
        (502, ServerError, True, "the service is not available"),
        (503, ServerError, True, "the service is not available"),
        (504, ServerError, True, "the service did not answer its proxy in time"),
        (599, ServerError, False, "the service cannot do this"),
    ],
)
def test_each_status_has_its_error(
    status: int, kind: type[BrazeError], *, retryable: bool, text: str
) -> None:
    """Each status has an error type and a remedy, and shows that the body is not Braze's."""
    bodies: list[object] = [
        None,
        HTML,
        b'{"message": ',
        [],
        {"message": None},
        {"errors": []},
    ]
    for body in bodies:
        error = error_of(status, body)
        assert (type(error), error.retryable, error.reason) == (kind, retryable, text)
        assert getattr(error, "status", status) == status
        assert error.__cause__ is error.__context__ is None
        if isinstance(error, StatusError):
            assert error.from_braze is (status == 429)  # which has rate-limit headers here


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, NO_SEGMENT),
        (401, KEY_REFUSED),
        (403, "the API key needs the permission segments.details"),
        (429, "the workspace's rate limit is used up"),
    ],
)
def test_only_the_envelope_of_braze_says_what_is_wrong(status: int, text: str) -> None:
    """With Braze's envelope, the message names the segment, the key, the permission or the rate limit."""
    error = error_of(status, {"message": "No"})
    assert error.from_braze
    assert error.reason.startswith(text)
    assert "in front of" not in error.reason


def test_a_429_of_a_proxy_is_not_the_rate_limit_of_braze() -> None:
    """A 429 without envelope and rate-limit headers is retried, but not reported as Braze's rate limit."""
    bodies: list[object] = [HTML, b"", {}]
    for body in bodies:
        limited = evolve(response(429, body, Retry_After="7"), rate_limit=None)
        with pytest.raises(RateLimitedError) as caught:
            parse_response(details("a"), limited, KEY)
        error = caught.value
        assert (error.from_braze, error.retryable, error.retry_after) == (False, True, 7.0)
        assert error.reason == NOT_BRAZE


def test_the_request_id_of_a_response() -> None:
    """The request id is escaped, and left out if it contains part of the key."""
    for sent, shown in (("abc-1", "abc-1"), ("a\x9b", "a\\x9b"), ("", None), (f"x{KEY[4:12]}", None)):
        assert request_id(response(500, X_Request_Id=sent), KEY) == shown


@pytest.mark.parametrize("status", [202, 400, 403, 404, 408, 418, 500, 503])
def test_the_message_of_braze_is_quoted(status: int) -> None:
    """The message of Braze is quoted after the remedy."""
    assert error_of(status, {"message": "Invalid URL"}).reason.endswith(' (Braze says "Invalid URL")')


@pytest.mark.parametrize("status", [301, 401, 429])
def test_the_message_of_some_statuses_is_not_quoted(status: int) -> None:
    """A 401 may echo the key, a 429 needs no text, and a redirect may come from any server."""
    assert "Invalid" not in str(error_of(status, {"message": "Invalid API key"}))


@pytest.mark.parametrize("status", [400, 403, 404, 418, 500, 503, 200])
@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        KEY.upper(),
        KEY[: len(KEY) // 2],
        KEY[len(KEY) // 2 :],
        quote(KEY, safe=""),
        b64encode(KEY.encode()).decode(),
    ],
)
def test_a_message_with_part_of_the_key_is_omitted(status: int, echo: str) -> None:
    """A message with the key, whole, halved or encoded, in any letter case or position, is not quoted."""
    for message in (f"Invalid API key: {echo}", f"{'x' * 190}{echo}"):
        error = error_of(status, {"message": message})
        assert "Braze's message is not shown: it contains part of the API key" in str(error)
        shown = f"{error} {error!r} {vars(error)}".lower()
        assert not any(KEY[start : start + 8].lower() in shown for start in range(len(KEY) - 7))
        assert echo[:8].lower() not in shown


def test_a_429_has_its_wait_and_rate_limit() -> None:
    """The error of a 429 has the wait, the reset time by the service's clock, and the rate limit."""
    error = error_of(429, X_RateLimit_Reset="90")
    assert (error.retry_after, error.resets_at) == (90.0, datetime(2026, 11, 22, 10, 1, 30, tzinfo=UTC))
    assert error.rate_limit == RateLimit(100, 5, None)
    error = error_of(429)
    assert (error.retry_after, error.resets_at) == (None, None)


@pytest.mark.parametrize("name", ["X_RateLimit_Retry_After", "Retry_After"])
@pytest.mark.parametrize("wait", ["1e300", "99999999999999"])
def test_a_429_with_an_absurd_wait(name: str, wait: str) -> None:
    """A wait beyond any date is still a `RateLimitedError`, and the rate limiter accepts it."""
    error = error_of(429, **{name: wait})
    assert type(error) is RateLimitedError
    RateLimiter(reserve=0.0, max_wait=1.0).pause(error.retry_after or 1.0, "429", error.resets_at)


def test_a_503_ignores_the_reset() -> None:
    """Only `Retry-After` sets the wait of a 503: every response of Braze has `X-RateLimit-Reset`."""
    assert error_of(503, X_RateLimit_Reset="90").retry_after is None
    assert error_of(503, X_RateLimit_Reset="90", Retry_After="7").retry_after == 7.0


@pytest.mark.parametrize(
    ("body", "path", "text", "retryable"),
    [
        (None, None, "an empty body", True),
        (HTML, None, "HTML instead of JSON, most likely from a proxy", True),
        ([], "$", "expected an object at the root of the body", True),
        ("success", "$", "expected an object at the root of the body", True),
        ({}, "$.message", "no `message` that says success", True),
        ({"message": None, "segments": []}, "$.message", "no `message` that says success", True),
        ({"message": "queued", "segments": []}, "$.message", 'Braze says "queued"', False),
        ({"message": "Success", "segments": []}, "$.message", 'Braze says "Success"', False),
        ({"message": "success"}, "$.segments", "`segments` is missing", True),
    ],
)
def test_a_200_without_success_is_refused(
    body: object, path: str | None, text: str, *, retryable: bool
) -> None:
    """A 200 whose body is not an object with `message` "success" is an error, never an empty page."""
    with pytest.raises(ReplyError) as caught:
        parse_response(list_page(0, "asc"), response(200, body), KEY)
    assert (caught.value.path, caught.value.reason) == (path, text)
    assert caught.value.retryable is retryable


def test_a_success_is_decoded() -> None:
    """A success is its value, even with unknown fields in the body."""
    body = {"message": "success", "segments": [{"id": "a", "name": "A"}], "new": 1}
    assert parse_response(list_page(0, "asc"), response(200, body), KEY) == (Segment("a", "A"),)


USERS = export_users("a", ["email"], None, None)
STARTED = {"message": "success", "object_prefix": "p", "url": "https://example.com/?secret"}


def test_a_started_export() -> None:
    """A 201, or a gateway's 200, starts an export; its URL may be missing and is not in its repr."""
    for status in (201, 200):
        started = parse_response(USERS, response(status, STARTED), KEY)
        assert (started.object_prefix, started.url) == ("p", STARTED["url"])
    assert "secret" not in repr(started)
    for url in (None, ""):
        assert parse_response(USERS, response(201, STARTED | {"url": url}), KEY).url is None
    for status, body in ((204, STARTED), (201, {"message": "success"}), (201, {"message": "queued"})):
        with pytest.raises(ReplyError):
            parse_response(USERS, response(status, body), KEY)


def test_a_cancellation_accepts_any_body() -> None:
    """The body of a cancellation is not documented, so only its status is checked."""
    for body in (None, {"message": "success"}, {"message": "1 export cancelled"}, b"<html>"):
        parse_response(cancel_exports("a"), response(200, body), KEY)
    with pytest.raises(StatusError):
        parse_response(cancel_exports("a"), response(400, {"message": "nothing runs"}), KEY)


@pytest.mark.parametrize(
    ("remaining", "headers", "kind"),
    [
        (100, {}, ExportRunningError),
        (0, {}, RateLimitedError),
        (None, {}, RateLimitedError),
        (100, {"Retry_After": "30"}, RateLimitedError),
        (100, {"X_RateLimit_Retry_After": "30"}, RateLimitedError),
    ],
)
def test_a_429_of_an_export_can_mean_that_one_is_running(
    remaining: int | None, headers: dict[str, str], kind: type[StatusError]
) -> None:
    """With remaining requests and without a wait, a 429 means that the segment is being exported."""
    limited = evolve(response(429, **headers), rate_limit=RateLimit(100, remaining, None))
    with pytest.raises(kind) as caught:
        parse_response(USERS, limited, KEY)
    assert caught.value.status == 429
    assert caught.value.retryable is (kind is RateLimitedError)
    with pytest.raises(RateLimitedError):
        parse_response(details("a"), limited, KEY)


def test_the_repr_of_a_response_has_no_body() -> None:
    """The repr of a response, which a traceback may print, has neither headers nor body."""
    assert "secret" not in repr(response(200, b"secret", X="secret"))


@given(st.integers(100, 599), st.binary(max_size=30) | st.text().map(lambda text: {"message": text}))
def test_any_response_is_an_error_or_a_value(status: int, body: object) -> None:
    """Any status other than 200 with any body is a `BrazeError` with one printable line."""
    if status != 200:
        assert str(error_of(status, body)).isprintable()


@given(st.text(st.characters()))
def test_escaped_text_is_printable_and_short(text: str) -> None:
    """Control characters, line breaks, bidirectional marks and surrogates are escaped; long text is cut."""
    shown = escape_control(text)
    assert shown.isprintable()
    assert len(text) > 200 or (shown == text) is text.isprintable()
    assert escape_control("\x1b[31m\n\u202e\ud800é") == r"\x1b[31m\n\u202e\ud800é"
    assert escape_control("x" * 201) == "x" * 200 + "…"


def test_the_repr_of_a_secret_is_masked() -> None:
    """A secret equals its text, but its repr, which a traceback may print, is masked."""
    assert (repr({"key": Secret(KEY)}), Secret(KEY)) == ("{'key': '***'}", KEY)


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(VISIBLE, VISIBLE, VISIBLE)
def test_part_of_any_key_is_found(secret: str, before: str, after: str) -> None:
    """A key of any visible characters is found in any text around it."""
    assert contains_part(f"{before}{secret}{after}", secret)
    assert not contains_part("nothing to hide", "K" * 40)
