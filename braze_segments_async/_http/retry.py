"""Decide whether and when a failed request is sent again. Nothing here waits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from braze_segments_async.errors import (
    BrazeError,
    RateLimitedError,
    ReplyError,
    ServerError,
    TransportError,
)

if TYPE_CHECKING:
    from braze_segments_async._settings import RetryPolicy

__all__ = ["RetryBudget", "named_wait", "reason_to_stop", "wait_before_retry"]

_MAX_DECODE_ATTEMPTS = 2


def reason_to_stop(
    policy: RetryPolicy, error: BrazeError, attempts: int, *, repeatable: bool = True
) -> str | None:
    """Return why a failed request is not sent again; `None` to send it again.

    Args:
        policy: The retry policy.
        error: Failure of the latest attempt.
        attempts: Number of attempts so far.
        repeatable: Whether the endpoint allows to repeat a request that may have arrived.

    Returns:
        A clause to add to the message of the error; empty if that message says enough.
    """
    if not error.retryable:
        return ""
    if not repeatable and _may_have_arrived(error):
        return "not sent again, since it may have arrived"
    named = named_wait(error)
    if named is not None and named > policy.max_rate_limit_wait:
        return f"it asks to wait {named:,.0f} s"
    limit = min(policy.attempts, _MAX_DECODE_ATTEMPTS) if isinstance(error, ReplyError) else policy.attempts
    return "" if attempts >= limit else None


def _may_have_arrived(error: BrazeError) -> bool:
    """Return whether Braze may have done what the failed request asked for."""
    return error.sent if isinstance(error, TransportError) else not isinstance(error, RateLimitedError)


def named_wait(error: BrazeError) -> float | None:
    """Return the seconds that the failed response asked to wait; `None` if it named none."""
    return error.retry_after if isinstance(error, RateLimitedError | ServerError) else None


def wait_before_retry(policy: RetryPolicy, error: BrazeError, attempts: int) -> float:
    """Return the seconds to wait before a failed request is sent again: the named wait, or backoff.

    Args:
        policy: The retry policy.
        error: Failure of the latest attempt.
        attempts: Number of attempts so far, at least 1.
    """
    named = named_wait(error)
    if named is not None:
        # Jitter, so that not all requests retry at once; after a 429 the rate limiter adds it.
        jitter = 0.0 if isinstance(error, RateLimitedError) else random.uniform(0.0, min(1.0, named / 10))  # noqa: S311 - not a secret
        return named + jitter
    # 2.0**1024 would overflow; the cap is reached long before.
    longest = min(policy.backoff_cap, policy.backoff * 2.0 ** min(attempts - 1, 60))
    return random.uniform(0.0, longest)  # noqa: S311 - not a secret


class RetryBudget:
    """Tokens that bound how much one client retries, so that an outage is not multiplied by the fan-out."""

    def __init__(self, tokens: int) -> None:
        """Start with all tokens, which is also the maximum."""
        self._full = tokens
        self.tokens = tokens

    def spend(self, tokens: int) -> None:
        """Take tokens for a retry; compare with `tokens` first."""
        self.tokens -= tokens

    def refund(self, tokens: int) -> None:
        """Return tokens after a success."""
        self.tokens = min(self._full, self.tokens + tokens)
