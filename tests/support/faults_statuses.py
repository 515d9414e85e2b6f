"""The rows of the table of faults that are a status: the rate limit, errors, redirects, 202."""

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

NOW = 1_795_341_600  # what the service's clock says: not what the local one does
DATE = formatdate(NOW, usegmt=True)
HTML = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1><hr>nginx/1.27</body></html>"


def _error(status: int, message: str = "", **headers: str) -> Fault:
    body = b'{"message": "%s"}' % message.encode()
    return answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def _limited(**headers: str) -> Fault:
    return _error(429, "Rate limit exceeded", Date=DATE, **headers)


_DRESSED = partial(Row, words="429 in every dress", times=1, requests=2)
_IN_30 = formatdate(NOW + 30, usegmt=True)
_YESTERDAY = formatdate(NOW - 86_400, usegmt=True)
LIMITS = [
    *(
        _DRESSED(dress=dress, fault=_limited(**headers), waits=30.0)
        for dress, headers in {
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
        _DRESSED(dress=f"{name}: {value!r}", fault=_limited(**{name: value}))
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
    _DRESSED(dress="no header at all", fault=_limited()),
    _DRESSED(dress="no body, no header", fault=answer(429, b"")),
    _DRESSED(dress="twice", fault=_limited(), times=2, requests=3),
    Row(
        words="429 in every dress",
        dress="for ever",
        fault=_limited(),
        error=RateLimitedError,
        says="429",
        requests=5,
    ),
    *(
        Row(
            words="429: a wait beyond the maximum",
            dress=dress,
            fault=_limited(**headers),
            error=RateLimitedError,
            says="121 s",
        )
        for dress, headers in {
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
            words="500/502/503/504/408 once or twice",
            dress=f"{status}, {times}",
            times=times,
            requests=times + 1,
            fault=answer(status, HTML, {"Content-Type": "text/html"}),
        )
        for status in _TEMPORARY
        for times in (1, 2)
    ),
    *(
        Row(
            words="500/502/503/504/408 for ever",
            dress=f"{status}",
            error=ServerError,
            says=f"{status} after 5 attempts",
            requests=5,
            fault=answer(status, HTML, {"Content-Type": "text/html"}),
        )
        for status in _TEMPORARY
    ),
    Row(
        words="503 with Retry-After",
        dress="once",
        fault=_error(503, Retry_After="30"),
        times=1,
        requests=2,
        waits=30.0,
    ),
    Row(
        words="503 with Retry-After",
        dress="beyond the maximum",
        fault=_error(503, Retry_After="121"),
        error=ServerError,
        says="503 after 1 attempt",
    ),
    *(
        Row(
            words="5xx that cannot pass",
            dress=f"{status}",
            fault=_error(status),
            error=ServerError,
            says=f"{status}",
        )
        for status in (501, 505, 511)
    ),
    Row(
        words="401 / 403 / 404 / 400",
        dress="401: key and cluster",
        fault=_error(401, f"Invalid API key: {KEY}"),
        error=AuthenticationError,
        says="check the key, that base_url is the rest endpoint of its cluster",
    ),
    Row(
        words="401 / 403 / 404 / 400",
        dress="401 with empty limits",
        error=AuthenticationError,
        says="401",
        fault=_error(401, X_RateLimit_Limit="", X_RateLimit_Remaining="", X_RateLimit_Reset=""),
    ),
    Row(
        words="401 / 403 / 404 / 400",
        dress="403: the permission",
        fault=_error(403, "no"),
        error=PermissionDeniedError,
        says="the permission segments.",
    ),
    Row(
        words="401 / 403 / 404 / 400",
        dress="404: base_url",
        fault=_error(404, "Invalid URL"),
        error=NotFoundError,
        says="base_url",
    ),
    Row(
        words="401 / 403 / 404 / 400",
        dress="400: its own text",
        fault=_error(400, "segment_id must be a string"),
        error=BadRequestError,
        says="segment_id must be a string",
    ),
    *(
        Row(words="another 4xx", dress=f"{status}", fault=_error(status), error=StatusError, says=f"{status}")
        for status in (402, 405, 409, 413, 422)
    ),
    *(
        Row(
            words="3xx anywhere",
            dress=f"{status}",
            fault=_error(status, Location="/segments/list"),
            error=RedirectError,
            says="base_url",
        )
        for status in (300, 301, 302, 303, 304, 307, 308)
    ),
    Row(words="202 queued", dress="once", fault=_error(202, "queued"), times=1, requests=2),
    Row(
        words="202 queued",
        dress="for ever",
        fault=_error(202, "queued"),
        error=ServerError,
        says="maintenance",
        requests=5,
    ),
    Row(
        words="202 queued",
        dress="with a success body",
        fault=answer(202),
        error=ServerError,
        says="maintenance",
        requests=5,
    ),
]
