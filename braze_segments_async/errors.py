"""Everything this library raises, as one tree.

::

    BrazeError
    ├── ConfigError              a wrong argument; nothing was sent        (also ValueError)
    ├── ClosedError              used before opening or after closing      (also RuntimeError)
    ├── TransportError           no complete reply arrived
    │   └── TimedOutError        ... in time                               (also TimeoutError)
    ├── StatusError              a reply with an error status: .status
    │   ├── BadRequestError      400
    │   ├── AuthenticationError  401
    │   ├── PermissionDeniedError  403: names the permission the key needs
    │   ├── NotFoundError        404
    │   ├── RateLimitedError     429: .resets_at, .rate_limit
    │   ├── ExportRunningError   429, but of a users export that is running already
    │   ├── RedirectError        3xx, never followed
    │   └── ServerError          5xx, 408, and 202 "queued"
    ├── ReplyError               a success status, but not what Braze documents: .path
    ├── PaginationError          the walk does not move forward, or never ends
    └── ExportError              a file could not be had, written or resumed
        └── ExportExpiredError   the url of a users export is not valid any more

No other exception leaves the library, but for the caller's own. None of these holds the API key or another
library's exception: aiohttp's, for one, carry the Authorization header in their `repr`.
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
    """The root: catch this to catch everything the library raises.

    Attributes:
        reason: what went wrong; `str(error)` puts the request or the argument in front, and the remedy at
            the end.
        argument: the wrong argument, with which the message begins; `None` if there is none.
        remedy: arguments and calls that help, such as `resume=True`, each with what it does.
        endpoint: method and path, such as `"GET /segments/details"`; `None` if no request was concerned.
        segment_id: the segment the request was about, if any.
        page: the list page the request was about, if any.
        attempts: how often the request was sent; 0 if it never was.
        elapsed: seconds from the first attempt to the error, waits included.
        retryable: whether sending the same request again could help.
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

    def about(self, endpoint: str, *, segment_id: str | None = None, page: int | None = None) -> Self:
        """Say which request the error is about; the one who raises it may not know."""
        self.endpoint, self.segment_id, self.page = endpoint, segment_id, page
        return self

    def __str__(self) -> str:
        """`GET /segments/details (segment_id=…): 403 after 1 attempt: the API key needs …`."""
        return self.message({})

    def message(self, names: Mapping[str, str]) -> str:
        """Return the text of the error with other names for arguments, such as the options of a command.

        Args:
            names: the names by those of the library: of `argument`, and of the keys of `remedy`.
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
    """An argument is wrong; the message names it and its range. Nothing was sent."""


class ClosedError(BrazeError, RuntimeError):
    """The client was used before it was opened, after it was closed, or from another event loop."""


class TransportError(BrazeError):
    """No complete reply arrived: no connection, a reset, a body cut short, a TLS failure.

    Attributes:
        sent: whether the request may have arrived; `False` if there was no connection.
        suspended: whether this process stood still during the request, which may be why the request failed.
    """

    label = "no complete reply"
    sent: bool = True
    suspended: bool = False


class TimedOutError(TransportError, TimeoutError):
    """No complete reply arrived within the time-out of one attempt."""

    label = "no complete reply in time"


class StatusError(BrazeError):
    """Braze, or something in front of it, answered with an error status.

    Attributes:
        status: the HTTP status.
    """

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
    """400: Braze does not take the parameters; most often the segment does not exist."""


class AuthenticationError(StatusError):
    """401: the key is unknown to this cluster. A key works on one workspace of one cluster only."""


class PermissionDeniedError(StatusError):
    """403: the key exists, but lacks the permission that the message names."""


class NotFoundError(StatusError):
    """404: no such path on this host; most often the base url is not Braze's REST endpoint."""


class RateLimitedError(StatusError):
    """429: the workspace's hourly allowance is used up, or down to the reserve left for others.

    Attributes:
        resets_at: when the allowance is whole again, if the service said so.
        rate_limit: what the reply's headers said, if anything.
        retry_after: the seconds from the reply until `resets_at`, by the service's own clock.
    """

    resets_at: datetime | None = None
    rate_limit: RateLimit | None = None
    retry_after: float | None = None


class ExportRunningError(StatusError):
    """429 where the allowance is not used up: Braze exports the users of a segment once at a time."""


class RedirectError(StatusError):
    """3xx: never followed, since the key would go to wherever the reply points."""


class ServerError(StatusError):
    """5xx, 408, or 202 "queued" as in Braze's maintenance: the service could not answer now.

    Attributes:
        retry_after: how many seconds the reply asked to wait, if it did.
    """

    retry_after: float | None = None


class ReplyError(BrazeError):
    """A success status, but not the reply Braze documents: another message, shape, or not JSON at all.

    Attributes:
        path: where in the body, such as `$.segments[3].name`; `None` if the body was not read as JSON.
    """

    label = "unusable reply"

    def __init__(self, reason: str = "", *, path: str | None = None, retryable: bool = False) -> None:
        super().__init__(reason, retryable=retryable)
        self.path = path


class PaginationError(BrazeError):
    """The walk through the list does not move forward, or never ends: the catalogue is not complete.

    Attributes:
        only_first: with `consistency="strict"`: ids that only the walk in the direction asked for had.
        only_second: ids that only the walk in the other direction had.
    """

    only_first: frozenset[str] = frozenset()
    only_second: frozenset[str] = frozenset()


class ExportError(BrazeError):
    """A file could not be had, written or resumed; the target is as it was."""


class ExportExpiredError(ExportError):
    """The url of a users export is not valid any more: it lives for about four hours."""
