"""The judgement of a reply: a value, or the error it deserves, with a remedy and without the key."""

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
from braze_segments_async._http.responses import Response, parse_response
from braze_segments_async._text import Secret, contains_part, escape_control

KEY = "d3adb33f-0000/4a+1=-%feedc0ffee"
SENT = 1_795_341_600.0  # 2026-11-22 10:00:00 UTC
NO_SEGMENT = "the parameters are not accepted; most often there is no such segment"
KEY_REFUSED = (
    "the API key is not accepted: check the key, that base_url is the REST endpoint of its cluster, "
    "and that it has the permission segments.details"
)
HTML = b"<html><h1>502 Bad Gateway</h1></html>"


def reply(status: int, body: object = None, **headers: str) -> Response:
    """A reply of that status: a JSON body, or bytes as they are."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, named, raw, RateLimit(100, 5, None), SENT)


def error_of(status: int, body: object = None, **headers: str) -> Any:
    """What such a reply to a request for details is judged to be."""
    with pytest.raises(BrazeError) as caught:
        parse_response(details("a"), reply(status, body, **headers), KEY)
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
        (400, BadRequestError, False, NO_SEGMENT),
        (401, AuthenticationError, False, KEY_REFUSED),
        (403, PermissionDeniedError, False, "the API key needs the permission segments.details"),
        (404, NotFoundError, False, "no such path here: check that base_url is Braze's REST endpoint"),
        (408, ServerError, True, "the service gave up waiting for the request"),
        (418, StatusError, False, "the request is refused"),
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
    """Its own type, whether another attempt is worth it, and a text with the remedy; no proxy's page."""
    bodies: list[object] = [
        None,
        HTML,
        b'{"message": ',
        [],
        {"message": None},
        {"message": ""},
        {"errors": []},
    ]
    for body in bodies:
        error = error_of(status, body)
        assert (type(error), error.retryable, error.reason) == (kind, retryable, text)
        assert getattr(error, "status", status) == status
        assert error.__cause__ is error.__context__ is None


@pytest.mark.parametrize("status", [202, 400, 403, 404, 408, 418, 500, 503])
def test_what_braze_says_is_passed_on(status: int) -> None:
    """Its own message helps, so it is quoted, after our remedy."""
    assert error_of(status, {"message": "Invalid URL"}).reason.endswith(' (Braze says "Invalid URL")')


@pytest.mark.parametrize("status", [301, 401, 429])
def test_what_others_say_is_not(status: int) -> None:
    """A 401 may echo the key, a 429 is not told by its text, and a redirect may be anybody's."""
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
def test_a_message_that_echoes_the_key_is_withheld(status: int, echo: str) -> None:
    """Whole, halved, percent-encoded or in base64, in any letter case, beyond the cut of long texts too."""
    for message in (f"Invalid API key: {echo}", f"{'x' * 190}{echo}"):
        error = error_of(status, {"message": message})
        assert "Braze's message is not shown: it contains part of the API key" in str(error)
        shown = f"{error} {error!r} {vars(error)}".lower()
        assert not any(KEY[start : start + 8].lower() in shown for start in range(len(KEY) - 7))
        assert echo[:8].lower() not in shown


def test_a_429_keeps_what_it_was_told() -> None:
    """When the window ends, by the service's clock, and the state of the allowance."""
    error = error_of(429, X_RateLimit_Reset="90")
    assert (error.retry_after, error.resets_at) == (90.0, datetime(2026, 11, 22, 10, 1, 30, tzinfo=UTC))
    assert error.rate_limit == RateLimit(100, 5, None)
    error = error_of(429)
    assert (error.retry_after, error.resets_at) == (None, None)


@pytest.mark.parametrize("name", ["X_RateLimit_Retry_After", "Retry_After"])
@pytest.mark.parametrize("wait", ["1e300", "99999999999999"])
def test_a_429_for_millennia_is_a_429(name: str, wait: str) -> None:
    """A wait beyond any calendar makes no sense: never another exception, in the gate neither."""
    error = error_of(429, **{name: wait})
    assert type(error) is RateLimitedError
    RateLimiter(reserve=0.0, max_wait=1.0).pause(error.retry_after or 1.0, "429", error.resets_at)


