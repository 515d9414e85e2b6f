"""The rate limiter pauses requests in time, and no longer than needed; all in virtual time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from braze_segments_async import BrazeSegments, RateLimit, RateLimitedError, RetryPolicy, Stats
from braze_segments_async._http import rate_limiter
from braze_segments_async._http.rate_limiter import PROXY_429, RateLimiter
from braze_segments_async.sandbox import Answer, Sandbox

SENT = 1_795_341_600.0  # 2026-11-22 10:00:00 UTC


def after(seconds: float) -> datetime:
    """Return the time `seconds` after `SENT`."""
    return datetime.fromtimestamp(SENT + seconds, UTC)


class Harness:
    """A rate limiter, its waiting requests, and a clock that only the test moves.

    Attributes:
        limiter: The rate limiter.
        acquired: Number of requests that the limiter has let through.
        now: Current time of the monotonic clock.
    """

    def __init__(self, patch: pytest.MonkeyPatch, *, reserve: float = 0.1, max_wait: float = 120.0) -> None:
        self.now, self.acquired = 0.0, 0
        self.sleepers: list[tuple[float, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.limiter = RateLimiter(reserve=reserve, max_wait=max_wait)
        patch.setattr(rate_limiter, "monotonic", lambda: self.now)
        patch.setattr(rate_limiter, "sleep", self._sleep)
        patch.setattr("random.uniform", max)

    async def _sleep(self, seconds: float) -> None:
        self.sleepers.append((self.now + seconds, wake_up := asyncio.Event()))
        await wake_up.wait()

    async def _acquire(self) -> None:
        await self.limiter.acquire()
        self.acquired += 1

    async def settle(self) -> int:
        """Let all tasks run until only the clock can wake them, and return `acquired`."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.acquired

    async def start(self, count: int = 1) -> int:
        """Start `count` requests, and return `acquired`."""
        self.tasks += [asyncio.create_task(self._acquire()) for _ in range(count)]
        return await self.settle()

    async def respond(self, remaining: int | None, *, resets: float = 50.0, sent: float | None = None) -> int:
        """Release a request with a response, and return `acquired`.

        Args:
            remaining: Remaining requests of a limit of 100; `None` for a response without headers.
            resets: Time at which the window resets.
            sent: Time at which the response was sent; now by default.
        """
        rate_limit = None if remaining is None else RateLimit(100, remaining, after(resets))
        self.limiter.release(rate_limit, SENT + (self.now if sent is None else sent))
        return await self.settle()

    async def advance(self, when: float) -> int:
        """Move the clock to `when`, waking each sleeper at its time, and return `acquired`."""
        while due := [sleeper for sleeper in self.sleepers if sleeper[0] <= when]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self.sleepers.remove(first)
            self.now = first[0]
            first[1].set()
            await self.settle()
        self.now = when
        return self.acquired

    async def cancel_all(self) -> None:
        """Cancel all requests that still wait."""
        for task in self.tasks:
            task.cancel()
        await self.settle()


async def test_requests_pass_while_the_rate_limit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without complete headers no request waits; a 429 is released without a time and pauses separately."""
    harness = Harness(monkeypatch)
    assert (
        await harness.start(50) == await harness.respond(None) == await harness.respond(0, resets=-1.0) == 50
    )
    for rate_limit in (RateLimit(100, None, None), RateLimit(None, 0, None), RateLimit(None, 99, after(50))):
        harness.limiter.release(rate_limit, SENT)
        assert harness.limiter.latest == rate_limit
    harness.limiter.release(RateLimit(100, 0, after(50)))
    assert await harness.start(50) == 100


@pytest.mark.parametrize(("seconds", "jitter"), [(60.0, 1.0), (2.0, 0.2)])
async def test_a_pause_holds_all_requests_until_its_end(
    seconds: float, jitter: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request passes before the end of a pause; jitter adds a tenth, and at most one second."""
    harness = Harness(monkeypatch)
    harness.limiter.pause(seconds, "429", None)
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    assert (harness.limiter.paused, harness.limiter.stats.pause_reason) == (True, "429")
    assert harness.limiter.stats.paused_until == pytest.approx(until, abs=timedelta(seconds=1))
    assert await harness.start(20) == await harness.advance(seconds) == 0
    assert await harness.advance(seconds + jitter) == 20
    assert harness.limiter.stats == Stats(requests=20, in_flight=20, waits=1)


