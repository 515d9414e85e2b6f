"""When a request is sent again: the decision by itself, the quota, and the loop with a fake `send`."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import yarl
from fault_client import client_of
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    ConfigError,
    RateLimitedError,
    ReplyError,
    RetryEvent,
    RetryPolicy,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
)
from braze_segments_async._http import rate_limiter, sender
from braze_segments_async._http.endpoints import Request, details, export_users, list_page
from braze_segments_async._http.rate_limiter import RateLimiter
from braze_segments_async._http.retry import RetryBudget, reason_to_stop, wait_before_retry
from braze_segments_async._http.sender import RequestSender
from braze_segments_async._text import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async._http.transport import Transport

URL = "https://rest.iad-01.braze.com"
POLICY = RetryPolicy()
BACKOFF = [0.5, 1.0, 2.0, 4.0]  # the most there can be after attempts 1 to 4


def limited(retry_after: float | None = None) -> RateLimitedError:
    """A 429 as a reply's judgement makes it."""
    error = RateLimitedError("used up", status=429, retryable=True)
    error.retry_after = retry_after
    return error


def down(retry_after: float | None = None) -> ServerError:
    """A 503."""
    error = ServerError("down", status=503, retryable=True)
    error.retry_after = retry_after
    return error


def most(_: float, highest: float) -> float:
    """In place of `random.uniform`: the highest it could be."""
    return highest


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
def test_which_error_is_worth_another_attempt(error: BrazeError, waits: list[float | None]) -> None:
    """What can help, five attempts in all and two if undecodable; the wait the service names is kept to."""
    assert [
        None
        if reason_to_stop(POLICY, error, attempt) is not None
        else wait_before_retry(POLICY, error, attempt)
        for attempt in range(1, 6)
    ] == waits


@given(st.integers(1, 10**6), st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1))
def test_full_jitter_stays_within_its_bounds(attempt: int, backoff: float, cap: float, share: float) -> None:
    """Drawn from 0 to `min(cap, backoff * 2**n)`, for any attempt: huge ones do not overflow."""
    policy = RetryPolicy(attempts=10**6 + 1, backoff=backoff, backoff_cap=cap)

    def uniform(low: float, high: float) -> float:
        assert low == 0.0
        return high * share

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("random.uniform", uniform)
        wait = wait_before_retry(policy, down(), attempt)
    assert wait == min(cap, backoff * 2.0 ** min(attempt - 1, 60)) * share


@pytest.mark.parametrize("name", ["backoff", "backoff_cap", "max_rate_limit_wait"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), True, "1", None])
def test_a_policy_checks_its_times(name: str, value: Any) -> None:
    """When it is made, not when it is needed; 0 is a time."""
    with pytest.raises(ConfigError, match=rf"^retry\.{name} must be .* seconds"):
        RetryPolicy(**{name: value})
    RetryPolicy(**{name: 0})


@pytest.mark.parametrize("attempts", [0, -1, True, 2.0, None])
def test_a_policy_checks_its_attempts(attempts: Any) -> None:
    """A request is sent once at least."""
    with pytest.raises(ConfigError, match=r"^retry\.attempts must be .*at least 1, got "):
        RetryPolicy(attempts=attempts)
    assert RetryPolicy(backoff_cap=20.0, max_rate_limit_wait=120.0) == POLICY


