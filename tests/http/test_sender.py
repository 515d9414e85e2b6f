"""The sender repeats a request until it succeeds or a retry cannot help; its attempts are simulated."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import yarl
from fault_client import client_of

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    RateLimitedError,
    ReplyError,
    RetryEvent,
    RetryPolicy,
    ServerError,
    TimedOutError,
    TransportError,
)
from braze_segments_async._http import rate_limiter, sender
from braze_segments_async._http.endpoints import Request, details, export_users, list_page
from braze_segments_async._http.rate_limiter import RateLimiter
from braze_segments_async._http.retry import RetryBudget
from braze_segments_async._http.sender import RequestSender
from braze_segments_async._text import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async._http.transport import Transport

URL = "https://rest.iad-01.braze.com"
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


@pytest.fixture(autouse=True)
def fixed_clock_and_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of the rate limiter, and make each jitter as long as possible."""
    monkeypatch.setattr(rate_limiter, "monotonic", lambda: 0.0)
    monkeypatch.setattr("random.uniform", max)


class Harness:
    """A request sender with given outcomes of its attempts; it records them and does not really sleep.

    Attributes:
        outcomes: Value or exception of each attempt; the last one repeats.
        attempts: Number of attempts so far.
        events: Events passed to `on_retry`.
        slept: Seconds of each sleep.
        budget: The retry budget.
        limiter: The rate limiter.
        on_retry: Callback of the client.
        policy: Retry policy of the client.
    """

    def __init__(self, *outcomes: object, tokens: int = 500, policy: RetryPolicy = POLICY) -> None:
        self.outcomes = list(outcomes)
        self.attempts = 0
        self.events: list[RetryEvent] = []
        self.slept: list[float] = []
        self.budget = RetryBudget(tokens)
        self.limiter = RateLimiter(reserve=0.0, max_wait=120.0)
        self.on_retry: Callable[[RetryEvent], object] | None = self.events.append
        self.policy = policy

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def attempt(self, _: Request[Any]) -> Any:
        """Return or raise the next outcome."""
        self.attempts += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if not isinstance(outcome, BaseException):
            return outcome
        if isinstance(outcome, BrazeError):
            outcome.attempts = 1
        raise outcome

    async def run(self, request: Request[Any] | None = None) -> Any:
        """Send a request with a new sender, and return its value."""
        client = client_of(URL, retry=self.policy, on_retry=self.on_retry)
        self.sender = RequestSender(
            cast("Transport", None),
            self.limiter,
            client._manager.settings,
            base_url=yarl.URL(URL),
            key=Secret("key"),
            key_hint="",
        )
        self.sender.budget = self.budget
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sender, "sleep", self._sleep)
            return await self.sender.send(request or details("a"), self.attempt)

    async def failure(self, kind: type[BrazeError]) -> Any:
        """Send a request that fails, and return its error, which must have no chained exception."""
        with pytest.raises(kind) as caught:
            await self.run()
        error = caught.value
        assert type(error) is kind
        assert error.__cause__ is error.__context__ is None
        return error


def errors_503(count: int = 9) -> list[ServerError]:
    """Return a separate error for each of `count` responses."""
    return [down() for _ in range(count)]


async def test_four_failures_before_a_success() -> None:
    """A request succeeds at its fifth attempt; `on_retry` gets the request, wait and error of each retry."""
    errors = errors_503(4)
    harness = Harness(*errors, "value")
    assert await harness.run(list_page(3, "asc")) == "value"
    assert (harness.attempts, harness.slept, harness.sender.retries) == (5, BACKOFF, 4)
    assert harness.events == [
        RetryEvent("GET /segments/list", None, 3, attempt, wait, error)
        for attempt, wait, error in zip(range(1, 5), BACKOFF, errors, strict=True)
    ]


