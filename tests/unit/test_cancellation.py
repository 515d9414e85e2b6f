"""Cancellation at any moment is prompt and clean, and the client remains usable."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PROMPT = 0.1  # seconds


async def _walk(client: BrazeSegments) -> None:
    async for _ in client.list(consistency="safe"):
        pass


async def _fan_out(client: BrazeSegments) -> None:
    async for _ in client.all_details(concurrency=8):
        pass


async def _ordered(client: BrazeSegments) -> None:
    async with client.all_details(ordered=True, consistency="strict") as stream:
        async for _ in stream:
            await asyncio.sleep(0)


async def _series(client: BrazeSegments) -> None:
    segment = await anext(aiter(client.list()))
    await client.data_series(segment.id, length=1000)


def _tasks_of_the_client() -> list[str]:
    """Return the tasks that run code of the package, without the sandbox's in the same loop."""
    return [
        repr(task)
        for task in asyncio.all_tasks()
        if "braze_segments_async/" in repr(task) and "/sandbox/" not in repr(task)
    ]


async def _steps_of(job: Coroutine[None, None, None]) -> int:
    """Return the number of loop iterations that a job takes."""
    task = asyncio.create_task(job)
    steps = 0
    while not task.done():
        await asyncio.sleep(0)
        steps += 1
    await task
    return steps


async def _cancel_after_steps(job: Coroutine[None, None, None], steps: int) -> float | None:
    """Cancel a job after some loop iterations; return the seconds it took to end, `None` if it was done."""
    task = asyncio.create_task(job)
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.done():
        await task
        return None
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return time.monotonic() - began


@pytest.mark.parametrize("job", [_walk, _fan_out, _ordered, _series])
async def test_cancelled_at_fifty_random_moments(
    sandbox: Sandbox, job: Callable[[BrazeSegments], Coroutine[None, None, None]]
) -> None:
    """A call that is cancelled ends within 100 ms and leaves no task, and the client remains usable.

    Four jobs, fifty moments each: two hundred cancellations.
    """
    moments = random.Random(job.__name__)
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=RetryPolicy(attempts=50, backoff=0.01)
    ) as client:
        steps = await _steps_of(job(client))
        sandbox.inject(Answer(503), chance=0.1)
        cancelled = 0
        for _ in range(50):
            took = await _cancel_after_steps(job(client), moments.randrange(steps))
            cancelled += took is not None
            assert took is None or took < PROMPT
            for _ in range(5):  # a generator that was dropped is closed by asyncio, a little later
                await asyncio.sleep(0)
            assert _tasks_of_the_client() == []
        assert cancelled >= 30
        assert (await client.details(sandbox.segment_ids[0])).id == sandbox.segment_ids[0]


async def test_cancelled_while_rate_limited(sandbox: Sandbox) -> None:
    """Cancellation ends a wait for the rate limit at once; other requests keep waiting."""
    sandbox.inject(Answer(429, headers={"X-RateLimit-Retry-After": "90"}), endpoint="details", times=1)
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        waiting = [asyncio.create_task(client.details(i)) for i in sandbox.segment_ids[:3]]
        await asyncio.sleep(0.05)
        assert sandbox.count("details") <= 3
        began = time.monotonic()
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        assert time.monotonic() - began < PROMPT
        began = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01):
                await client.details(sandbox.segment_ids[4])
        assert time.monotonic() - began < PROMPT
        assert type(caught.value) is TimeoutError  # the caller's own, not our TimedOutError


async def test_a_timeout_of_the_caller_inside_a_stream(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`asyncio.timeout` around a loop over a stream raises the caller's own `TimeoutError`."""
    sandbox.inject(Answer(delay=30), endpoint="details", ordinals=100)
    seen = 0
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(None) as time_out:
            async for _ in client.all_details():
                seen += 1
                if seen == 249:
                    time_out.reschedule(asyncio.get_running_loop().time() + 0.05)
    assert type(caught.value) is TimeoutError
    assert seen == 249
    assert _tasks_of_the_client() == []


async def test_siblings_of_a_task_group(client: BrazeSegments, sandbox: Sandbox) -> None:
    """A stream in a `TaskGroup` is cancelled cleanly when another task of the group fails."""

    async def fail() -> None:
        await asyncio.sleep(0.02)
        raise LookupError("mine")

    sandbox.inject(Answer(delay=30), endpoint="details", ordinals=20)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(_fan_out(client))
            group.create_task(fail())
    assert [type(error) for error in caught.value.exceptions] == [LookupError]
    assert _tasks_of_the_client() == []
    assert (await client.details(sandbox.segment_ids[0])).id == sandbox.segment_ids[0]