async def test_the_longest_pause_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter pause does not end a longer one; a longer one also holds requests that already wait."""
    harness = Harness(monkeypatch)
    harness.limiter.pause(60.0, "429", None)
    harness.limiter.pause(10.0, "429", None)
    assert await harness.start(3) == await harness.advance(30.0) == 0
    harness.limiter.pause(60.0, "429", None)
    assert await harness.advance(89.999) == 0
    assert await harness.advance(91.0) == 3


async def test_a_timer_that_fires_early_does_not_end_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a sleep returns early, the request waits for the rest of the pause."""
    now = [0.0]

    async def sleep_too_short(seconds: float) -> None:
        now[0] += seconds * 0.9 if seconds > 0.01 else seconds

    monkeypatch.setattr(rate_limiter, "monotonic", lambda: now[0])
    monkeypatch.setattr(rate_limiter, "sleep", sleep_too_short)
    monkeypatch.setattr("random.uniform", min)
    limiter = RateLimiter(reserve=0.0, max_wait=100.0)
    limiter.pause(50.0, "429", None)
    await limiter.acquire()
    assert 50.0 <= now[0] <= 50.1


async def test_a_pause_beyond_the_maximum_raises_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait of up to `max_wait` is waited for; a longer one raises with its end and length."""
    harness = Harness(monkeypatch, max_wait=120.0)
    harness.limiter.latest = RateLimit(100, 0, after(121))
    harness.limiter.pause(121.0, "429", after(121))
    with pytest.raises(RateLimitedError) as caught:
        await harness.limiter.acquire()
    error = caught.value
    assert (error.status, error.retryable, error.resets_at) == (429, False, after(121))
    assert (error.retry_after, error.rate_limit) == (121.0, harness.limiter.latest)
    assert str(error) == (
        "the workspace's rate limit allows the next request in 121 s (until 2026-11-22 10:02:01 UTC): try "
        "again then; max_rate_limit_wait (120 s) can be longer"
    )
    await harness.advance(1.0)
    assert (await harness.start(), await harness.advance(122.0)) == (0, 1)


async def test_requests_in_flight_count_against_the_reserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 13 of 100 remaining, 10 reserved and one in flight, two more pass; the rest wait for responses."""
    harness = Harness(monkeypatch, reserve=0.1)
    assert await harness.start(2) == await harness.respond(13) == 2
    assert await harness.start(5) == 4  # three in flight now: 13 - 3 = 10
    assert await harness.respond(12) == await harness.respond(11) == 4
    assert await harness.respond(10) == 4  # nothing in flight: paused until the window resets
    assert harness.limiter.paused
    assert await harness.advance(49.999) == 4
    assert await harness.advance(51.0) == 7


async def test_another_client_gets_a_reserve_of_the_requests_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the remaining requests drop by more than its own, a client reserves its peak number in flight."""
    harness = Harness(monkeypatch, reserve=0.0)
    assert await harness.start(8) == 8
    for remaining in range(99, 91, -1):  # the eight requests of this client
        await harness.respond(remaining)
    assert await harness.start(2) == 10
    await harness.respond(60)  # thirty requests of another client
    await harness.respond(10)
    assert await harness.start(4) == 12  # 10 - 2 = 8 are reserved for the other client
    assert await harness.respond(8) == await harness.respond(7) == 12
    assert harness.limiter.paused
    await harness.cancel_all()


async def test_a_request_without_a_response_lets_another_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request released without a response frees its place, as does a request that is cancelled."""
    harness = Harness(monkeypatch, reserve=0.0)
    await harness.start(2)
    await harness.respond(2)
    assert await harness.start(3) == 3
    assert await harness.respond(None) == 4
    await harness.cancel_all()
    assert harness.limiter.stats.in_flight == 2  # cancelled requests are not counted


async def test_a_wait_at_the_reserve_beyond_the_maximum_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the reserve the limiter raises without a 429; `resets_at` is the end of the window."""
    harness = Harness(monkeypatch, max_wait=30.0)
    await harness.start()
    await harness.respond(10)
    with pytest.raises(RateLimitedError, match="in 50 s") as caught:
        await harness.limiter.acquire()
    assert caught.value.resets_at == after(50)


@pytest.mark.parametrize("resets", [49.0, 50.0, 51.0])
async def test_responses_out_of_order_use_the_lowest_count(
    resets: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a window the lowest count is used, even if relative resets move its end by a second."""
    harness = Harness(monkeypatch, reserve=0.1)
    await harness.start(3)
    await harness.respond(11)
    await harness.respond(99)
    await harness.respond(60, resets=resets)
    acquired = await harness.start(2)
    await harness.cancel_all()
    assert acquired == 4


