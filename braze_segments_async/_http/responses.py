"""Parse a response into a value or raise the matching error. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from braze_segments_async._text import contains_part, escape_control
from braze_segments_async.errors import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
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
from .endpoints import USERS
from .headers import from_epoch, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from braze_segments_async._rate_limit import RateLimit

    from .endpoints import Request

__all__ = ["RETRYABLE_STATUS_MESSAGES", "Response", "parse_response", "request_id"]

T = TypeVar("T")

_MAX_QUOTED = 2_000  # characters; far more than is shown, so that no key is cut at its end
# Retryable statuses.
RETRYABLE_STATUS_MESSAGES = {
    202: "queued: Braze is in maintenance, try again later",
    408: "the service gave up waiting for the request",
    500: "the service failed",
    502: "the service is not available",
    503: "the service is not available",
    504: "the service did not answer its proxy in time",
}
# Other statuses: what is wrong, and the remedy. The text of a 401 is left out: it has been seen to contain
# the key.
_CLIENT_ERRORS: dict[int, tuple[type[StatusError], str]] = {
    400: (BadRequestError, "the parameters are not accepted; most often there is no such segment{said}"),
    401: (
        AuthenticationError,
        (
            "the API key is not accepted: check the key, that base_url is the REST endpoint of its cluster, "
            "and that it has the permission {permission}{key_hint}"
        ),
    ),
    403: (PermissionDeniedError, "the API key needs the permission {permission}{said}"),
    404: (NotFoundError, "no such path here: check that base_url is Braze's REST endpoint{said}"),
}
# A 400, 403 or 429 without Braze's envelope shows nothing about the segment, the key or the rate limit.
_NOT_BRAZE = (
    "the response is not from Braze but from something in front of it, such as a proxy or a firewall: check "
    "the proxy, and that base_url is Braze's REST endpoint"
)
_MAY_NOT_BE = "; the body is not Braze's, so something in front of Braze may have sent it"


@define(eq=False)
class Response:
    """One response, with its whole body.

    Attributes:
        status: HTTP status.
        headers: Headers, whose lookup ignores letter case.
        body: Bytes, decompressed; not shown in the repr.
        rate_limit: The rate limit that the headers contain, if any.
        sent_at: Seconds of the epoch at which the service sent it, by its own clock.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    rate_limit: RateLimit | None
    sent_at: float


def parse_response(request: Request[T], response: Response, key: str, *, key_hint: str = "") -> T:
    """Return the value that a successful response to Braze's API holds.

    Args:
        request: The request.
        response: The response to it.
        key: The API key; server texts that contain part of it are left out of messages.
        key_hint: Clause to add to the message when the key is refused.

    Raises:
        BrazeError: The error that the response stands for, without the request and the number of attempts.
    """
    endpoint = request.endpoint
    if response.status not in endpoint.success:
        raise _error_of(request, response, key, key_hint)
    if not endpoint.documented:
        return request.decode({})
    body = parse_json(response.body)
    if type(body) is not dict:
        raise ReplyError("expected an object at the root of the body", path="$", retryable=True)
    message = body.get("message")
    if message != "success":
        if not isinstance(message, str):
            raise ReplyError("no `message` that says success", path="$.message", retryable=True)
        raise ReplyError(_quote(message, key), path="$.message")
    return request.decode(body)


def _error_of(request: Request[Any], response: Response, key: str, key_hint: str) -> BrazeError:
    status = response.status
    if status < 300 and status != 202:
        return ReplyError(f"status {status} is a success, but not one Braze documents", retryable=True)
    message = _error_message(response)
    # Only Braze sends rate-limit headers, and they are enough: a 429 has been seen without a body.
    from_braze = message is not None or (status == 429 and response.rate_limit is not None)
    said = f" ({_quote(message, key)})" if message else ""
    error: StatusError
    if status in RETRYABLE_STATUS_MESSAGES or status >= 500:
        error = _server_error(response, said)
    elif status == 429:
        error = _export_running_error(request, response) or _rate_limited_error(
            response, "the workspace's rate limit is used up" if from_braze else _NOT_BRAZE
        )
    elif status < 400:
        reason = "a redirect, not followed so that the key stays here: check base_url"
        error = RedirectError(reason, status=status)
    else:
        kind, reason = _CLIENT_ERRORS.get(status, (StatusError, "the request is refused{said}"))
        if not from_braze:
            reason = _NOT_BRAZE if kind in {BadRequestError, PermissionDeniedError} else reason + _MAY_NOT_BE
        permission = request.endpoint.permission
        error = kind(reason.format(permission=permission, said=said, key_hint=key_hint), status=status)
    error.from_braze = from_braze
    return error


def _export_running_error(request: Request[Any], response: Response) -> ExportRunningError | None:
    """Return the error for a 429 that is not about the rate limit: one users export a segment at a time.

    Its text is not documented. Detected by rate-limit headers that leave requests, and name no wait.
    """
    rate_limit = response.rate_limit
    if request.endpoint != USERS or rate_limit is None or not rate_limit.remaining:
        return None
    if parse_retry_after(response.headers, response.sent_at, reset=False) is not None:
        return None
    return ExportRunningError(
        "an export of this segment's users is running already: wait for it",
        status=429,
        remedy={"cancel_exports()": "ends it"},
    )


def _rate_limited_error(response: Response, reason: str) -> RateLimitedError:
    wait = parse_retry_after(response.headers, response.sent_at)
    return RateLimitedError(
        reason,
        retryable=True,
        resets_at=None if wait is None else from_epoch(response.sent_at + wait),
        rate_limit=response.rate_limit,
        retry_after=wait,
    )


def _server_error(response: Response, said: str) -> ServerError:
    status = response.status
    problem = RETRYABLE_STATUS_MESSAGES.get(status, "the service cannot do this")
    return ServerError(
        f"{problem}{said}",
        status=status,
        retryable=status in RETRYABLE_STATUS_MESSAGES,
        retry_after=parse_retry_after(response.headers, response.sent_at, reset=False),
    )


def _error_message(response: Response) -> str | None:
    """Return the `message` of Braze's error envelope; `None` if the body is not one."""
    try:
        body = parse_json(response.body)
    except ReplyError:
        return None
    message = body.get("message") if isinstance(body, dict) else None
    return message if isinstance(message, str) else None


def request_id(response: Response, key: str) -> str | None:
    """Return the `X-Request-Id` of a response, unless it contains part of the API key."""
    text = response.headers.get("X-Request-Id", "")[:_MAX_QUOTED]
    return escape_control(text) if text and not contains_part(text, key) else None


def _quote(message: str, key: str) -> str:
    """Quote a message of the service, unless it contains part of the API key: a 401 has been seen to."""
    message = message[:_MAX_QUOTED]
    if contains_part(message, key):
        return "Braze's message is not shown: it contains part of the API key"
    return f'Braze says "{escape_control(message)}"'
