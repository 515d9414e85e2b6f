"""Settings of a client: frozen values that are checked when they are created."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from attrs import frozen

from ._arguments import (
    check_callback,
    check_fraction,
    check_integer,
    check_proxy,
    check_seconds,
    describe,
)
from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import aiohttp

    from .errors import BrazeError

__all__ = [
    "ClientOptions",
    "ClientSettings",
    "Limits",
    "PauseEvent",
    "RetryEvent",
    "RetryPolicy",
    "check_retry",
]


@frozen(kw_only=True)
class Limits:
    """Safety limits of one client.

    Attributes:
        connect: Seconds to open a connection.
        read_timeout: Seconds without a single byte of a response.
        body: Maximum bytes of one response body, after decompression.
        file: Maximum bytes of a users file, as compressed by Braze.
        pages: Maximum pages of one listing; a longer list raises `PaginationError`.
        retry_quota: Tokens of the client's retry budget. A retry costs 14 of them (5 after a 429). A request
            that succeeds at once refunds 1 token; a retry that succeeds refunds its cost.

    Raises:
        ConfigError: A value is out of range; the message names it.
    """

    connect: float = 10.0
    read_timeout: float = 15.0
    body: int = 16 * 2**20
    file: int = 64 * 2**30
    pages: int = 10_000
    retry_quota: int = 500

    def __attrs_post_init__(self) -> None:
        check_seconds("limits.connect", self.connect)
        check_seconds("limits.read_timeout", self.read_timeout)
        check_integer("limits.body", self.body, at_least=1)
        check_integer("limits.file", self.file, at_least=1)
        check_integer("limits.pages", self.pages, at_least=1)
        check_integer("limits.retry_quota", self.retry_quota, at_least=0)


@frozen(kw_only=True)
class RetryPolicy:
    """The rules for retries of one request; the defaults suit Braze's default rate limit.

    Retries follow connection errors, timeouts, incomplete bodies, the statuses 408, 429, 500, 502, 503 and
    504, Braze's 202 "queued", and once an invalid body. The delay before retry `n` (from 0) is random between
    0 and `min(backoff_cap, backoff * 2**n)`. If the response names a time to wait, the client waits that
    long instead.

    Attributes:
        attempts: Maximum number of times that a request is sent, the first attempt included.
        backoff: Maximum delay before the first retry, in seconds.
        backoff_cap: Maximum delay before any retry, in seconds.
        max_rate_limit_wait: Maximum seconds to wait for the rate limit; a longer wait raises
            `RateLimitedError` at once. Braze's windows end on the clock hour, so 3,900 covers any of them.

    Raises:
        ConfigError: A value is out of range; the message names it.
    """

    attempts: int = 5
    backoff: float = 0.5
    backoff_cap: float = 20.0
    max_rate_limit_wait: float = 120.0

    def __attrs_post_init__(self) -> None:
        check_integer("retry.attempts", self.attempts, at_least=1)
        check_seconds("retry.backoff", self.backoff, zero=True)
        check_seconds("retry.backoff_cap", self.backoff_cap, zero=True)
        check_seconds("retry.max_rate_limit_wait", self.max_rate_limit_wait, zero=True)


@frozen
class RetryEvent:
    """The argument of `on_retry`: a request failed and will be sent again.

    Attributes:
        endpoint: Method and path, such as `"GET /segments/list"`.
        segment_id: Segment that the request is about, if any.
        page: Page of the list that the request is about, if any.
        attempt: Number of the failed attempt, counted from 1.
        wait: Minimum seconds until the next attempt.
        error: Error of the failed attempt.
    """

    endpoint: str
    segment_id: str | None
    page: int | None
    attempt: int
    wait: float
    error: BrazeError


@frozen
class PauseEvent:
    """The argument of `on_pause`: all requests of the client wait for the rate limit.

    Attributes:
        seconds: Seconds from now until the end of the pause.
        until: End of the pause, by the local clock (aware, UTC).
        reason: Cause of the pause, in words.
    """

    seconds: float
    until: datetime
    reason: str


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `BrazeSegments`, for `from_env`."""

    base_url: str
    concurrency: int
    timeout: float
    retry: RetryPolicy
    reserve: float
    limits: Limits
    proxy: str | None
    session: aiohttp.ClientSession | None
    direct: bool
    on_retry: Callable[[RetryEvent], object] | None
    on_pause: Callable[[PauseEvent], object] | None


@frozen(kw_only=True)
class ClientSettings:
    """The checked arguments of `BrazeSegments`, which documents them, other than the key and the URL."""

    concurrency: int
    timeout: float
    retry: RetryPolicy
    reserve: float
    limits: Limits
    proxy: str | None
    session: aiohttp.ClientSession | None
    direct: bool
    on_retry: Callable[[RetryEvent], object] | None
    on_pause: Callable[[PauseEvent], object] | None

    def __attrs_post_init__(self) -> None:
        check_integer("concurrency", self.concurrency, at_least=1)
        check_seconds("timeout", self.timeout)
        check_fraction("reserve", self.reserve)
        if not isinstance(self.limits, Limits):
            raise ConfigError(f"must be a Limits, got {describe(self.limits)}", argument="limits")
        check_retry(self.retry)
        check_proxy(self.proxy)
        if self.session is not None and not callable(getattr(self.session, "request", None)):
            raise ConfigError(
                f"must be an aiohttp.ClientSession, got {describe(self.session)}", argument="session"
            )
        if self.session is not None and self.proxy is not None:
            raise ConfigError(
                "cannot be combined with session. Give the proxy to the session: "
                "aiohttp.ClientSession(proxy=…)",
                argument="proxy",
            )
        if type(self.direct) is not bool:
            raise ConfigError(f"must be True or False, got {describe(self.direct)}", argument="direct")
        check_callback("on_retry", self.on_retry)
        check_callback("on_pause", self.on_pause)


def check_retry(retry: object) -> None:
    """Check that an argument is a retry policy."""
    if not isinstance(retry, RetryPolicy):
        raise ConfigError(f"must be a RetryPolicy, got a {type(retry).__name__}", argument="retry")