async def test_a_new_window_starts_a_new_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the reset all requests pass until a response of the new window; then its count is used."""
    harness = Harness(monkeypatch, reserve=0.1)
    await harness.start(2)
    await harness.respond(10)
    await harness.advance(50.0)
    assert await harness.start(3) == 5
    await harness.respond(97, resets=100.0)
    assert await harness.start(3) == 8


@pytest.mark.parametrize(("remaining", "resets"), [(99, 50.0), (5, 1.0)])
async def test_a_late_response_does_not_replace_newer_counts(
    remaining: int, resets: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response sent before the latest one, in the same or the previous window, changes no count."""
    harness = Harness(monkeypatch, reserve=0.1)
    await harness.start(2)
    await harness.advance(5.0)
    await harness.respond(12, resets=50.0)
    await harness.respond(remaining, resets=resets, sent=0.0)
    acquired = await harness.start(4)
    await harness.cancel_all()
    assert acquired == 4


class VirtualTime:
    """Real time plus the seconds that were slept; a sleep returns at once."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def clock(self) -> float:
        """Return seconds of the epoch for the sandbox; the start is the start of a window."""
        return 1_800_000_000.0 + self.skipped

    def monotonic(self) -> float:
        """Return the monotonic time for the client."""
        return time.monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        """Skip `seconds`; sleeps that overlap are not added up."""
        until = self.monotonic() + seconds
        await asyncio.sleep(0)
        self.skipped += max(0.0, until - self.monotonic())


@pytest.fixture
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """Let the rate limiters of this test wait in virtual time."""
    virtual_time = VirtualTime()
    monkeypatch.setattr(rate_limiter, "monotonic", virtual_time.monotonic)
    monkeypatch.setattr(rate_limiter, "sleep", virtual_time.sleep)
    return virtual_time


@pytest.mark.parametrize(("reserve", "per_window"), [(0.0, 100), (0.1, 90), (0.25, 75)])
async def test_each_window_is_used_down_to_the_reserve_without_a_429(
    virtual_time: VirtualTime, reserve: float, per_window: int
) -> None:
    """400 details at 100 requests per window use each window down to the reserve, without a 429."""
    async with (
        Sandbox(400, rate_limit=(100, 30.0), clock=virtual_time.clock) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, reserve=reserve) as client,
    ):
        ids = {details.id async for details in client.all_details(sandbox.segment_ids)}
        assert ids == set(sandbox.segment_ids)
        assert sandbox.count("details", 429) == 0
        assert sandbox.count("details") == 400
        assert sandbox.windows[:4] == [per_window] * 4


async def test_two_clients_share_a_rate_limit(virtual_time: VirtualTime) -> None:
    """Two independent clients on one rate limit both finish, with few 429s: each reserves some requests."""
    async with (
        Sandbox(400, rate_limit=(100, 30.0), clock=virtual_time.clock) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, reserve=0.0) as one,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, reserve=0.0) as other,
    ):

        async def count_details(client: BrazeSegments) -> int:
            return len([d async for d in client.all_details(sandbox.segment_ids)])

        assert list(await asyncio.gather(count_details(one), count_details(other))) == [400, 400]
        assert sandbox.count("details", 200) == 800
        assert sandbox.count("details", 429) <= 5
        assert len(sandbox.windows) <= 10  # 8 is the minimum


async def test_a_client_at_the_reserve_raises_before_a_429(sandbox: Sandbox) -> None:
    """At the reserve with a distant reset, a request raises without being sent, with the reset time."""
    headers = {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "100", "X-RateLimit-Reset": "3000"}
    sandbox.inject(Answer(headers=headers))
    policy = RetryPolicy(max_rate_limit_wait=60)
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=policy) as client:
        await client.details(sandbox.segment_ids[0])
        with pytest.raises(RateLimitedError, match=r"max_rate_limit_wait \(60 s\) can be longer") as caught:
            await client.details(sandbox.segment_ids[1])
        assert client.rate_limit is not None
        assert caught.value.resets_at == client.rate_limit.resets_at
        assert caught.value.attempts == 0
        assert len(sandbox.requests) == 1


async def test_a_rate_limit_that_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the reset by the service's clock, the remaining requests are unknown until the next response."""
    harness = Harness(monkeypatch)
    limiter = harness.limiter
    for rate_limited in (False, True):
        await limiter.acquire()
        latest = RateLimit(100, 60, after(50))
        limiter.release(latest, SENT, rate_limited=rate_limited)
        began = harness.now
        harness.now = began + 49.0
        assert limiter.current == latest
        harness.now = began + 50.0
        assert limiter.current == RateLimit(100, None, None)
        assert limiter.latest == latest


async def test_a_pause_of_a_proxy_has_its_own_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """If something in front of Braze asks to wait too long, the error does not blame the workspace."""
    harness = Harness(monkeypatch)
    harness.limiter.pause(121.0, PROXY_429, None)
    with pytest.raises(RateLimitedError, match="in front of Braze, such as a proxy, allows the next"):
        await harness.limiter.acquire()
