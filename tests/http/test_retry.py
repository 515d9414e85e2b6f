"""Which failed requests are sent again and when, and the retry budget."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    ConfigError,
    RateLimitedError,
    ReplyError,
    RetryPolicy,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
)
from braze_segments_async._http.retry import RetryBudget, reason_to_stop, wait_before_retry

POLICY = RetryPolicy()
BACKOFF = [0.5, 1.0, 2.0, 4.0]  # maximum after attempts 1 to 4


def limited(retry_after: float | None = None) -> RateLimitedError:
    """Return the error of a 429."""
    error = RateLimitedError("used up", status=429, retryable=True)
    error.retry_after = retry_after
    return error


def down(retry_after: float | None = None) -> ServerError:
    """Return the error of a 503."""
    error = ServerError("down", status=503, retryable=True)
    error.retry_after = retry_after
    return error


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (TransportError("reset", retryable=True), [*BACKOFF, None]),
        (TimedOutError("late", retryable=True), [*BACKOFF, None]),
        (StatusError("408", status=408, retryable=True), [*BACKOFF, None]),
        (down(), [*BACKOFF, None]),
        (limited(), [*BACKOFF, None]),
        (ReplyError("not JSON", retryable=True), [0.5, None, None, None, None]),
        (limited(7.0), [7.0, 7.0, 7.0, 7.0, None]),
        (limited(120.1), [None] * 5),
        (down(7.0), [7.7, 7.7, 7.7, 7.7, None]),
        (down(3600.0), [None] * 5),
        (TransportError("TLS"), [None] * 5),
        (BadRequestError("400", status=400), [None] * 5),
        (AuthenticationError("401", status=401), [None] * 5),
        (ServerError("501", status=501), [None] * 5),
    ],
)
def test_which_errors_are_retried_and_when(
    error: BrazeError, waits: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry waits at least as long as the response asks; there are five attempts, two if undecodable."""
    monkeypatch.setattr("random.uniform", max)  # the longest jitter
    assert [
        None
        if reason_to_stop(POLICY, error, attempt) is not None
        else wait_before_retry(POLICY, error, attempt)
        for attempt in range(1, 6)
    ] == waits


@given(st.integers(1, 10**6), st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1))
def test_backoff_stays_within_its_bounds(attempt: int, backoff: float, cap: float, fraction: float) -> None:
    """Backoff is between 0 and `min(cap, backoff * 2**n)`, without overflow for any attempt."""
    policy = RetryPolicy(attempts=10**6 + 1, backoff=backoff, backoff_cap=cap)

    def uniform(low: float, high: float) -> float:
        assert low == 0.0
        return high * fraction

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.uniform", uniform)
        wait = wait_before_retry(policy, down(), attempt)
    assert wait == min(cap, backoff * 2.0 ** min(attempt - 1, 60)) * fraction


@pytest.mark.parametrize("name", ["backoff", "backoff_cap", "max_rate_limit_wait"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "1", None])
def test_a_policy_checks_its_times(name: str, value: Any) -> None:
    """A policy refuses an invalid time when it is made; 0 is valid."""
    with pytest.raises(ConfigError, match=rf"^retry\.{name} must be .* seconds"):
        RetryPolicy(**{name: value})
    RetryPolicy(**{name: 0})


@pytest.mark.parametrize("attempts", [0, -1, True, 2.0, None])
def test_a_policy_checks_its_attempts(attempts: Any) -> None:
    """A policy refuses less than one attempt."""
    with pytest.raises(ConfigError, match=r"^retry\.attempts must be .*at least 1, got "):
        RetryPolicy(attempts=attempts)
    assert RetryPolicy(backoff_cap=20.0, max_rate_limit_wait=120.0) == POLICY


def test_the_retry_budget_never_exceeds_its_start() -> None:
    """Spending reduces the tokens of the budget; a refund never raises them above the start."""
    budget = RetryBudget(30)
    budget.spend(14)
    assert budget.tokens == 16
    budget.refund(13)
    assert budget.tokens == 29
    budget.refund(1000)
    assert budget.tokens == 30
