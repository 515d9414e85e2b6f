"""All exceptions that this library raises.

::

    BrazeError
    ├── ConfigError              a wrong argument; nothing was sent        (also ValueError)
    ├── ClosedError              used before opening or after closing      (also RuntimeError)
    ├── TransportError           no complete response arrived
    │   └── TimedOutError        no complete response within the timeout   (also TimeoutError)
    ├── StatusError              a response with an error status: .status
    │   ├── BadRequestError      400
    │   ├── AuthenticationError  401
    │   ├── PermissionDeniedError  403: names the permission the key needs
    │   ├── NotFoundError        404
    │   ├── RateLimitedError     429: .resets_at, .rate_limit
    │   ├── ExportRunningError   429 because a users export is already running
    │   ├── RedirectError        3xx, never followed
    │   └── ServerError          5xx, 408, and 202 "queued"
    ├── ReplyError               a success status, but an invalid response: .path
    ├── PaginationError          the list of segments does not advance, or does not end
    └── ExportError              a file could not be downloaded, written or resumed
        └── ExportExpiredError   the URL of a users export has expired

The library raises no other exceptions, except those that the caller's own code raises. No error contains the
API key, or has an exception of another library as its cause or context: aiohttp's exceptions show the
Authorization header in their `repr`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from ._text import escape_control

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ._rate_limit import RateLimit

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "BrazeError",
    "ClosedError",
    "ConfigError",
    "ExportError",
    "ExportExpiredError",
    "ExportRunningError",
    "NotFoundError",
    "PaginationError",
    "PermissionDeniedError",
    "RateLimitedError",
    "RedirectError",
    "ReplyError",
    "ServerError",
    "StatusError",
    "TimedOutError",
    "TransportError",
]


class BrazeError(Exception):
    """The base class of all exceptions of the library.

    Attributes:
        reason: What happened; `str(error)` adds the request or the argument in front, and the remedy at the
            end.
        argument: Name of the invalid argument, with which the message begins; `None` if there is none.
        remedy: Arguments and calls that help, such as `resume=True`, each with its effect.
        endpoint: Method and path, such as `"GET /segments/details"`; `None` without a request.
        segment_id: Segment that the request was about, if any.
        page: Page of the list that the request was about, if any.
        attempts: Number of times that the request was sent; 0 if it was not sent.
        elapsed: Seconds from the first attempt to the error, waits included.
        request_id: `X-Request-Id` of the last response, for Braze's support; `None` without one.
        retryable: Whether sending the same request again could succeed.
    """

    label: ClassVar[str] = ""

    def __init__(
        self,
        reason: str = "",
        *,
        retryable: bool = False,
        argument: str | None = None,
        remedy: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.argument = argument
        self.remedy = dict(remedy or {})
        self.retryable = retryable
        self.endpoint: str | None = None
        self.segment_id: str | None = None
        self.page: int | None = None
        self.attempts = 0
        self.elapsed = 0.0
        self.request_id: str | None = None

    def about(self, endpoint: str, *, segment_id: str | None = None, page: int | None = None) -> Self:
        """Set the request that the error is about, and return the error."""
        self.endpoint, self.segment_id, self.page = endpoint, segment_id, page
        return self

    def __str__(self) -> str:
        """Return the message, such as `GET /segments/list (page=0): 403 after 1 attempt: the API key …`."""
        return self.message({})

    def message(self, names: Mapping[str, str]) -> str:
        """Return the message with other names for arguments, such as the options of a command.

        Args:
            names: Other names for `argument` and for the keys of `remedy`.

        Returns:
            The same text as `str(error)`, with those names.
        """
        place = ""
        if self.segment_id is not None:
            place = f" (segment_id={escape_control(self.segment_id)})"
        elif self.page is not None:
            place = f" (page={self.page})"
        what = self._what()
        if self.attempts:
            what += f" after {self.attempts} attempt{'s' if self.attempts > 1 else ''}"
        request = f"{self.endpoint}{place}" if self.endpoint else ""
        reason = self.reason
        if self.argument is not None:
            reason = f"{names.get(self.argument, self.argument)} {reason}"
        if self.remedy:
            reason += "; " + ", ".join(f"{names.get(key, key)} {does}" for key, does in self.remedy.items())
        return ": ".join(part for part in (request, what.strip(), reason) if part)

    def _what(self) -> str:
        return self.label


class ConfigError(BrazeError, ValueError):
    """An invalid argument; the message names it and the values it can have. Nothing was sent."""


class ClosedError(BrazeError, RuntimeError):
    """Use of a client or stream before it was opened, after it was closed, or in another event loop."""


class TransportError(BrazeError):
    """A network failure: no connection, a connection reset, an incomplete body or a TLS failure.

    Attributes:
        sent: Whether the request may have arrived at the service; `False` if there was no connection.
        suspended: Whether the process was suspended during the request, which may be why it failed.
    """

    label = "no complete response"

    def __init__(
        self,
        reason: str = "",
        *,
        retryable: bool = False,
        remedy: Mapping[str, str] | None = None,
        sent: bool = True,
        suspended: bool = False,
    ) -> None:
        super().__init__(reason, retryable=retryable, remedy=remedy)
        self.sent = sent
        self.suspended = suspended


class TimedOutError(TransportError, TimeoutError):
    """A response that did not arrive within the timeout of one attempt, or a wait that timed out."""

    label = "no complete response in time"


class StatusError(BrazeError):
    """A response with an error status, from Braze or from a proxy in front of it.

    Attributes:
        status: HTTP status.
        from_braze: `False` if the body is not JSON with a `message`, as Braze sends it. Then something in
            front of Braze sent the response, such as a proxy or a firewall, or the host of a users file.
    """

    from_braze: bool = True

    def __init__(
        self,
        reason: str = "",
        *,
        status: int = 0,
        retryable: bool = False,
        remedy: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(reason, retryable=retryable, remedy=remedy)
        self.status = status

    def _what(self) -> str:
        return str(self.status) if self.attempts else ""


class BadRequestError(StatusError):
    """Status 400: Braze does not accept the parameters. Usually the segment does not exist."""


class AuthenticationError(StatusError):
    """Status 401: the cluster does not accept the key. A key works for one workspace of one cluster only."""


class PermissionDeniedError(StatusError):
    """Status 403: the key lacks the permission that the message names, or a proxy refuses the request.

    Braze also documents it for an endpoint that the plan or the account does not include.
    """


class NotFoundError(StatusError):
    """Status 404: the host has no such path. Usually the base URL is not a REST endpoint of Braze."""


class RateLimitedError(StatusError):
    """Status 429: the workspace's hourly rate limit is used up, or down to the reserve for other clients.

    With `from_braze=False` it is the limit of a proxy in front of Braze.

    Attributes:
        resets_at: Time at which the rate limit resets (aware, UTC); `None` if unknown.
        rate_limit: Rate limit from the most recent response; `None` if it had none.
        retry_after: Seconds from the response to `resets_at`, by the service's clock; `None` if unknown.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        status: int = 429,
        retryable: bool = False,
        remedy: Mapping[str, str] | None = None,
        resets_at: datetime | None = None,
        rate_limit: RateLimit | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason, status=status, retryable=retryable, remedy=remedy)
        self.resets_at = resets_at
        self.rate_limit = rate_limit
        self.retry_after = retry_after