async def test_the_last_error_describes_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last error has the request, the attempts and the total time, and no chained earlier error."""
    times = iter([100.0, 101.0, 102.0, 103.0, 104.0, 105.0])
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("braze_segments_async._http.sender.time", clock)
    harness = Harness(*errors_503())
    error = await harness.failure(ServerError)
    assert (harness.attempts, len(harness.events)) == (5, 4)
    assert (error.attempts, error.elapsed, error.segment_id, error.page) == (5, 5.0, "a", None)
    assert str(error) == "GET /segments/details (segment_id=a): 503 after 5 attempts: down"
    assert [event.error.attempts for event in harness.events] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [BadRequestError, AuthenticationError, TransportError, ReplyError])
async def test_an_error_that_is_not_retryable_is_raised_at_once(kind: type[BrazeError]) -> None:
    """An error that is not retryable ends the request: one attempt, no wait, no event."""
    harness = Harness(kind("no"))
    error = await harness.failure(kind)
    assert (harness.attempts, harness.slept, harness.events, error.attempts) == (1, [], [], 1)


def not_sent() -> TransportError:
    """Return the error of a refused connection: nothing was sent."""
    error = TransportError("refused", retryable=True)
    error.sent = False
    return error


async def test_a_post_is_retried_only_if_it_cannot_have_arrived() -> None:
    """A POST is sent again after a failed connection or a 429, and after no other failure."""
    post = export_users("a", ["email"], None, None)
    harness = Harness(not_sent(), limited(1.0), limited(1.0), not_sent(), "started")
    assert await harness.run(post) == "started"
    assert harness.attempts == 5
    for error in (down(), TimedOutError("late", retryable=True), ReplyError("cut", retryable=True)):
        harness = Harness(error)
        with pytest.raises(type(error), match=r"; not sent again, since it may have arrived$"):
            await harness.run(post)
        assert (harness.attempts, harness.slept, harness.events) == (1, [], [])
    harness = Harness(BadRequestError("no", status=400))
    with pytest.raises(BadRequestError) as caught:
        await harness.run(post)
    assert "arrived" not in str(caught.value)


async def test_an_error_before_sending_is_not_an_attempt() -> None:
    """An error of the rate limiter between two attempts does not count as an attempt."""
    refused = RateLimitedError("too long", status=429)
    harness = Harness(down())

    async def attempt(_: Request[Any]) -> None:
        harness.attempts += 1
        error: BrazeError = refused if harness.attempts == 2 else down()
        error.attempts = 0 if harness.attempts == 2 else 1
        raise error

    harness.attempt = attempt  # type: ignore[method-assign]
    assert (await harness.failure(RateLimitedError)).attempts == 1


async def test_retries_stop_when_the_retry_budget_is_used_up() -> None:
    """30 tokens allow two retries at 14 each; the message says why there is no third."""
    harness = Harness(*errors_503(), tokens=30)
    error = await harness.failure(ServerError)
    assert (harness.attempts, error.attempts, len(harness.events)) == (3, 3, 2)
    assert error.reason == "down; not retried, since the client's retry quota is used up"


async def test_a_success_refunds_tokens() -> None:
    """A first attempt that succeeds refunds one token; a retry that succeeds refunds its cost."""
    harness = Harness(down(), "value", tokens=14)
    for _ in range(3):
        harness.outcomes = [down(), "value"]
        assert await harness.run() == "value"
    harness.budget.spend(14)
    assert await harness.run() == "value"
    assert harness.budget.tokens == 1


async def test_a_429_waits_in_the_rate_limiter_and_costs_less() -> None:
    """A 429 pauses all requests, so its retry does not sleep; during a pause further 429s cost nothing."""
    harness = Harness(limited(7.0), "value", tokens=5)
    assert await harness.run() == "value"
    assert (harness.slept, harness.limiter.paused, harness.events[0].wait) == ([0.0], True, 7.0)
    harness.budget.spend(5)
    harness.outcomes = [limited(7.0), "value"]
    assert await harness.run() == "value"
    assert len(harness.events) == 2


@pytest.mark.parametrize(("retry_after", "pauses"), [(7.0, [7.0]), (None, [0.5])])
async def test_a_429_pauses_once(
    retry_after: float | None, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 429 pauses all requests for the named wait or else for the backoff, and not for both."""
    harness = Harness(limited(retry_after), "value")
    seconds: list[float] = []
    monkeypatch.setattr(harness.limiter, "pause", lambda wait, *_: seconds.append(wait))
    assert await harness.run() == "value"
    assert seconds == pauses


async def test_a_429_without_budget_still_pauses_all_requests() -> None:
    """A 429 pauses the rate limiter even if the retry budget does not allow a retry."""
    harness = Harness(limited(7.0), tokens=4)
    error = await harness.failure(RateLimitedError)
    assert error.reason == "used up; not retried, since the client's retry quota is used up"
    assert (harness.attempts, harness.limiter.paused) == (1, True)


async def test_a_429_with_too_long_a_wait_is_raised_at_once() -> None:
    """The error names the wait and the remedy, and all requests are paused."""
    harness = Harness(limited(3600.0))
    error = await harness.failure(RateLimitedError)
    assert "next request in 3,600 s: try again then; max_rate_limit_wait (120 s) can be longer" in str(error)
    assert (harness.attempts, harness.limiter.paused, harness.events) == (1, True, [])
    assert (await Harness(limited()).failure(RateLimitedError)).attempts == 5  # the response names no wait


@pytest.mark.parametrize("first", [[], [down()]])
@pytest.mark.parametrize("other", [asyncio.CancelledError(), ZeroDivisionError(), KeyboardInterrupt()])
async def test_other_exceptions_are_raised_unchanged(first: list[BrazeError], other: BaseException) -> None:
    """A cancellation or other exception is neither retried nor wrapped, at the first attempt or later."""
    harness = Harness(*first, other, "value")
    with pytest.raises(type(other)) as caught:
        await harness.run()
    assert caught.value is other
    assert harness.attempts == len(first) + 1


async def test_an_exception_of_on_retry_is_raised_unchanged() -> None:
    """An exception of the callback ends the request, without a chained exception."""
    harness = Harness(down(), "value")
    original = LookupError("mine")

    def on_retry(_: RetryEvent) -> None:
        raise original

    harness.on_retry = on_retry
    with pytest.raises(LookupError) as caught:
        await harness.run()
    assert caught.value is original
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert harness.attempts == 1


async def test_a_success_does_not_use_tenacity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a request whose first attempt failed creates a tenacity retrier."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tenacity.AsyncRetrying", fail)
    assert await Harness("value").run() == "value"
    with pytest.raises(ZeroDivisionError):
        await Harness(down(), "value").run()
