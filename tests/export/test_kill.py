"""After `kill -9` at any moment, resume fetches only the missing segments and produces the same bytes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from export_helpers import (
    FORMATS,
    Exporter,
    content,
    exporting,
    journaled_ids,
    names_in,
    requested_ids,
    sibling,
)

from braze_segments_async import BrazeSegments, ConfigError
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from braze_segments_async.sandbox import LoggedRequest

_SEGMENTS = 120
_REQUESTS = 3 + _SEGMENTS  # of a safe export: two pages, one of which is read twice, and the details


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since it is exported many times."""
    async with Sandbox(_SEGMENTS) as sandbox:
        yield sandbox


async def _kill(exporter: Exporter, sandbox: Sandbox, target: Path, number: int, pause: float = 0.0) -> None:
    """Kill an export when a number of its requests have arrived, after a pause in seconds."""
    first, arrived = len(sandbox.requests), asyncio.Event()

    def count(_: LoggedRequest) -> None:
        if len(sandbox.requests) - first == number:
            arrived.set()

    sandbox.inject(count)
    pid = await exporter.start(sandbox, target, resume=True)
    await arrived.wait()
    await asyncio.sleep(pause)
    with suppress(ProcessLookupError):  # the export has ended already
        os.kill(pid, signal.SIGKILL)
    assert await exporter.wait() in {(-signal.SIGKILL, ""), (0, "")}


async def _resume(sandbox: Sandbox, client: BrazeSegments, target: Path, whole: object) -> None:
    """Resume a killed export, and check its requests, its result and its file."""
    done, live = journaled_ids(target), sandbox.segment_ids
    sandbox.requests.clear()
    try:
        result = await export_segments(client, target, resume=True)
    except ConfigError:  # killed after the export: there is no journal, and the file is not replaced
        assert not sibling(target, ".journal").exists()
    else:
        assert (result.rows, result.resumed) == (len(live), len(done))
        assert requested_ids(sandbox) == sorted(set(live) - set(done))
        assert sandbox.count("list") == 2 * (len(live) // 100) + 1
    assert content(target) == whole
    assert names_in(target) == {target.name}


async def test_killed_at_twenty_random_moments_while_fetching(
    sandbox: Sandbox, client: BrazeSegments, tmp_path: Path
) -> None:
    """Rows written before the kill are kept, and the resumed file equals that of a complete export."""
    moments = random.Random(4)
    await export_segments(client, whole := tmp_path / "whole.ndjson")
    async with exporting() as exporter:
        for attempt in range(20):
            target = tmp_path / str(attempt) / "segments.ndjson"
            target.parent.mkdir()
            await _kill(exporter, sandbox, target, moments.randint(1, _REQUESTS))
            assert not target.exists() or content(target) == content(whole)  # the export has ended already
            await _resume(sandbox, client, target, content(whole))


@pytest.mark.parametrize("suffix", FORMATS.values())
async def test_killed_while_writing(
    sandbox: Sandbox, client: BrazeSegments, tmp_path: Path, suffix: str
) -> None:
    """After a kill the file is absent or complete in every format; the next run removes leftover files."""
    moments = random.Random(suffix)
    await export_segments(client, whole := tmp_path / f"whole{suffix}")
    async with exporting() as exporter:
        for attempt in range(4):
            target = tmp_path / str(attempt) / f"segments{suffix}"
            target.parent.mkdir()
            await _kill(exporter, sandbox, target, _REQUESTS, moments.random() * 0.03)
            assert not target.exists() or content(target) == content(whole)
            await _resume(sandbox, client, target, content(whole))


async def test_killed_repeatedly(tmp_path: Path) -> None:
    """Each run continues where the previous one died; no detail in the journal is requested twice."""
    target = tmp_path / "again" / "segments.ndjson"
    target.parent.mkdir()
    # Enough segments that even the fifth run has 26 requests to send.
    async with (
        Sandbox(400) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
        exporting() as exporter,
    ):
        await export_segments(client, whole := tmp_path / "whole.ndjson")
        for _ in range(5):
            before = len(journaled_ids(target))
            await _kill(exporter, sandbox, target, 26)
            assert len(journaled_ids(target)) > before
        await _resume(sandbox, client, target, content(whole))
