"""Send a request as often as it takes: rate limiter, transport, response, retry.

The only importer of tenacity. A retry repeats one request, never a whole listing.
"""

from __future__ import annotations

import time
from asyncio import sleep
from collections import defaultdict
from logging import DEBUG
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from attrs import define
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from braze_segments_async._settings import RetryEvent
from braze_segments_async._text import logger
from braze_segments_async.errors import BrazeError, RateLimitedError, StatusError, TransportError

from .rate_limiter import BRAZE_429, PROXY_429, too_long
from .responses import parse_response, request_id
from .retry import RetryBudget, named_wait, reason_to_stop, wait_before_retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yarl import URL

    from braze_segments_async._settings import ClientSettings
    from braze_segments_async._text import Secret

    from .endpoints import Request
    from .rate_limiter import RateLimiter
    from .transport import Transport

__all__ = ["RequestSender"]

T = TypeVar("T")

_RETRY_COST = 14  # tokens of the retry budget
_RATE_LIMITED_COST = 5


@define(eq=False)
class Total:
    """The number of requests, and the seconds that they took together."""

    count: int = 0
    seconds: float = 0.0


class RequestSender:
    """Sends the requests of one client. It alone uses the rate limiter and the retry budget.

    Attributes:
        totals: Requests to Braze by path and status, `None` for those without a response.
        retries: Number of attempts so far that repeated a failed one.
    """

    def __init__(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        settings: ClientSettings,
        *,
        base_url: URL,
        key: Secret,
        key_hint: str,
    ) -> None:
        """Combine the parts; all are shared by all requests of the client.

        Args:
            transport: An open transport.
            rate_limiter: Delays requests to Braze.
            settings: Arguments of the client.
            base_url: The REST endpoint.
            key: The API key; server texts that contain part of it are left out of messages.
            key_hint: Clause to add to the message when the key is refused.
        """
        self.retries = 0
        self.totals: defaultdict[tuple[str, int | None], Total] = defaultdict(Total)
        self.rate_limiter = rate_limiter
        self.policy = settings.retry
        self.budget = RetryBudget(settings.limits.retry_quota)
        self.on_retry = settings.on_retry
        self._transport = transport
        self._base_url = base_url
        self._key = key
        self._key_hint = key_hint
        self._urls: dict[str, URL] = {}

    async def send(
        self, request: Request[T], attempt: Callable[[Request[T]], Awaitable[T]] | None = None
    ) -> T:
        """Send a request until it succeeds or a retry cannot help.

        Args:
            request: The request.
            attempt: Sends the request once; by default to Braze, through the rate limiter. The errors it
                raises have `attempts` 1 if the request was sent.

        Raises:
            BrazeError: The failure of the last attempt, with the request, the number of attempts and the
                seconds since the first one.
        """
        started = time.monotonic()
        attempt = attempt or self._attempt
        try:
            value = await attempt(request)
        except BrazeError as error:
            first = error
        else:
            self.budget.refund(1)
            return value
        # Outside the except block: the errors of later attempts must not refer to the first one.
        return await _FailedRequest(self, request, attempt, started, first).retry_until_done()

    async def _attempt(self, request: Request[T]) -> T:
        await self.rate_limiter.acquire()
        started = time.monotonic()
        response = None
        failure: BrazeError
        endpoint = request.endpoint
        url = self._urls.get(endpoint.path)
        if url is None:
            url = self._base_url.with_path(self._base_url.path.rstrip("/") + endpoint.path)
            self._urls[endpoint.path] = url
        try:
            response = await self._transport.send(endpoint.method, url, request.params, json=request.json)
            if logger.isEnabledFor(DEBUG):
                size = {"status": response.status, "bytes": len(response.body)}
                logger.debug("%s: %d", endpoint, response.status, extra={**request.labels, **size})
            return parse_response(request, response, self._key, key_hint=self._key_hint)
        except BrazeError as error:
            failure = error
            if response is not None:
                failure.request_id = request_id(response, self._key)
        finally:
            # Release before anything else is awaited: other requests can be sent as a result.
            if response is None:
                status = None
                self.rate_limiter.release()
            else:
                status = response.status
                self.rate_limiter.release(response.rate_limit, response.sent_at, rate_limited=status == 429)
            total = self.totals[endpoint.path, status]
            total.count += 1
            total.seconds += time.monotonic() - started
        failure.attempts = 1
        # Without the frames below: their locals hold the body, and that may hold anything.
        raise failure.with_traceback(None)


