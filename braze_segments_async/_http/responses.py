"""Parse a response into a value or raise the matching error. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from braze_segments_async._text import contains_part, escape_control
from braze_segments_async.errors import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    ExportExpiredError,
    ExportRunningError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    ReplyError,
    ServerError,
    StatusError,
)

from .decoding import parse_json
from .endpoints import USERS, RangeResponse
from .headers import from_epoch, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from braze_segments_async._rate_limit import RateLimit

    from .endpoints import ByteRange, Request

__all__ = ["Response", "parse_response"]

T = TypeVar("T")

_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_LONGEST_QUOTED = 2_000  # far more than is shown: what is cut here is never half a key at its end
# Worth another attempt, all of them.
_RETRYABLE_STATUS_MESSAGES = {
    202: "queued: Braze is in maintenance, try again later",
    408: "the service gave up waiting for the request",
    500: "the service failed",
    502: "the service is not available",
    503: "the service is not available",
    504: "the service did not answer its proxy in time",
}
# Not worth another attempt: what is wrong, and the remedy. What a 401 says is left out: it has been seen to
# hold the key.
_CLIENT_ERRORS: dict[int, tuple[type[StatusError], str]] = {
    400: (BadRequestError, "the parameters are not accepted; most often there is no such segment{said}"),
    401: (
        AuthenticationError,
        (
            "the API key is not accepted: check the key, that base_url is the REST endpoint of its cluster, "
            "and that it has the permission {permission}"
        ),
    ),
    403: (PermissionDeniedError, "the API key needs the permission {permission}{said}"),
    404: (NotFoundError, "no such path here: check that base_url is Braze's REST endpoint{said}"),
}


@define(eq=False)
class Response:
    """What came back, whole.

    Attributes:
        status: the HTTP status.
        headers: lookup ignores letter case.
        body: the bytes, decompressed; not shown in the repr.
        rate_limit: what the headers say of the allowance.
        sent_at: when the service sent it, by its own clock: seconds of the epoch.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    rate_limit: RateLimit | None
    sent_at: float


def parse_response(request: Request[T], reply: Response, secret: str) -> T:
    """The value a success reply holds.

    Args:
        request: what was asked.
        reply: what was answered.
        secret: the key; a text of the service that contains part of it goes into no message.

    Raises:
        BrazeError: of the kind the reply deserves, without the place and the count of attempts.
    """
    if request.part is not None:
        return request.decode(_judge_part(request.part, reply))
    endpoint = request.endpoint
    if reply.status not in endpoint.success:
        raise _error_of(request, reply, secret)
    if not endpoint.documented:
        return request.decode({})
    body = parse_json(reply.body)
    if type(body) is not dict:
        raise ReplyError("expected an object at the root of the body", path="$", retryable=True)
    message = body.get("message")
    if message != "success":
        if not isinstance(message, str):
            raise ReplyError("no `message` that says success", path="$.message", retryable=True)
        raise ReplyError(_quote(message, secret), path="$.message")
    return request.decode(body)


def _judge_part(part: ByteRange, reply: Response) -> RangeResponse:
    etag, body = reply.headers.get("ETag", ""), reply.body
    if reply.status == 206:
        told = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
        first, last, total = map(int, told.groups()) if told else (0, 0, 0)
        if (first, last) != (part.first, min(part.last, total - 1)) or len(body) != last - first + 1:
            raise ReplyError("not the range of bytes that was asked for", retryable=True)
        return RangeResponse(body, total, etag)
    if reply.status == 200 and not part.first:  # the host does not do ranges, and the file is small
        return RangeResponse(body, len(body), etag)
    if reply.status == 200:
        raise ReplyError("the whole file where a part of it was asked for", retryable=True)
    if 300 <= reply.status < 400:
        raise RedirectError("a redirect, not followed", status=reply.status)
    if reply.status in _RETRYABLE_STATUS_MESSAGES or reply.status >= 500 or reply.status == 429:
        raise _unavailable(reply, "the host of the file is busy", "")
    if reply.status in {400, 403} and b"<Code>ExpiredToken</Code>" in body:  # S3, of the url's signature
        raise ExportExpiredError("the url of the file has expired; export the users again")
    kind = {403: PermissionDeniedError, 404: NotFoundError}.get(reply.status, StatusError)
    raise kind("the host of the file refuses it", status=reply.status)


def _error_of(request: Request[Any], reply: Response, secret: str) -> BrazeError:
    status = reply.status
    if status in _RETRYABLE_STATUS_MESSAGES or status >= 500:
        return _unavailable(reply, _RETRYABLE_STATUS_MESSAGES.get(status), _error_message(reply, secret))
    if status == 429:
        return _export_running_error(request, reply) or _rate_limited(reply)
    if 300 <= status < 400:
        return RedirectError(
            "a redirect, not followed so that the key stays here: check base_url", status=status
        )
    if status < 300:
        return ReplyError(f"status {status} is a success, but not one Braze documents", retryable=True)
    kind, reason = _CLIENT_ERRORS.get(status, (StatusError, "the request is refused{said}"))
    said = _error_message(reply, secret) if "{said}" in reason else ""
    return kind(reason.format(permission=request.endpoint.permission, said=said), status=status)


def _export_running_error(request: Request[Any], reply: Response) -> ExportRunningError | None:
    """A 429 that is not of the rate limit: one export of a segment's users at a time.

    Its text is not documented. Detected by rate-limit headers that leave requests, and name no wait.
    """
    told = reply.rate_limit
    if request.endpoint != USERS or told is None or not told.remaining:
        return None
    if parse_retry_after(reply.headers, reply.sent_at, reset=False) is not None:
        return None
    return ExportRunningError(
        "an export of this segment's users is running already: wait for it",
        status=429,
        remedy={"cancel_exports()": "ends it"},
    )


def _rate_limited(reply: Response) -> RateLimitedError:
    error = RateLimitedError("the workspace's rate limit is used up", status=429, retryable=True)
    error.rate_limit = reply.rate_limit
    error.retry_after = parse_retry_after(reply.headers, reply.sent_at)
    if error.retry_after is not None:
        error.resets_at = from_epoch(reply.sent_at + error.retry_after)
    return error


def _unavailable(reply: Response, temporary: str | None, said: str) -> ServerError:
    problem = temporary or "the service cannot do this"
    error = ServerError(f"{problem}{said}", status=reply.status, retryable=temporary is not None)
    error.retry_after = parse_retry_after(reply.headers, reply.sent_at, reset=False)
    return error


def _error_message(reply: Response, secret: str) -> str:
    """The `message` of Braze's error envelope; a proxy's page is not Braze's word and is left out."""
    try:
        body = parse_json(reply.body)
    except ReplyError:
        return ""
    message = body.get("message") if isinstance(body, dict) else None
    return f" ({_quote(message, secret)})" if isinstance(message, str) and message else ""


def _quote(message: str, secret: str) -> str:
    """Quote a message of the service, unless it contains part of the API key: a 401 has been seen to."""
    message = message[:_LONGEST_QUOTED]
    if contains_part(message, secret):
        return "Braze's message is not shown: it contains part of the API key"
    return f'Braze says "{escape_control(message)}"'
