"""Exports of a FastAPI app in operation: rate limit, takeover, outages, health, logs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi_helpers import Brake, events, serving, until

from braze_segments_async.fastapi import _jobs as jobs
from braze_segments_async.fastapi._schemas import Export, ExportRequest
from braze_segments_async.fastapi._store import ExportStore
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import httpx2

    from braze_segments_async import RateLimitedError


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since it is exported many times."""
    async with Sandbox(5) as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the next look at a record."""
    monkeypatch.setattr(jobs, "_TICK", 0.01)
    monkeypatch.setattr(jobs, "_RESUME_EVERY", 0.01)


def _count_calls(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[None]:
    """Return a list that grows with each call of a method."""
    calls: list[None] = []
    method = getattr(owner, name)

    def counted(*args: Any) -> Any:
        calls.append(None)
        return method(*args)

    monkeypatch.setattr(owner, name, counted)
    return calls


async def _export(api: httpx2.AsyncClient, **order: Any) -> dict[str, Any]:
    """Start an export and return its last state."""
    started = (await api.post("/exports", json=order)).json()
    *_, last = events((await api.get(f"/exports/{started['id']}/events")).text)
    return last


async def test_an_export_waits_for_the_rate_limit(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An export waits for longer than a request of the client does, tries again, and logs a warning."""
    waits: list[float] = []

    def seconds_to_reset(error: RateLimitedError) -> float:
        waits.append(error.retry_after or 0.0)
        return 0.0

    monkeypatch.setattr(jobs, "seconds_to_reset", seconds_to_reset)
    monkeypatch.setattr(jobs, "_MIN_RATE_LIMIT_WAIT", 0.01)
    sandbox.inject(Answer(status=429, headers={"Retry-After": "1800"}), endpoint="details", times=1)
    async with serving(sandbox, tmp_path) as api:
        export = (await api.post("/exports")).json()
        await until(lambda: "waits until" in caplog.text and len(waits) > 2)
        state = (await api.get(f"/exports/{export['id']}")).json()
        assert (state["state"], state["paused_until"] is not None) == ("running", True)
        assert (await api.delete(f"/exports/{export['id']}")).json()["state"] == "cancelled"
    assert all(1_700 < seconds <= 1_800 for seconds in waits)
    assert "WARNING" in {record.levelname for record in caplog.records if "waits until" in record.message}


async def test_a_failure_for_the_rate_limit_is_resumed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An export that gave up is resumed by the server when the rate limit has reset."""
    monkeypatch.setattr(jobs, "_MAX_RATE_LIMIT_WAIT", 0.0)
    sandbox.inject(Answer(status=429, headers={"Retry-After": "1800"}), endpoint="details", times=1)
    async with serving(sandbox, tmp_path) as api:
        last = await _export(api)
        assert (last["state"], last["resume_at"] > last["ended_at"]) == ("failed", True)
    store = ExportStore(tmp_path)
    (failed,) = store.all()
    store.update(failed.model_copy(update={"resume_at": failed.created_at}))
    async with serving(sandbox, tmp_path, resume=True):
        await until(lambda: store.all()[0].state == "done")
    assert store.all()[0].runs == 2
    assert "is resumed: it was failed" in caplog.text


async def test_a_living_app_takes_over(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When one of two apps stops, the other one resumes its export, but not a cancelled one."""
    searches = _count_calls(monkeypatch, jobs.ExportJobs, "_resume_if_due")
    brake, store = Brake(sandbox, after=2), ExportStore(tmp_path)
    async with serving(sandbox, tmp_path, resume=True) as other:
        async with serving(sandbox, tmp_path, resume=True) as api:
            export = (await api.post("/exports")).json()
            await brake.reached.wait()
            brake.release()
        await until(lambda: store.all()[0].state == "done")
        brake = Brake(sandbox, after=0)
        export = (await other.post("/exports")).json()
        await brake.reached.wait()
        await other.delete(f"/exports/{export['id']}")
        seen = len(searches)
        await until(lambda: len(searches) > seen + 1)
        found = store.get(UUID(export["id"]))
        assert found is not None
        assert (found.state, found.resume_at) == ("cancelled", None)