def test_the_quota_never_exceeds_its_start() -> None:
    """It is paid down to what a retry costs, and given back up to where it began."""
    quota = RetryBudget(30)
    quota.spend(14)
    assert quota.tokens == 16
    quota.refund(13)
    assert quota.tokens == 29
    quota.refund(1000)
    assert quota.tokens == 30


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still, and jitter is the longest."""
    monkeypatch.setattr(rate_limiter, "monotonic", lambda: 0.0)
    monkeypatch.setattr("random.uniform", most)


class Bench:
    """A retrier on a bench: what `send` does is given, what happened is recorded; nobody really sleeps."""

    def __init__(self, *outcomes: object, tokens: int = 500, policy: RetryPolicy = POLICY) -> None:
        self.outcomes = list(outcomes)
        self.sent = 0
        self.events: list[RetryEvent] = []
        self.slept: list[float] = []
        self.quota = RetryBudget(tokens)
        self.gate = RateLimiter(reserve=0.0, max_wait=120.0)
        self.hook: Callable[[RetryEvent], object] | None = self.events.append
        self.policy = policy

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def send(self, _: Request[Any]) -> Any:
        """One attempt; the last outcome repeats."""
        self.sent += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if not isinstance(outcome, BaseException):
            return outcome
        if isinstance(outcome, BrazeError):
            outcome.attempts = 1
        raise outcome

    async def run(self, request: Request[Any] | None = None) -> Any:
        """Send a request."""
        client = client_of(URL, retry=self.policy, on_retry=self.hook)
        self.sender = RequestSender(
            cast("Transport", None),
            self.gate,
            client._manager.settings,
            base_url=yarl.URL(URL),
            key=Secret("key"),
            key_hint="",
        )
        self.sender.budget = self.quota
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sender, "sleep", self._sleep)
            return await self.sender.send(request or details("a"), self.send)

    async def fails(self, kind: type[BrazeError]) -> Any:
        """It ends with such an error, which has nothing else hanging on it."""
        with pytest.raises(kind) as caught:
            await self.run()
        error = caught.value
        assert type(error) is kind
        assert error.__cause__ is error.__context__ is None
        return error


def outage(count: int = 9) -> list[ServerError]:
    """Errors of their own, as from so many replies."""
    return [down() for _ in range(count)]


async def test_a_failure_or_four_stay_unseen() -> None:
    """The value comes all the same, and the hook was told of each retry: which, why and for how long."""
    errors = outage(4)
    bench = Bench(*errors, "value")
    assert await bench.run(list_page(3, "asc")) == "value"
    assert (bench.sent, bench.slept, bench.sender.retries) == (5, BACKOFF, 4)
    assert bench.events == [
        RetryEvent("GET /segments/list", None, 3, attempt, wait, error)
        for attempt, wait, error in zip(range(1, 5), BACKOFF, errors, strict=True)
    ]


async def test_the_last_error_tells_the_whole_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which request, how many attempts, how long from the first: and no earlier error hangs on it."""
    times = iter([100.0, 101.0, 102.0, 103.0, 104.0, 105.0])
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr("braze_segments_async._http.sender.time", clock)
    bench = Bench(*outage())
    error = await bench.fails(ServerError)
    assert (bench.sent, len(bench.events)) == (5, 4)
    assert (error.attempts, error.elapsed, error.segment_id, error.page) == (5, 5.0, "a", None)
    assert str(error) == "GET /segments/details (segment_id=a): 503 after 5 attempts: down"
    assert [event.error.attempts for event in bench.events] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [BadRequestError, AuthenticationError, TransportError, ReplyError])
async def test_what_cannot_help_is_sent_once(kind: type[BrazeError]) -> None:
    """One request, no wait, no event."""
    bench = Bench(kind("no"))
    error = await bench.fails(kind)
    assert (bench.sent, bench.slept, bench.events, error.attempts) == (1, [], [], 1)


def refused() -> TransportError:
    """No connection, so nothing was sent."""
    error = TransportError("refused", retryable=True)
    error.sent = False
    return error


async def test_what_must_not_be_done_twice() -> None:
    """A POST is sent again if it cannot have arrived: no connection, or a 429; and never otherwise."""
    post = export_users("a", ["email"], None, None)
    bench = Bench(refused(), limited(1.0), limited(1.0), refused(), "started")
    assert await bench.run(post) == "started"
    assert bench.sent == 5
    for error in (down(), TimedOutError("late", retryable=True), ReplyError("cut", retryable=True)):
        bench = Bench(error)
        with pytest.raises(type(error), match=r"; not sent again, since it may have arrived$"):
            await bench.run(post)
        assert (bench.sent, bench.slept, bench.events) == (1, [], [])
    bench = Bench(BadRequestError("no", status=400))
    with pytest.raises(BadRequestError) as caught:
        await bench.run(post)
    assert "arrived" not in str(caught.value)