def test_only_a_named_wait_counts_after_an_outage() -> None:
    """Every reply has `X-RateLimit-Reset`: after a 503 it says nothing about when to come back."""
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
def test_a_200_is_not_yet_a_success(body: object, path: str | None, text: str, *, retryable: bool) -> None:
    """Only an object whose `message` is success is read; nothing else is ever taken for an empty page."""
    with pytest.raises(ReplyError) as caught:
        parse_response(list_page(0, "asc"), reply(200, body), KEY)
    assert (caught.value.path, caught.value.reason) == (path, text)
    assert caught.value.retryable is retryable


def test_a_success_is_its_value() -> None:
    """With anything else Braze may send beside it."""
    body = {"message": "success", "segments": [{"id": "a", "name": "A"}], "new": 1}
    assert parse_response(list_page(0, "asc"), reply(200, body), KEY) == (Segment("a", "A"),)


USERS = export_users("a", ["email"], None, None)
STARTED = {"message": "success", "object_prefix": "p", "url": "https://example.com/?secret"}


def test_an_export_that_was_started() -> None:
    """201, or the 200 of a gateway, is its success; its url does not show itself, and may be missing."""
    for status in (201, 200):
        started = parse_response(USERS, reply(status, STARTED), KEY)
        assert (started.object_prefix, started.url) == ("p", STARTED["url"])
    assert "secret" not in repr(started)
    for url in (None, ""):
        assert parse_response(USERS, reply(201, STARTED | {"url": url}), KEY).url is None
    for status, body in ((204, STARTED), (201, {"message": "success"}), (201, {"message": "queued"})):
        with pytest.raises(ReplyError):
            parse_response(USERS, reply(status, body), KEY)


def test_what_a_cancellation_answers_is_not_documented() -> None:
    """Its status is all that counts."""
    for body in (None, {"message": "success"}, {"message": "1 export cancelled"}, b"<html>"):
        parse_response(cancel_exports("a"), reply(200, body), KEY)
    with pytest.raises(StatusError):
        parse_response(cancel_exports("a"), reply(400, {"message": "nothing runs"}), KEY)


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
def test_a_429_of_an_export_can_be_another_one(
    remaining: int | None, headers: dict[str, str], kind: type[StatusError]
) -> None:
    """Where some of the allowance is left and no wait is named, an export of that segment is running."""
    told = evolve(reply(429, **headers), rate_limit=RateLimit(100, remaining, None))
    with pytest.raises(kind) as caught:
        parse_response(USERS, told, KEY)
    assert caught.value.status == 429
    assert caught.value.retryable is (kind is RateLimitedError)
    with pytest.raises(RateLimitedError):
        parse_response(details("a"), told, KEY)


def test_a_reply_does_not_show_its_body() -> None:
    """A traceback with locals prints it: neither headers nor body."""
    assert "secret" not in repr(reply(200, b"secret", X="secret"))


@given(st.integers(100, 599), st.binary(max_size=30) | st.text().map(lambda said: {"message": said}))
def test_any_reply_is_judged(status: int, body: object) -> None:
    """Whatever the status and the body: an error of ours (or a value), of one printable line."""
    if status != 200:
        assert str(error_of(status, body)).isprintable()


@given(st.text(st.characters()))
def test_plain_text_is_printable_and_short(text: str) -> None:
    """No control character, line break, reordering mark or surrogate gets through; what is long is cut."""
    shown = escape_control(text)
    assert shown.isprintable()
    assert len(text) > 200 or (shown == text) is text.isprintable()
    assert escape_control("\x1b[31m\n\u202e\ud800é") == r"\x1b[31m\n\u202e\ud800é"
    assert escape_control("x" * 201) == "x" * 200 + "…"


def test_a_secret_does_not_show_itself() -> None:
    """It is the text it is, but a traceback with locals prints stars."""
    assert (repr({"key": Secret(KEY)}), Secret(KEY)) == ("{'key': '***'}", KEY)


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


@given(VISIBLE, VISIBLE, VISIBLE)
def test_any_key_is_found(secret: str, before: str, after: str) -> None:
    """Whatever characters it is made of, and whatever is around it."""
    assert contains_part(f"{before}{secret}{after}", secret)
    assert not contains_part("nothing to hide", "K" * 40)
