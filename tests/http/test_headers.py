"""What the rate-limit headers say, and the gate that makes every request of a client heed it."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from braze_segments_async import RateLimit, RateLimitedError, Stats
from braze_segments_async._http import rate_limiter
from braze_segments_async._http.headers import parse_rate_limit, parse_retry_after, response_date
from braze_segments_async._http.rate_limiter import RateLimiter

SENT = 1_795_341_600.0  # 2026-11-22 10:00:00 UTC
DATE = "Sun, 22 Nov 2026 10:00:00 GMT"
NAMES = {"limit": "X-RateLimit-Limit", "left": "X-RateLimit-Remaining", "reset": "X-RateLimit-Reset"}
NAMES |= {"wait": "X-RateLimit-Retry-After", "retry": "Retry-After", "date": "Date"}


def moment(seconds: float) -> datetime:
    """So many seconds after the reply was sent."""
    return datetime.fromtimestamp(SENT + seconds, UTC)


def headers(**values: str) -> CIMultiDict[str]:
    """Headers by short names."""
    return CIMultiDict({NAMES[name]: value for name, value in values.items()})


def test_headers_of_a_good_reply() -> None:
    """Limit, what remains, and the end of the window as an aware moment; letter case does not matter."""
    told = parse_rate_limit(headers(limit="250000", left="249640", reset=str(int(SENT) + 1800)), SENT)
    assert told == RateLimit(250_000, 249_640, moment(1800))
    assert parse_rate_limit(CIMultiDict({"x-ratelimit-REMAINING": "0"}), SENT) == RateLimit(None, 0, None)


@pytest.mark.parametrize("value", ["", " ", "soon", "nan", "inf", "-inf", "-1", "1e400", "٣", "0x10", "1,5"])
def test_nonsense_in_a_header_is_none(value: str) -> None:
    """Empty as on a 401, garbage, negative, not finite, not ASCII: `None`, and `None` for all if all are."""
    assert parse_rate_limit(headers(limit=value, left=value, reset=value), SENT) is None
    assert parse_rate_limit(headers(limit="10", left=value, reset=value), SENT) == RateLimit(10, None, None)
    assert parse_retry_after(headers(wait=value, retry=value, reset=value), SENT) is None


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [(f"{SENT + 212}", 212), (f"{SENT * 1000 + 212_000}", 212), ("212", 212), ("0", 0), (f"{SENT - 5}", -5)],
)
def test_a_reset_in_every_dress(reset: str, seconds: float) -> None:
    """Epoch seconds as documented, milliseconds, or relative seconds as one SDK's fixtures have them."""
    told = parse_rate_limit(headers(reset=reset), SENT)
    assert told is not None
    assert told.resets_at == moment(seconds)
    assert parse_retry_after(headers(reset=reset), SENT) == (seconds if seconds > 0 else None)


def test_waits_are_measured_by_the_clock_of_the_service() -> None:
    """A local clock that is hours off changes nothing where there is a `Date`; without one it must do."""
    for now in (SENT - 7200, SENT, SENT + 7200):
        told = headers(date=DATE, reset=str(int(SENT) + 60))
        assert response_date(told, now) == SENT
        assert parse_retry_after(told, response_date(told, now)) == 60
        assert response_date(headers(), now) == response_date(headers(date="tomorrow"), now) == now


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"wait": "7", "retry": "8", "reset": "9"}, 7),
        ({"wait": "31622401", "retry": "8", "reset": "9"}, 8),
        ({"wait": "-7", "retry": "Sun, 22 Nov 2026 10:00:08 GMT", "reset": "9"}, 8),
        ({"wait": "0", "retry": "Sun, 22 Nov 2026 09:59:59 GMT", "reset": "9"}, 9),
    ],
)
def test_the_first_wait_that_makes_sense_counts(told: dict[str, str], seconds: float | None) -> None:
    """`X-RateLimit-Retry-After`, then `Retry-After` as seconds or date, then the reset; none in the past."""
    assert parse_retry_after(headers(**told), SENT) == seconds
    without = None if seconds == 9 else seconds
    assert parse_retry_after(headers(**told), SENT, reset=False) == without


ANYTHING = st.one_of(
    st.text(st.characters(), max_size=12),
    (st.integers() | st.floats()).map(str),
    st.text("0123456789eE+-._ :,MonNvGT", max_size=25),
    st.datetimes().map(lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT")),
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(sorted(NAMES)), ANYTHING))
@example({"date": "Mon, 01 Jan 0001 00:00:00 +2359", "reset": "1"})
@example({"date": "1 Jan 1 1:1:1 99999999999999", "retry": "Fri, 31 Dec 9999 23:59:59 -2359"})
def test_any_header_is_read_or_left(told: dict[str, str]) -> None:
    """Whatever headers say: a value that makes sense or `None`, never an exception."""
    sent = response_date(headers(**told), SENT)
    assert math.isfinite(sent)
    limit = parse_rate_limit(headers(**told), sent)
    wait = parse_retry_after(headers(**told), sent)
    assert limit != RateLimit(None, None, None)
    assert limit is None or min(0, limit.limit or 0, limit.remaining or 0) == 0
    assert wait is None or 0 < wait < math.inf


