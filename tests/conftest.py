"""A Braze on loopback and a client of it, for every test that wants one."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# What runs out of time is a busy machine's doing, and says nothing of the code.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

if os.environ.get("LOOP") == "uvloop":  # `make recipes`
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """250 segments: two full pages and half of a third."""
    async with Sandbox(250) as sandbox:
        yield sandbox


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[BrazeSegments]:
    """An open client of the sandbox that does not wait between retries."""
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=RetryPolicy(backoff=0.0)
    ) as client:
        yield client


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """No test leaves a task running, in its own loop."""
    yield
    # What a dropped generator left to asyncio needs a turn of the loop to be gone.
    for _ in range(5):
        await asyncio.sleep(0)
    left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    ours = {
        task
        for task in left
        if "braze_segments_async/sandbox" not in repr(task) and "aiohttp" not in repr(task)
    }
    assert not ours