@define(eq=False)
class _FailedRequest(Generic[T]):
    """A request whose first attempt failed, as tenacity needs it: one method for each of its hooks.

    tenacity starts only here, since it would cost every successful request about 30 µs.
    """

    sender: RequestSender
    request: Request[T]
    attempt: Callable[[Request[T]], Awaitable[T]]
    started: float
    first: BrazeError | None
    attempts: int = 0
    cost: int = 0
    spent: int = 0
    delay: float = 0.0

    async def retry_until_done(self) -> T:
        """Send the request until it succeeds or there is a reason to stop."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(BrazeError),
            wait=self._wait,
            stop=self._stop,
            before_sleep=self._before_sleep,
            retry_error_callback=self._raise_last_error,
            sleep=sleep,
        )
        value: T = await retrying(self._next_attempt)
        self.sender.budget.refund(self.spent)
        return value

    async def _next_attempt(self) -> T:
        failure, self.first = self.first, None  # the first call stands for the attempt that was made already
        if failure is None:
            try:
                return await self.attempt(self.request)
            except BrazeError as error:
                failure = error
        self.attempts += failure.attempts
        failure.attempts = self.attempts
        failure.elapsed = time.monotonic() - self.started
        failure.about(str(self.request.endpoint), segment_id=self.request.segment_id, page=self.request.page)
        self.cost = self._cost(failure)
        if isinstance(failure, RateLimitedError) and failure.retryable and failure.retry_after is not None:
            # Now, whether or not this request is repeated: all others would get a 429, too.
            self.sender.rate_limiter.pause(failure.retry_after, _pause_reason(failure), failure.resets_at)
        raise failure

    def _cost(self, error: BrazeError) -> int:
        """Return the tokens of the retry budget that a retry costs."""
        if isinstance(error, RateLimitedError):
            # The 429s of one burst are one event: the first one pauses all requests, and costs tokens.
            return 0 if self.sender.rate_limiter.paused else _RATE_LIMITED_COST
        # A failure while the process stood still says nothing about the service, and costs nothing.
        return 0 if isinstance(error, TransportError) and error.suspended else _RETRY_COST

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        self.delay = wait_before_retry(self.sender.policy, error, self.attempts)
        return 0.0 if isinstance(error, RateLimitedError) else self.delay  # the rate limiter waits, for all

    def _reason_to_stop(self, error: BrazeError) -> str | None:
        repeatable = self.request.endpoint.repeatable
        reason = reason_to_stop(self.sender.policy, error, self.attempts, repeatable=repeatable)
        if reason is None and self.cost > self.sender.budget.tokens:
            return "not retried, since the client's retry quota is used up"
        return reason

    def _stop(self, state: RetryCallState) -> bool:
        return self._reason_to_stop(_error(state)) is not None

    def _before_sleep(self, state: RetryCallState) -> None:
        sender, request, error = self.sender, self.request, _error(state)
        sender.budget.spend(self.cost)
        self.spent += self.cost
        if isinstance(error, RateLimitedError) and error.retry_after is None:
            sender.rate_limiter.pause(self.delay, _pause_reason(error), error.resets_at)
        sender.retries += 1
        status = error.status if isinstance(error, StatusError) else None
        extra: dict[str, object] = {"status": status, "attempt": self.attempts, "wait": self.delay}
        logger.info("retrying in %.2f s: %s", self.delay, error, extra={**request.labels, **extra})
        if sender.on_retry is not None:
            endpoint, segment_id, page = str(request.endpoint), request.segment_id, request.page
            sender.on_retry(RetryEvent(endpoint, segment_id, page, self.attempts, self.delay, error))

    def _raise_last_error(self, state: RetryCallState) -> NoReturn:
        error = _error(state)
        clause = self._reason_to_stop(error)
        named, longest = named_wait(error), self.sender.policy.max_rate_limit_wait
        if isinstance(error, RateLimitedError) and error.retryable and named is not None and named > longest:
            error.reason, error.remedy = too_long(named, error.resets_at, longest, _pause_reason(error))
        elif clause:
            error.reason += f"; {clause}"
        raise error


def _pause_reason(error: RateLimitedError) -> str:
    return BRAZE_429 if error.from_braze else PROXY_429


def _error(state: RetryCallState) -> BrazeError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, BrazeError)  # noqa: S101 - the hooks run only after `retry` accepted the error
    return error
