"""Rows of the fault table with a status: rate limit, errors, redirects, 202."""

from __future__ import annotations

from email.utils import formatdate
from functools import partial

from fault_client import KEY, Row
from raw_server import Fault, answer

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    ServerError,
    StatusError,
)

NOW = 1_795_341_600  # the clock of the service, which differs from the local one
DATE = formatdate(NOW, usegmt=True)
HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1><hr>nginx/1.27</body></html>"


def _error(status: int, message: str = "", **headers: str) -> Fault:
    body = b'{"message": "%s"}' % message.encode()
    return answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def _limited(**headers: str) -> Fault:
    return _error(429, "Rate limit exceeded", Date=DATE, **headers)


_LIMITED_ONCE = partial(Row, fault="429 in every form", times=1, requests=2)
_IN_30 = formatdate(NOW + 30, usegmt=True)
_YESTERDAY = formatdate(NOW - 86_400, usegmt=True)
LIMITS = [
    *(
        _LIMITED_ONCE(variant=variant, respond=_limited(**headers), waits=30.0)
        for variant, headers in {
            "X-RateLimit-Retry-After": {"X-RateLimit-Retry-After": "30"},
            "X-RateLimit-Retry-After, a fraction": {"X-RateLimit-Retry-After": "30.0"},
            "Retry-After in seconds": {"Retry-After": "30"},
            "Retry-After as a date": {"Retry-After": _IN_30},
            "Reset as epoch": {"X-RateLimit-Reset": f"{NOW + 30}"},
            "Reset as relative seconds": {"X-RateLimit-Reset": "30"},
            "Reset as milliseconds": {"X-RateLimit-Reset": f"{NOW + 30}000"},
            "letter case": {"x-ratelimit-RESET": f"{NOW + 30}"},
            "several: the first counts": {
                "X-RateLimit-Reset": "90",
                "Retry-After": "60",
                "X-RateLimit-Retry-After": "30",
            },
            "several: nonsense is passed over": {
                "X-RateLimit-Retry-After": "soon",
                "Retry-After": "",
                "X-RateLimit-Reset": f"{NOW + 30}",
            },
            "several: the past is passed over": {"Retry-After": _YESTERDAY, "X-RateLimit-Reset": "30"},
        }.items()
    ),
    *(
        _LIMITED_ONCE(variant=f"{name}: {value!r}", respond=_limited(**{name: value}))
        for name, values in {
            "X-RateLimit-Retry-After": (
                "-5",
                "0",
                "nan",
                "inf",
                "1e999",
                "soon",
                "",
                "٣٠".encode().decode("latin-1"),
            ),
            "Retry-After": ("-5", "nan", "-inf", "Sun, 99 Nov 2026", _YESTERDAY, ""),
            "X-RateLimit-Reset": (
                f"{NOW - 60}",
                f"{NOW - 60}000",
                "-1",
                "nan",
                "inf",
                "9" * 400,
                "later",
                "",
            ),
        }.items()
        for value in values
    ),
    _LIMITED_ONCE(variant="no header at all", respond=_limited()),
    _LIMITED_ONCE(variant="no body, no header", respond=answer(429, b"")),
    _LIMITED_ONCE(variant="twice", respond=_limited(), times=2, requests=3),
    Row(
        fault="429 in every form",
        variant="for ever",
        respond=_limited(),
        error=RateLimitedError,
        message_contains="429",
        requests=5,
    ),
    *(
        Row(
            fault="429: a wait beyond the maximum",
            variant=variant,
            respond=_limited(**headers),
            error=RateLimitedError,
            message_contains="121 s",
        )
        for variant, headers in {
            "X-RateLimit-Retry-After": {"X-RateLimit-Retry-After": "121"},
            "Retry-After": {"Retry-After": "121"},
            "Reset": {"X-RateLimit-Reset": f"{NOW + 121}"},
        }.items()
    ),
]

_TEMPORARY = (500, 502, 503, 504, 408)
STATUSES = [
    *(
        Row(
            fault="500/502/503/504/408 once or twice",
            variant=f"{status}, {times}",
            times=times,
            requests=times + 1,
            respond=answer(status, HTML, {"Content-Type": "text/html"}),
        )
        for status in _TEMPORARY
        for times in (1, 2)
    ),
    *(
        Row(
            fault="500/502/503/504/408 for ever",
            variant=f"{status}",
            error=ServerError,
            message_contains=f"{status} after 5 attempts",
            requests=5,
            respond=answer(status, HTML, {"Content-Type": "text/html"}),
        )
        for status in _TEMPORARY
    ),
    Row(
        fault="503 with Retry-After",
        variant="once",
        respond=_error(503, Retry_After="30"),
        times=1,
        requests=2,
        waits=30.0,
    ),
    Row(
        fault="503 with Retry-After",
        variant="beyond the maximum",
        respond=_error(503, Retry_After="121"),
        error=ServerError,
        message_contains="503 after 1 attempt",
    ),
    *(
        Row(
            fault="5xx that cannot pass",
            variant=f"{status}",
            respond=_error(status),
            error=ServerError,
            message_contains=f"{status}",
        )
        for status in (501, 505, 511)
    ),
    Row(
        fault="401 / 403 / 404 / 400",
        variant="401: key and cluster",
        respond=_error(401, f"Invalid API key: {KEY}"),
        error=AuthenticationError,
        message_contains="check the key, that base_url is the rest endpoint of its cluster",
    ),
    Row(
        fault="401 / 403 / 404 / 400",
        variant="401 with empty limits",
        error=AuthenticationError,
        message_contains="401",
        respond=_error(401, X_RateLimit_Limit="", X_RateLimit_Remaining="", X_RateLimit_Reset=""),
    ),
    Row(
        fault="401 / 403 / 404 / 400",
        variant="403: the permission",
        respond=_error(403, "no"),
        error=PermissionDeniedError,
        message_contains="the permission segments.",
    ),
    Row(
        fault="401 / 403 / 404 / 400",
        variant="404: base_url",
        respond=_error(404, "Invalid URL"),
        error=NotFoundError,
        message_contains="base_url",
    ),
    Row(
        fault="401 / 403 / 404 / 400",
        variant="400: its own text",
        respond=_error(400, "segment_id must be a string"),
        error=BadRequestError,
        message_contains="segment_id must be a string",
    ),
    *(
        Row(
            fault="another 4xx",
            variant=f"{status}",
            respond=_error(status),
            error=StatusError,
            message_contains=f"{status}",
        )
        for status in (402, 405, 409, 413, 422)
    ),
    *(
        Row(
            fault="3xx anywhere",
            variant=f"{status}",
            respond=_error(status, Location="/segments/list"),
            error=RedirectError,
            message_contains="base_url",
        )
        for status in (300, 301, 302, 303, 304, 307, 308)
    ),
    Row(fault="202 queued", variant="once", respond=_error(202, "queued"), times=1, requests=2),
    Row(
        fault="202 queued",
        variant="for ever",
        respond=_error(202, "queued"),
        error=ServerError,
        message_contains="maintenance",
        requests=5,
    ),
    Row(
        fault="202 queued",
        variant="with a success body",
        respond=answer(202),
        error=ServerError,
        message_contains="maintenance",
        requests=5,
    ),
]