class Queue:
    """Requests before a gate: how many passed it. Time stands still until a test moves it."""

    def __init__(self, patch: pytest.MonkeyPatch, *, reserve: float = 0.1, max_wait: float = 120.0) -> None:
        self.now, self.passed = 0.0, 0
        self.sleepers: list[tuple[float, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.gate = RateLimiter(reserve=reserve, max_wait=max_wait)
        patch.setattr(rate_limiter, "monotonic", lambda: self.now)
        patch.setattr(rate_limiter, "sleep", self._sleep)
        patch.setattr("random.uniform", max)

    async def _sleep(self, seconds: float) -> None:
        self.sleepers.append((self.now + seconds, awake := asyncio.Event()))
        await awake.wait()

    async def _one(self) -> None:
        await self.gate.acquire()
        self.passed += 1

    async def settle(self) -> int:
        """How many passed, once nothing moves any more without the clock?"""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.passed

    async def ask(self, count: int = 1) -> int:
        """So many more requests come; how many passed so far?"""
        self.tasks += [asyncio.create_task(self._one()) for _ in range(count)]
        return await self.settle()

    async def reply(self, left: int | None, *, ends: float = 50.0, sent: float | None = None) -> int:
        """A reply of a window of 100 that ends then, sent now or a while ago; how many passed so far?"""
        told = None if left is None else RateLimit(100, left, moment(ends))
        self.gate.release(told, SENT + (self.now if sent is None else sent))
        return await self.settle()

    async def at(self, when: float) -> int:
        """Move on, waking sleepers at their very moment; how many passed by then?"""
        while due := [sleeper for sleeper in self.sleepers if sleeper[0] <= when]:
            first = min(due, key=lambda sleeper: sleeper[0])
            self.sleepers.remove(first)
            self.now = first[0]
            first[1].set()
            await self.settle()
        self.now = when
        return self.passed

    async def over(self) -> None:
        """Nobody waits any longer."""
        for task in self.tasks:
            task.cancel()
        await self.settle()


async def test_nothing_waits_while_nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without headers, or with half of them, nothing is slowed down; a 429 names its wait elsewhere."""
    queue = Queue(monkeypatch)
    assert await queue.ask(50) == await queue.reply(None) == await queue.reply(0, ends=-1.0) == 50
    for told in (RateLimit(100, None, None), RateLimit(None, 0, None), RateLimit(None, 99, moment(50))):
        queue.gate.release(told, SENT)
        assert queue.gate.latest == told
    queue.gate.release(RateLimit(100, 0, moment(50)))
    assert await queue.ask(50) == 100


@pytest.mark.parametrize(("seconds", "jitter"), [(60.0, 1.0), (2.0, 0.2)])
async def test_one_429_pauses_everybody_until_the_named_moment(
    seconds: float, jitter: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never earlier, and later by a tenth or one second at most, so that not all come at once."""
    queue = Queue(monkeypatch)
    queue.gate.pause(seconds, "429", None)
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    assert (queue.gate.paused, queue.gate.stats.pause_reason) == (True, "429")
    assert queue.gate.stats.paused_until == pytest.approx(until, abs=timedelta(seconds=1))
    assert await queue.ask(20) == await queue.at(seconds) == 0
    assert await queue.at(seconds + jitter) == 20
    assert queue.gate.stats == Stats(requests=20, in_flight=20, waits=1)


async def test_the_latest_opening_holds_for_those_who_wait_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter pause does not open a gate that is closed for longer; a longer one keeps all waiting."""
    queue = Queue(monkeypatch)
    queue.gate.pause(60.0, "429", None)
    queue.gate.pause(10.0, "429", None)
    assert await queue.ask(3) == await queue.at(30.0) == 0
    queue.gate.pause(60.0, "429", None)
    assert await queue.at(89.999) == 0
    assert await queue.at(91.0) == 3


async def test_a_sleep_that_ends_early_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers may be early by a little: the clock decides."""
    now = [0.0]

    async def doze(seconds: float) -> None:
        now[0] += seconds * 0.9 if seconds > 0.01 else seconds

    monkeypatch.setattr(rate_limiter, "monotonic", lambda: now[0])
    monkeypatch.setattr(rate_limiter, "sleep", doze)
    monkeypatch.setattr("random.uniform", min)
    gate = RateLimiter(reserve=0.0, max_wait=100.0)
    gate.pause(50.0, "429", None)
    await gate.acquire()
    assert 50.0 <= now[0] <= 50.1


async def test_a_wait_beyond_the_maximum_raises_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not clipped, not waited for: the error says when and how long. The maximum itself is waited for."""
    queue = Queue(monkeypatch, max_wait=120.0)
    queue.gate.latest = RateLimit(100, 0, moment(121))
    queue.gate.pause(121.0, "429", moment(121))
    with pytest.raises(RateLimitedError) as caught:
        await queue.gate.acquire()
    error = caught.value
    assert (error.status, error.retryable, error.resets_at) == (429, False, moment(121))
    assert (error.retry_after, error.rate_limit) == (121.0, queue.gate.latest)
    assert str(error) == (
        "the workspace's rate limit allows the next request in 121 s (until 2026-11-22 10:02:01 UTC): try "
        "again then; max_rate_limit_wait (120 s) can be longer"
    )
    await queue.at(1.0)
    assert (await queue.ask(), await queue.at(122.0)) == (0, 1)


async def test_the_gate_closes_at_the_reserve_with_those_in_flight_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 13 of 100 left and 10 kept, two go beside the one in flight; the rest wait for their replies."""
    queue = Queue(monkeypatch, reserve=0.1)
    assert await queue.ask(2) == await queue.reply(13) == 2
    assert await queue.ask(5) == 4  # three in flight now: 13 - 3 = 10
    assert await queue.reply(12) == await queue.reply(11) == 4
    assert await queue.reply(10) == 4  # nothing in flight: closed until the window ends
    assert queue.gate.paused
    assert await queue.at(49.999) == 4
    assert await queue.at(51.0) == 7


async def test_who_is_not_alone_leaves_as_many_as_it_has_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the allowance shrinks by more than our own requests, others are at it, who know nothing of us."""
    queue = Queue(monkeypatch, reserve=0.0)
    assert await queue.ask(8) == 8
    for left in range(99, 91, -1):  # our own eight
        await queue.reply(left)
    assert await queue.ask(2) == 10
    await queue.reply(60)  # thirty of somebody else's
    await queue.reply(10)
    assert await queue.ask(4) == 12  # 10 - 2 = 8 are left to them
    assert await queue.reply(8) == await queue.reply(7) == 12
    assert queue.gate.paused
    await queue.over()


async def test_a_request_without_a_reply_gives_its_place_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been counted or not; the next reply will tell."""
    queue = Queue(monkeypatch, reserve=0.0)
    await queue.ask(2)
    await queue.reply(2)
    assert await queue.ask(3) == 3
    assert await queue.reply(None) == 4
    await queue.over()
    assert queue.gate.stats.in_flight == 2  # those who left the queue hold no place


async def test_a_reserve_that_is_reached_for_too_long_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """No 429 was needed; `resets_at` is the end of the window."""
    queue = Queue(monkeypatch, max_wait=30.0)
    await queue.ask()
    await queue.reply(10)
    with pytest.raises(RateLimitedError, match="in 50 s") as caught:
        await queue.gate.acquire()
    assert caught.value.resets_at == moment(50)


@pytest.mark.parametrize("ends", [49.0, 50.0, 51.0])
async def test_replies_out_of_order_count_the_least(ends: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one window the smallest count is the latest, though relative seconds may move its end."""
    queue = Queue(monkeypatch, reserve=0.1)
    await queue.ask(3)
    await queue.reply(11)
    await queue.reply(99)
    await queue.reply(60, ends=ends)
    passed = await queue.ask(2)
    await queue.over()
    assert passed == 4


async def test_a_new_window_counts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by a reply of it, or simply by the time: then all may pass until one tells."""
    queue = Queue(monkeypatch, reserve=0.1)
    await queue.ask(2)
    await queue.reply(10)
    await queue.at(50.0)
    assert await queue.ask(3) == 5
    await queue.reply(97, ends=100.0)
    assert await queue.ask(3) == 8


@pytest.mark.parametrize(("left", "ends"), [(99, 50.0), (5, 1.0)])
async def test_a_reply_that_was_long_on_its_way_is_old_news(
    left: int, ends: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent early and read late, of the same window or of the one before: what is known better stays."""
    queue = Queue(monkeypatch, reserve=0.1)
    await queue.ask(2)
    await queue.at(5.0)
    await queue.reply(12, ends=50.0)
    await queue.reply(left, ends=ends, sent=0.0)
    passed = await queue.ask(4)
    await queue.over()
    assert passed == 4