class ExportRunningError(StatusError):
    """Status 429 although requests remain: Braze runs one users export per segment at a time."""


class RedirectError(StatusError):
    """Status 3xx: redirects are not followed, since the API key would be sent to the new location."""


class ServerError(StatusError):
    """Status 5xx, 408, or 202 "queued" (maintenance at Braze): the service is temporarily unavailable.

    Attributes:
        retry_after: Seconds to wait, from the headers of the response; `None` if they name none.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        status: int = 0,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason, status=status, retryable=retryable)
        self.retry_after = retry_after


class ReplyError(BrazeError):
    """A response with a success status whose body is not what Braze documents.

    Attributes:
        path: Place in the body, such as `$.segments[3].name`, or in a users file, such as `file 1 of the ZIP,
            line 7`; `None` if the body is not JSON. It ends the message.
    """

    label = "invalid response"

    def __init__(self, reason: str = "", *, path: str | None = None, retryable: bool = False) -> None:
        super().__init__(reason, retryable=retryable)
        self.path = path

    def message(self, names: Mapping[str, str]) -> str:
        """Return the message, with the place in the body at its end."""
        place = f" (at {escape_control(self.path)})" if self.path else ""
        return super().message(names) + place


class PaginationError(BrazeError):
    """An incomplete list of segments: the pages do not advance or do not end, or the list changes too fast.

    Attributes:
        only_first: With `consistency="strict"`, ids found only in the requested `sort_direction`.
        only_second: With `consistency="strict"`, ids found only in the opposite direction.
    """

    def __init__(
        self,
        reason: str = "",
        *,
        retryable: bool = False,
        only_first: frozenset[str] = frozenset(),
        only_second: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(reason, retryable=retryable)
        self.only_first = only_first
        self.only_second = only_second


class ExportError(BrazeError):
    """A file that could not be downloaded, written or resumed; an existing file is unchanged."""


class ExportExpiredError(ExportError):
    """An expired URL of a users export. URLs are valid for about four hours."""