async def test_an_export_that_ends_before_the_lock_is_free_is_not_resumed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that finds an export to resume looks again once it holds the lock."""
    monkeypatch.setattr(jobs, "_RESUME_EVERY", 60.0)
    store, now = ExportStore(tmp_path), datetime.now(UTC)
    due = Export(id=UUID(int=1), state="failed", order=ExportRequest(), created_at=now, resume_at=now)
    ended = due.model_copy(update={"state": "done", "ended_at": now, "resume_at": None})
    store.add(due)
    lock = ExportStore.lock

    def lock_of_another_worker(_: ExportStore) -> AbstractContextManager[None]:
        store.update(ended)
        return lock(store)

    monkeypatch.setattr(ExportStore, "lock", lock_of_another_worker)
    async with serving(sandbox, tmp_path, resume=True) as api:
        assert (await api.get("/exports")).json() == [ended.model_dump(mode="json")]
    assert sandbox.requests == []


async def test_an_error_of_the_lock_at_the_start_is_logged(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The app starts if the lock cannot be used; that is logged once, and the export is resumed later."""
    monkeypatch.setattr(jobs, "_LOCK_TIMEOUT", 0.0)
    searches = _count_calls(monkeypatch, jobs.ExportJobs, "_resume_if_due")
    store, now = ExportStore(tmp_path), datetime.now(UTC)
    store.add(Export(id=UUID(int=1), state="failed", order=ExportRequest(), created_at=now, resume_at=now))
    (tmp_path / "exports.lock").symlink_to("nothing")
    async with serving(sandbox, tmp_path, resume=True):
        await until(lambda: len(searches) > 2)
        (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert logged.getMessage().startswith("no export can be resumed: ")
        assert "exports.lock is a link" in logged.getMessage()
        (tmp_path / "exports.lock").unlink()
        await until(lambda: store.all()[0].state == "done")


async def test_stopping_twice(sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second `stop`, such as that of a signal, waits for the first one, and changes nothing."""
    caplog.set_level("INFO")
    app, brake, store = FastAPI(), Brake(sandbox, after=2), ExportStore(tmp_path)
    async with serving(sandbox, tmp_path, app=app) as api:
        await api.post("/exports")
        await brake.reached.wait()
        states = []

        async def stop() -> None:
            await app.state.braze_exports.stop()
            states.append(store.all()[0].state)

        await asyncio.gather(stop(), stop())
    assert states == ["cancelled", "cancelled"]
    assert caplog.text.count("was cancelled by a shutdown") == 1


async def test_events_of_a_removed_export_end(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events end if the record of the export is removed."""
    brake = Brake(sandbox, after=0)
    async with serving(sandbox, tmp_path) as api:
        export = (await api.post("/exports")).json()
        await brake.reached.wait()
        reads = _count_calls(monkeypatch, ExportStore, "get")
        reading = asyncio.create_task(api.get(f"/exports/{export['id']}/events"))
        await until(lambda: len(reads) > 1)  # the first one is before the first event
        (tmp_path / "exports.db").unlink()
        async with asyncio.timeout(5.0):
            assert events((await reading).text)[-1]["state"] == "running"


async def test_health(sandbox: Sandbox, tmp_path: Path) -> None:
    """Without `check`, no request is sent to Braze; with it, a refused key makes the status 503."""
    async with serving(sandbox, tmp_path) as api:
        response = await api.get("/health")
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert sandbox.requests == []
        export = await _export(api)
        state = (await api.get("/health")).json()
        assert state["latest_export"]["id"] == export["id"]
        assert state["complete_export_at"] == export["ended_at"]
        assert (await api.get("/health?check=true")).status_code == 200
        sandbox.inject(Answer(status=401))
        response = await api.get("/health?check=true")
        assert (response.status_code, response.json()["status"]) == (503, "failing")
        assert response.json()["problems"]
        assert sandbox.api_key not in response.text
    async with serving(sandbox, app=FastAPI()) as api:
        assert (await api.get("/health")).json()["latest_export"] is None


async def test_health_during_a_pause(sandbox: Sandbox, tmp_path: Path) -> None:
    """During a pause the key cannot be tested: the health body says so. Without `check`, all is well."""
    sandbox.inject(Answer(status=429, headers={"Retry-After": "60"}), endpoint="list", times=1)
    async with serving(sandbox, tmp_path) as api:
        assert (await api.get("/segments")).status_code == 503
        response = await api.get("/health?check=true")
        health = response.json()
        assert (response.status_code, health["status"], health["latest_export"]) == (503, "failing", None)
        assert health["paused_until"] is not None
        (problem,) = health["problems"]
        assert problem.startswith("the key could not be tested: ")
        response = await api.get("/health")
        assert (response.status_code, response.json()["paused_until"]) == (200, health["paused_until"])


async def test_a_partial_export_is_a_warning(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that lacks failed segments is logged as a warning, and a failed export as an error."""
    sandbox.inject(Answer(status=422), segment_id=sandbox.segment_ids[0])
    async with serving(sandbox, tmp_path) as api:
        await _export(api, allow_partial=True)
        await _export(api)
    levels = [record.levelname for record in caplog.records if record.message.startswith("export ")]
    assert levels == ["WARNING", "ERROR"]
