"""Exports of a FastAPI app: start, follow, download, cancel and resume them from any worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from export_helpers import FORMATS, content, journaled_ids, names_in, requested_ids
from fastapi import FastAPI
from fastapi_helpers import Brake, events, serving

from braze_segments_async import ExportError
from braze_segments_async.export import export_segments
from braze_segments_async.fastapi import _jobs as jobs
from braze_segments_async.fastapi._store import ExportStore
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

    from braze_segments_async import BrazeSegments

MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "sqlite": "application/vnd.sqlite3",
    "html": "text/html; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since it is exported many times."""
    async with Sandbox(120) as sandbox:
        yield sandbox


@pytest.fixture
async def api(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an app that exports to the directory `exports`."""
    async with serving(sandbox, tmp_path / "exports") as api:
        yield api


async def _end(api: httpx2.AsyncClient, export: dict[str, Any]) -> dict[str, Any]:
    """Wait for the end of an export, and return its last state."""
    *_, last = events((await api.get(f"/exports/{export['id']}/events")).text)
    return last


@pytest.mark.parametrize("kind", FORMATS)
async def test_an_export(api: httpx2.AsyncClient, client: BrazeSegments, tmp_path: Path, kind: str) -> None:
    """A downloaded export has the bytes that `export_segments` writes."""
    started = await api.post("/exports", json={"format": kind})
    assert started.status_code == 202
    assert (await api.get(f"{started.headers['location']}/file")).status_code == 409
    last = await _end(api, started.json())
    assert (last["state"], last["done"], last["total"], last["failed"]) == ("done", 120, 120, 0)
    assert (await api.get(started.headers["location"])).json() == last
    file = await api.get(f"{started.headers['location']}/file")
    assert file.headers["content-type"] == MEDIA_TYPES[kind]
    assert file.headers["content-disposition"].startswith("attachment")
    assert file.headers["content-disposition"].endswith(f'.{kind}"')
    await export_segments(client, expected := tmp_path / f"expected.{kind}")
    (fetched := tmp_path / f"fetched.{kind}").write_bytes(file.content)
    assert content(fetched) == content(expected)


async def test_one_export_runs_at_a_time(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """A second request returns the running export, or 409 if it has other options."""
    Brake(sandbox, after=10)
    started = await api.post("/exports")
    for same in ({}, {"format": "ndjson"}, {"resume": True}):
        again = await api.post("/exports", json=same)
        assert (again.status_code, again.json()["id"]) == (200, started.json()["id"])
        assert again.headers["location"] == started.headers["location"]
    for body in ({"format": "csv"}, {"sizes": 7}):
        other = await api.post("/exports", json=body)
        assert (other.status_code, started.json()["id"] in other.json()["detail"]) == (409, True)
    assert len((await api.get("/exports")).json()) == 1


@pytest.mark.parametrize(
    "body", [{"format": "xml"}, {"sizes": 0}, {"sizes": 1_001}, {"csv_safe": True}, {"path": "/etc/passwd"}]
)
async def test_wrong_options(api: httpx2.AsyncClient, sandbox: Sandbox, body: dict[str, Any]) -> None:
    """Wrong options get 422, start no export, and send no request to Braze."""
    assert (await api.post("/exports", json=body)).status_code == 422
    assert (await api.get("/exports")).json() == sandbox.requests == []


async def test_cancelled_and_resumed(
    api: httpx2.AsyncClient, sandbox: Sandbox, client: BrazeSegments, tmp_path: Path
) -> None:
    """A cancelled export resumes from its journal, and fetches only the missing segments."""
    brake = Brake(sandbox, after=50)
    started = (await api.post("/exports", json={"format": "csv", "csv_safe": True})).json()
    await brake.reached.wait()
    cancelled = (await api.delete(f"/exports/{started['id']}")).json()
    assert (cancelled["state"], cancelled["cancelled_by"]) == ("cancelled", "request")
    assert (await api.delete(f"/exports/{started['id']}")).json() == cancelled
    target = tmp_path / "exports" / f"{started['id']}.csv"
    ready = journaled_ids(target)
    assert 0 < len(ready) <= 50
    brake.release()
    sandbox.requests.clear()
    other = (await api.post("/exports", json={"format": "ndjson", "resume": True})).json()
    assert other["id"] != started["id"]
    await _end(api, other)
    sandbox.requests.clear()
    resumed = await api.post("/exports", json={"format": "csv", "resume": True})
    assert (resumed.status_code, resumed.json()["id"]) == (202, started["id"])
    last = await _end(api, started)
    assert (last["state"], last["resumed"], last["cancelled_by"]) == ("done", len(ready), None)
    assert requested_ids(sandbox) == sorted(set(sandbox.segment_ids) - set(ready))
    await export_segments(client, whole := tmp_path / "whole.csv", csv_safe=True)
    assert content(target) == content(whole)
    assert (await api.post("/exports", json={"format": "csv", "resume": True})).json()["id"] != started["id"]


async def test_failed_and_resumed(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """The state of a failed export has the library's error, and the advice in it works."""
    sandbox.inject(Answer(status=422), segment_id=sandbox.segment_ids[0])
    started = (await api.post("/exports")).json()
    last = await _end(api, started)
    assert (last["state"], last["failed"], last["done"]) == ("failed", 1, 119)
    assert "1 of 120 segments could not be fetched" in last["error"]
    file = await api.get(f"/exports/{started['id']}/file")
    assert (file.status_code, last["error"] in file.json()["detail"]) == (409, True)
    await api.post("/exports", json={"resume": True, "allow_partial": True})
    last = await _end(api, started)
    assert (last["state"], last["failed"], last["error"]) == ("done", 1, None)
    assert len((await api.get(f"/exports/{started['id']}/file")).text.splitlines()) == 119


async def test_a_rejected_key(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """The error of an export with a rejected key names the status and does not contain the key."""
    sandbox.inject(Answer(status=401))
    last = await api.get(f"/exports/{(await _end(api, (await api.post('/exports')).json()))['id']}")
    assert "401" in last.json()["error"]
    assert sandbox.api_key not in last.text


async def test_any_worker_shows_and_cancels_an_export(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two apps with one directory show and cancel each other's exports."""
    brake = Brake(sandbox, after=50)
    async with serving(sandbox, tmp_path) as one, serving(sandbox, tmp_path) as two:
        started = (await one.post("/exports")).json()
        again = await two.post("/exports")
        assert (again.status_code, again.json()["id"]) == (200, started["id"])
        following = asyncio.create_task(_end(two, started))
        await brake.reached.wait()
        cancelled = (await two.delete(f"/exports/{started['id']}")).json()
        assert cancelled["state"] == "cancelled"
        assert await following == cancelled == (await one.get(f"/exports/{started['id']}")).json()


@pytest.mark.parametrize("end", ["shutdown", "crash", "request"])
async def test_the_next_start_resumes_if_configured(sandbox: Sandbox, tmp_path: Path, end: str) -> None:
    """Only an export that a shutdown or a crash ended is resumed, not a cancelled one."""
    brake = Brake(sandbox, after=50)
    async with serving(sandbox, tmp_path) as api:
        export = (await api.post("/exports", json={"format": "csv"})).json()
        await brake.reached.wait()
        if end == "request":
            await api.delete(f"/exports/{export['id']}")
        records = ExportStore(tmp_path)
        running = records.get(UUID(export["id"]))
        assert running is not None
    if end == "crash":
        records.update(running)
    brake.release()
    expected = {"shutdown": "cancelled", "crash": "interrupted", "request": "cancelled"}[end]
    async with serving(sandbox, tmp_path, resume=False) as api:
        assert (await api.get(f"/exports/{export['id']}")).json()["state"] == expected
    async with serving(sandbox, tmp_path, resume=True) as api, serving(sandbox, tmp_path, resume=True):
        last = await _end(api, export)
        assert (last["state"], last["resumed"] > 0) == (
            ("cancelled", False) if end == "request" else ("done", True)
        )


async def test_old_exports_are_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    """A new export removes the oldest ones beyond `keep` with their files, and no other files."""
    (tmp_path / "mine.json").write_text("{}")
    ids = []
    async with serving(sandbox, tmp_path, keep=2) as api:
        for _ in range(3):
            ids.append((await api.post("/exports")).json()["id"])
            await _end(api, {"id": ids[-1]})
        assert [export["id"] for export in (await api.get("/exports")).json()] == [ids[2], ids[1]]
    assert names_in(tmp_path / "any") == {
        "mine.json",
        "exports.db",
        *(f"{export_id}.ndjson" for export_id in ids[1:]),
    }


async def test_a_directory_that_cannot_be_written_to(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be written to is reported when the app starts, or by the next request."""
    monkeypatch.setattr(jobs, "_LOCK_TIMEOUT", 0.0)
    (file := tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot write"):
        async with serving(sandbox, file):
            pass
    async with serving(sandbox, tmp_path / "exports") as api:
        (tmp_path / "exports").rmdir()
        response = await api.post("/exports")
        assert (response.status_code, "cannot write" in response.json()["detail"]) == (500, True)


async def test_an_unexpected_error(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error ends the export; its state names the type, and the log has the traceback."""

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(jobs, "export_segments", broken)
    last = await _end(api, (await api.post("/exports")).json())
    assert (last["state"], "ZeroDivisionError" in last["error"]) == ("failed", True)
    assert caplog.records[0].exc_info


async def test_a_reader_that_disconnects(sandbox: Sandbox, tmp_path: Path) -> None:
    """A reader that disconnects does not end the export."""
    app, read = FastAPI(), asyncio.Event()
    Brake(sandbox, after=10)

    async def receive() -> dict[str, Any]:
        await read.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            read.set()

    async with serving(sandbox, tmp_path, app=app) as api:
        export = (await api.post("/exports")).json()
        await app(_events_of(export), receive, send)
        assert (await api.get(f"/exports/{export['id']}")).json()["state"] == "running"


async def test_a_reader_that_stops_reading(sandbox: Sandbox, tmp_path: Path) -> None:
    """A reader that stops reading delays neither the export nor the end of the server."""
    app, stuck, never = FastAPI(), asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        return {}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            stuck.set()
            await never.wait()

    async with serving(sandbox, tmp_path, app=app) as api:
        export = (await api.post("/exports")).json()
        reading = asyncio.create_task(app(_events_of(export), receive, send))
        await stuck.wait()
        assert (await _end(api, export))["state"] == "done"
        assert not reading.done()
    await asyncio.wait([reading], timeout=5.0)
    assert reading.done()
    assert reading.exception()  # for the log of the server


def _events_of(export: dict[str, Any]) -> dict[str, Any]:
    """Return the ASGI scope of a request for the events of an export."""
    http = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1"}
    path = f"/braze/exports/{export['id']}/events"
    return {**http, "method": "GET", "path": path, "query_string": b"", "headers": []}
