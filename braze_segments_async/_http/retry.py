"""When a request is sent again, and when: a pure decision, and the loop that runs it.

The only importer of tenacity. A retry repeats one request, never a walk; the first attempt of a request
bypasses tenacity.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import define
from tenacity import AsyncRetrying, RetryCallState

from braze_segments_async._settings import RetryEvent
from braze_segments_async._text import logger
from braze_segments_async.errors import (
    BrazeError,
    RateLimitedError,
    ReplyError,
    ServerError,
    StatusError,
    TransportError,
)

from .rate_limiter import too_long

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from braze_segments_async._settings import RetryPolicy

    from .endpoints import Request
    from .rate_limiter import RateLimiter

__all__ = ["Retrier", "RetryBudget", "wait_before_retry"]

T = TypeVar("T")

_RETRY_COST = 14
_RATE_LIMITED_COST = 5
_MAX_DECODE_ATTEMPTS = 2


def may_have_arrived(error: BrazeError) -> bool:
    """Whether the service may have done what it was asked for, although nothing good came back."""
    return error.sent if isinstance(error, TransportError) else not isinstance(error, RateLimitedError)


def wait_before_retry(
    policy: RetryPolicy, error: BaseException, attempt: int, uniform: Callable[[float, float], float]
) -> float | None:
    """How many seconds to wait before sending a request again; `None` to give up.

    Args:
        policy: the bounds.
        error: what the attempt ended with.
        attempt: which attempt it was, counted from 1.
        uniform: draws the jitter.
    """
    if not isinstance(error, BrazeError) or not error.retryable:
        return None
    attempts = policy.attempts
    if isinstance(error, ReplyError):
        attempts = min(attempts, _MAX_DECODE_ATTEMPTS)
    if attempt >= attempts:
        return None
    told = error.retry_after if isinstance(error, RateLimitedError | ServerError) else None
    if told is not None and told > policy.max_rate_limit_wait:
        return None
    if told is not None:
        # Jitter, so that not all retry at once; after a 429 the rate limiter adds it.
        return told if isinstance(error, RateLimitedError) else told + uniform(0.0, min(1.0, told / 10))
    # 2.0**1024 would overflow; the cap is reached long before.
    return uniform(0.0, min(policy.backoff_cap, policy.backoff * 2.0 ** min(attempt - 1, 60)))


class RetryBudget:
    """How much retrying one client may do: an outage is not multiplied by the fan-out."""

    def __init__(self, tokens: int) -> None:
        """See the class.

        Args:
            tokens: what there is of them, at the start and at most.
        """
        self._full = tokens
        self._tokens = tokens

    def spend(self, tokens: int) -> bool:
        """Pay for a retry, if there is enough."""
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True

    def refund(self, tokens: int) -> None:
        """Return tokens after a success."""
        if self._tokens < self._full:
            self._tokens = min(self._full, self._tokens + tokens)


@define
class _RetryState(Generic[T]):
    """The state of one request that failed at least once."""

    request: Request[T]
    send: Callable[[Request[T]], Awaitable[T]]
    first: BrazeError | None
    started: float
    attempts: int = 0
    wait: float = 0.0
    spent: int = 0

    async def attempt(self) -> T:
        """The next attempt; the first one was made already, and only its failure is repeated here."""
        if self.first is not None:
            error, self.first = self.first, None
            raise error
        return await self.send(self.request)

    def count(self, error: BrazeError) -> None:
        """Complete an error with what only the whole request knows."""
        self.attempts += error.attempts
        error.attempts = self.attempts
        error.elapsed = time.monotonic() - self.started
        error.about(str(self.request.endpoint), segment_id=self.request.segment_id, page=self.request.page)


class Retrier:
    """Sends a request, and repeats it as the policy, the budget and the rate limiter allow."""

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        rate_limiter: RateLimiter,
        on_retry: Callable[[RetryEvent], object] | None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """See the class.

        Args:
            policy: the caller's bounds.
            budget: shared by all requests of a client.
            rate_limiter: shared by all requests of a client.
            on_retry: called before each wait.
            sleep: for tests.
            uniform: for tests.
        """
        self._policy = policy
        self._budget = budget
        self._rate_limiter = rate_limiter
        self._on_retry = on_retry
        self._sleep = sleep
        self._uniform = uniform
        self.retries = 0

    async def run(self, request: Request[T], send: Callable[[Request[T]], Awaitable[T]]) -> T:
        """Send a request until it succeeds or there is no point in going on.

        Args:
            request: what to send.
            send: one attempt; the error it raises counts the attempt in `error.attempts` if it was sent.

        Raises:
            BrazeError: of the last attempt; says which request, how many attempts and how long.
        """
        started = time.monotonic()
        try:
            value = await send(request)
        except BrazeError as error:
            first = error
        else:
            self._budget.refund(1)
            return value
        # Outside the except block: what the later attempts raise shall not carry the first one along.
        retries = _RetryState(request, send, first, started)
        retrying = AsyncRetrying(
            retry=lambda state: self._decide(retries, state),
            wait=lambda _: retries.wait,
            sleep=self._sleep,
            reraise=True,
        )
        value = await retrying(retries.attempt)
        self._budget.refund(retries.spent)
        return value

    def _decide(self, retries: _RetryState[T], state: RetryCallState) -> bool:
        """Decide whether to retry; if so, set the wait, spend the budget and notify the caller."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, BrazeError):
            return False  # success, cancellation, or an exception of the caller's own hook
        retries.count(error)
        if error.retryable and not retries.request.endpoint.repeatable and may_have_arrived(error):
            error.reason += "; not sent again, since it may have arrived"
            return False
        wait = wait_before_retry(self._policy, error, state.attempt_number, self._uniform)
        if isinstance(error, RateLimitedError) and error.retryable:
            return self._pause(retries, error, wait)
        if wait is None and isinstance(error, ServerError) and error.retry_after is not None:
            error.reason += f"; it asks to wait {error.retry_after:,.0f} s"
        # A failure while the process stood still says nothing of the service, and costs nothing.
        cost = 0 if isinstance(error, TransportError) and error.suspended else _RETRY_COST
        if wait is None or not self._spend_budget(retries, error, cost):
            return False
        self._notify(retries, error, wait)
        retries.wait = wait
        return True

    def _pause(self, retries: _RetryState[T], error: RateLimitedError, wait: float | None) -> bool:
        """Pause all requests after a 429, whether or not this request is repeated."""
        # The 429s of one burst are one event: the first pauses all requests, and spends tokens.
        cost = 0 if self._rate_limiter.paused else _RATE_LIMITED_COST
        told = error.retry_after if wait is None else wait
        if told is not None:
            self._rate_limiter.pause(told, "429", error.resets_at)
            if told > self._policy.max_rate_limit_wait:
                max_wait = self._policy.max_rate_limit_wait
                error.reason, error.remedy = too_long(told, error.resets_at, max_wait)
        if wait is None or not self._spend_budget(retries, error, cost):
            return False
        self._notify(retries, error, wait)
        retries.wait = 0.0  # the rate limiter waits, for all requests at once
        return True

    def _spend_budget(self, retries: _RetryState[T], error: BrazeError, cost: int) -> bool:
        if not self._budget.spend(cost):
            error.reason += "; not retried, since the client's retry quota is used up"
            return False
        retries.spent += cost
        return True

    def _notify(self, retries: _RetryState[T], error: BrazeError, wait: float) -> None:
        self.retries += 1
        status = error.status if isinstance(error, StatusError) else None
        extra: dict[str, object] = {"status": status, "attempt": retries.attempts, "wait": wait}
        logger.info("retrying in %.2f s: %s", wait, error, extra={**retries.request.labels, **extra})
        if self._on_retry is not None:
            about = retries.request
            endpoint = str(about.endpoint)
            self._on_retry(RetryEvent(endpoint, about.segment_id, about.page, retries.attempts, wait, error))
