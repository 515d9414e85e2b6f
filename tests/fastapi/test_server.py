"""The example app served by uvicorn and hypercorn, with real processes, connections and signals."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from export_helpers import journaled_ids, requested_ids
from fastapi_helpers import Brake, Server, events, until

from braze_segments_async.export import export_segments
from braze_segments_async.fastapi._store import ExportStore
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from braze_segments_async import BrazeSegments

_IN_TIME = 0.5  # seconds from SIGTERM to the end of the process


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since servers take long to start."""
    async with Sandbox(120) as sandbox:
        yield sandbox


async def _followed_until_sigterm(
    server: Server, export: dict[str, Any]
) -> tuple[list[dict[str, Any]], float]:
    """Send SIGTERM while a reader follows an export; return its events and the seconds until the end."""
    async with server.client.stream("GET", f"/exports/{export['id']}/events") as stream:
        lines = aiter(stream.aiter_lines())
        first = await anext(lines)
        stopping = asyncio.create_task(server.stop())
        return events("\n".join([first, *[line async for line in lines]])), await stopping


async def test_the_next_start_resumes_after_sigterm_and_sigkill(
    sandbox: Sandbox, client: BrazeSegments, tmp_path: Path
) -> None:
    """A running export does not delay the end of the server; each next start resumes it."""
    records = ExportStore(tmp_path / "exports")
    for _ in range(3):  # a busy machine may need another attempt
        brake = Brake(sandbox, after=20)
        async with Server(sandbox, tmp_path) as server:
            export = (
                await server.client.post("/exports")
            ).json()  # or the export that was resumed at the start
            await brake.reached.wait()
            seen, seconds = await _followed_until_sigterm(server, export)
        assert (
            [seen[0]["state"], seen[-1]["state"]]
            == ["running", records.all()[0].state]
            == ["running", "cancelled"]
        )
        assert seen[-1]["cancelled_by"] == "shutdown"
        assert "Application shutdown complete" in server.log
        assert not {"Traceback", sandbox.api_key} & set(server.log.split())
        if seconds < _IN_TIME:
            break
    else:
        pytest.fail(f"it took {seconds:.2f} s")

    brake = Brake(sandbox, after=20)
    async with Server(sandbox, tmp_path) as server:
        await brake.reached.wait()
        await server.kill()
    assert [record.state for record in records.all()] == ["interrupted"]

    brake.release()
    ready = journaled_ids(tmp_path / "exports" / f"{export['id']}.ndjson")
    sandbox.requests.clear()
    async with Server(sandbox, tmp_path) as server:
        await until(lambda: records.all()[0].state == "done")
        file = await server.client.get(f"/exports/{export['id']}/file")
    assert len(ready) > 20
    assert requested_ids(sandbox) == sorted(set(sandbox.segment_ids) - set(ready))
    await export_segments(client, expected := tmp_path / "undisturbed.ndjson")
    assert file.content == expected.read_bytes()


async def test_two_workers(sandbox: Sandbox, tmp_path: Path) -> None:
    """Both workers show the same export; when its worker is killed, the other one resumes it."""
    brake, records = Brake(sandbox, after=50), ExportStore(tmp_path / "exports")
    async with Server(sandbox, tmp_path, workers=2) as server:
        export = (await server.client.post("/exports")).json()
        await brake.reached.wait()
        again = await asyncio.gather(*[server.client.post("/exports") for _ in range(20)])
        assert {(response.status_code, response.json()["id"]) for response in again} == {(200, export["id"])}
        brake.release()
        os.kill(int((tmp_path / "exports" / "exports.lock").read_text()), signal.SIGKILL)
        await until(lambda: records.all()[0].state == "done")
        assert records.all()[0].resumed > 0
        assert len(server.pids) == 2  # the other worker did that, before the dead one was replaced
        await until(lambda: len(server.pids) == 3)
        path = f"/exports/{export['id']}/file"
        files = await asyncio.gather(*[server.client.get(path) for _ in range(20)])
        assert {len(file.text.splitlines()) for file in files} == {120}
        await server.stop()
    assert server.log.count("Application shutdown complete") == 2


async def test_hypercorn_in_one_process(sandbox: Sandbox, tmp_path: Path) -> None:
    """With `--workers 0`, hypercorn ends at SIGTERM as uvicorn does, and readers see the last state."""
    brake = Brake(sandbox, after=20)
    async with Server(sandbox, tmp_path, program="hypercorn", workers=0) as server:
        export = (await server.client.post("/exports")).json()
        await brake.reached.wait()
        seen, _ = await _followed_until_sigterm(server, export)
    assert (seen[-1]["state"], seen[-1]["cancelled_by"]) == ("cancelled", "shutdown")


async def test_hypercorn_replaces_a_worker(sandbox: Sandbox, tmp_path: Path) -> None:
    """At `--max-requests`, events are cut off after `--graceful-timeout`; the next worker resumes."""
    brake, records = Brake(sandbox, after=20), ExportStore(tmp_path / "exports")
    options = ("--max-requests", "2", "--graceful-timeout", "0")
    async with Server(sandbox, tmp_path, *options, program="hypercorn") as server:
        export = (await server.client.post("/exports")).json()
        await brake.reached.wait()
        brake.release()
        async with server.client.stream("GET", f"/exports/{export['id']}/events") as stream:
            with suppress(httpx2.TransportError):  # the request at the limit may be cut off, too
                await server.client.get("/exports")
            with pytest.raises(httpx2.TransportError):
                await stream.aread()
        await until(lambda: records.all()[0].state == "done")
    assert (records.all()[0].runs, records.all()[0].resumed > 0) == (2, True)


async def test_uvicorn_ends_after_its_maximum_of_requests(sandbox: Sandbox, tmp_path: Path) -> None:
    """At `--limit-max-requests`, events are cut off after `--timeout-graceful-shutdown`.

    The export is saved for the next process.
    """
    brake, records = Brake(sandbox, after=20), ExportStore(tmp_path / "exports")
    options = ("--limit-max-requests", "2", "--timeout-graceful-shutdown", "1")
    async with Server(sandbox, tmp_path, *options) as server:
        export = (await server.client.post("/exports")).json()
        await brake.reached.wait()
        async with server.client.stream("GET", f"/exports/{export['id']}/events") as stream:
            await server.client.get("/exports")
            with pytest.raises(httpx2.TransportError):
                await stream.aread()
        await server.ended()
    (last,) = records.all()
    assert (last.state, last.cancelled_by, last.is_due) == ("cancelled", "shutdown", True)


async def test_sigterm_while_a_route_waits_for_the_rate_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    """A route that waits for the rate limit responds with 503 on SIGTERM, and does not delay the end."""
    sandbox.inject(Answer(status=429, headers={"Retry-After": "60"}), endpoint="list", times=1)
    async with Server(sandbox, tmp_path) as server:
        waiting = asyncio.create_task(server.client.get(server.url("/tags")))
        await until(lambda: sandbox.count("list", 429))
        while (await server.client.get("/segments")).status_code == 200:
            pass  # until the client has received the 429
        await server.stop()
        assert (await waiting).status_code == 503
