"""Under a real rate-limit window: complete, polite, and as fast as the window allows. Time is made up."""

from __future__ import annotations

import asyncio
import time

import pytest

from braze_segments_async import BrazeSegments, RateLimitedError, RetryPolicy
from braze_segments_async._http import rate_limiter
from braze_segments_async.sandbox import Answer, Sandbox


class _Time:
    """Real time, plus what was slept: a sleeper gets what it asked for at once."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def clock(self) -> float:
        """For the sandbox: seconds of the epoch. Begins with a window."""
        return 1_800_000_000.0 + self.skipped

    def monotonic(self) -> float:
        """For the client."""
        return time.monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        """Several may sleep for the same moment: only the rest is added for the second."""
        until = self.monotonic() + seconds
        await asyncio.sleep(0)
        self.skipped += max(0.0, until - self.monotonic())


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> _Time:
    """The clients opened in this test wait at their gates in made-up time."""
    made_up = _Time()
    monkeypatch.setattr(rate_limiter, "monotonic", made_up.monotonic)
    monkeypatch.setattr(rate_limiter, "sleep", made_up.sleep)
    return made_up


@pytest.mark.parametrize(("reserve", "a_window"), [(0.0, 100), (0.1, 90), (0.25, 75)])
async def test_a_window_is_used_to_the_reserve_and_no_429_is_earned(
    made_up: _Time, reserve: float, a_window: int
) -> None:
    """400 details at 100 requests a window: each window is used down to the reserve, without a single 429."""
    async with (
        Sandbox(400, rate_limit=(100, 30.0), clock=made_up.clock) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, reserve=reserve) as client,
    ):
        ids = {details.id async for details in client.all_details(sandbox.segment_ids)}
        assert ids == set(sandbox.segment_ids)
        assert sandbox.count("details", 429) == 0
        assert sandbox.count("details") == 400
        assert sandbox.windows[:4] == [a_window] * 4


async def test_two_clients_that_do_not_know_of_each_other(made_up: _Time) -> None:
    """Two clients on one allowance both finish with a handful of 429s: each leaves room for the other."""
    async with (
        Sandbox(400, rate_limit=(100, 30.0), clock=made_up.clock) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, reserve=0.0) as one,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, reserve=0.0) as other,
    ):

        async def everything(client: BrazeSegments) -> int:
            return len([d async for d in client.all_details(sandbox.segment_ids)])

        assert list(await asyncio.gather(everything(one), everything(other))) == [400, 400]
        assert sandbox.count("details", 200) == 800
        assert sandbox.count("details", 429) <= 5
        assert len(sandbox.windows) <= 10  # 8 would be the least


async def test_a_wait_beyond_the_maximum_raises_at_once(sandbox: Sandbox) -> None:
    """Down to the reserve with the reset far away: raised before a 429 is earned, with the moment."""
    soon = {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "100", "X-RateLimit-Reset": "3000"}
    sandbox.inject(Answer(headers=soon))
    policy = RetryPolicy(max_rate_limit_wait=60)
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=policy) as client:
        await client.details(sandbox.segment_ids[0])
        with pytest.raises(RateLimitedError, match=r"max_rate_limit_wait \(60 s\) can be longer") as caught:
            await client.details(sandbox.segment_ids[1])
        assert client.rate_limit is not None
        assert caught.value.resets_at == client.rate_limit.resets_at
        assert caught.value.attempts == 0
        assert len(sandbox.requests) == 1