async def test_an_error_before_sending_is_no_attempt() -> None:
    """What the gate raised between two attempts was not sent."""
    refused = RateLimitedError("too long", status=429)
    bench = Bench(down())

    async def send(_: Request[Any]) -> None:
        bench.sent += 1
        error: BrazeError = refused if bench.sent == 2 else down()
        error.attempts = 0 if bench.sent == 2 else 1
        raise error

    bench.send = send  # type: ignore[method-assign]
    assert (await bench.fails(RateLimitedError)).attempts == 1


async def test_the_quota_ends_a_stampede_and_says_so() -> None:
    """14 tokens a retry: 30 pay for two, and the message tells why there was no third."""
    bench = Bench(*outage(), tokens=30)
    error = await bench.fails(ServerError)
    assert (bench.sent, error.attempts, len(bench.events)) == (3, 3, 2)
    assert error.reason == "down; not retried, since the client's retry quota is used up"


async def test_success_gives_tokens_back() -> None:
    """One for a request that succeeds at once, the whole cost for a retry that does."""
    bench = Bench(down(), "value", tokens=14)
    for _ in range(3):
        bench.outcomes = [down(), "value"]
        assert await bench.run() == "value"
    bench.quota.spend(14)
    assert await bench.run() == "value"
    assert bench.quota.tokens == 1


async def test_a_429_waits_at_the_gate_and_costs_less() -> None:
    """The gate closes for everybody, so the retry itself does not sleep; the rest of a burst is free."""
    bench = Bench(limited(7.0), "value", tokens=5)
    assert await bench.run() == "value"
    assert (bench.slept, bench.gate.paused, bench.events[0].wait) == ([0.0], True, 7.0)
    bench.quota.spend(5)
    bench.outcomes = [limited(7.0), "value"]
    assert await bench.run() == "value"
    assert len(bench.events) == 2


async def test_a_429_that_cannot_be_paid_closes_the_gate_all_the_same() -> None:
    """The others need not find out for themselves."""
    bench = Bench(limited(7.0), tokens=4)
    error = await bench.fails(RateLimitedError)
    assert error.reason == "used up; not retried, since the client's retry quota is used up"
    assert (bench.sent, bench.gate.paused) == (1, True)


async def test_a_429_for_too_long_is_raised_at_once() -> None:
    """It says how long and what to do, and the gate knows."""
    bench = Bench(limited(3600.0))
    error = await bench.fails(RateLimitedError)
    assert "next request in 3,600 s: try again then; max_rate_limit_wait (120 s) can be longer" in str(error)
    assert (bench.sent, bench.gate.paused, bench.events) == (1, True, [])
    assert (await Bench(limited()).fails(RateLimitedError)).attempts == 5  # not told how long


@pytest.mark.parametrize("first", [[], [down()]])
@pytest.mark.parametrize("foreign", [asyncio.CancelledError(), ZeroDivisionError(), KeyboardInterrupt()])
async def test_what_is_not_ours_passes_unchanged(first: list[BrazeError], foreign: BaseException) -> None:
    """Cancellation above all, on the first attempt and on later ones: never retried, never wrapped."""
    bench = Bench(*first, foreign, "value")
    with pytest.raises(type(foreign)) as caught:
        await bench.run()
    assert caught.value is foreign
    assert bench.sent == len(first) + 1


async def test_an_exception_of_the_hook_passes_unchanged() -> None:
    """It is the caller's own: nothing is sent again, nothing of ours hangs on it."""
    bench = Bench(down(), "value")
    mine = LookupError("mine")

    def hook(_: RetryEvent) -> None:
        raise mine

    bench.hook = hook
    with pytest.raises(LookupError) as caught:
        await bench.run()
    assert caught.value is mine
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert bench.sent == 1


async def test_the_first_attempt_does_not_touch_tenacity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that succeeds pays nothing for the machinery of retries; one that fails makes its own."""

    def explode(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("braze_segments_async._http.sender.AsyncRetrying", explode)
    assert await Bench("value").run() == "value"
    with pytest.raises(ZeroDivisionError):
        await Bench(down(), "value").run()
