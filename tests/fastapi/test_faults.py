"""Exports of a FastAPI app: the last good file is kept, damaged files are reported, and every job ends."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from export_helpers import names_in
from fastapi_helpers import Brake, events, serving, until

from braze_segments_async import ExportError
from braze_segments_async.export import export_segments
from braze_segments_async.fastapi import _jobs as jobs
from braze_segments_async.fastapi._errors import http_error
from braze_segments_async.fastapi._schemas import Export
from braze_segments_async.fastapi._store import ExportStore
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import httpx2


class Terminated(BaseException):
    """An error that is no `Exception`, as in Prefect and Dagster."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since it is exported many times."""
    async with Sandbox(5) as sandbox:
        yield sandbox


async def _export(api: httpx2.AsyncClient, directory: Path, **order: Any) -> dict[str, Any]:
    """Start an export and return its last state."""
    started = (await api.post("/exports", json=order)).json()
    *_, last = events((await api.get(f"/exports/{started['id']}/events")).text)
    await _unlocked(directory)
    return last


async def _unlocked(directory: Path) -> None:
    """Wait until no export holds the lock, which it releases after its last state."""
    await until(lambda: not (directory / "exports.lock").exists())


# --- retention ----------------------------------------------------------------------------------------


async def test_failed_exports_never_remove_the_last_good_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """Failed exports do not count as finished ones; they have their own limit."""
    async with serving(sandbox, tmp_path, keep=2) as api:
        good = await _export(api, tmp_path)
        assert good["state"] == "done"
        sandbox.inject(Answer(status=401))
        failed = [await _export(api, tmp_path) for _ in range(4)]
        assert {export["state"] for export in failed} == {"failed"}
        kept = [export["id"] for export in (await api.get("/exports")).json()]
        assert kept == [failed[3]["id"], failed[2]["id"], good["id"]]
        assert len((await api.get(f"/exports/{good['id']}/file")).text.splitlines()) == 5
    assert names_in(tmp_path / "any") == {"exports.db", f"{good['id']}.ndjson"}


async def test_killed_exports_do_not_accumulate(sandbox: Sandbox, tmp_path: Path) -> None:
    """The next start removes old exports of processes that died."""
    async with serving(sandbox, tmp_path, keep=2) as api:
        good = await _export(api, tmp_path)
        store = ExportStore(tmp_path)
        for _ in range(5):
            store.add(Export(**good | {"id": uuid4(), "state": "running", "ended_at": None}))
        Brake(sandbox, after=0)
        await api.post("/exports")
        states = sorted(export["state"] for export in (await api.get("/exports")).json())
        assert states == ["done", "interrupted", "interrupted", "running"]


async def test_the_last_file_is_kept_until_the_next_export_is_done(sandbox: Sandbox, tmp_path: Path) -> None:
    """With keep=1, the file stays while the next export runs, and after that export was cancelled."""
    async with serving(sandbox, tmp_path, keep=1) as api:
        first = await _export(api, tmp_path)
        brake = Brake(sandbox, after=2)
        running = (await api.post("/exports")).json()
        await brake.reached.wait()
        assert (await api.get(f"/exports/{first['id']}/file")).status_code == 200
        await api.delete(f"/exports/{running['id']}")
        await _unlocked(tmp_path)
        assert (await api.get(f"/exports/{first['id']}/file")).status_code == 200
        brake.release()
        second = await _export(api, tmp_path)
        assert [export["id"] for export in (await api.get("/exports")).json()] == [
            second["id"],
            running["id"],
        ]


async def test_partial_files_never_remove_the_last_complete_one(sandbox: Sandbox, tmp_path: Path) -> None:
    """The newest export without failed segments is kept in addition to partial ones."""
    async with serving(sandbox, tmp_path, keep=1) as api:
        complete = await _export(api, tmp_path)
        sandbox.inject(Answer(status=422), segment_id=sandbox.segment_ids[0])
        partial = [await _export(api, tmp_path, allow_partial=True) for _ in range(3)]
        assert [(export["state"], export["failed"]) for export in partial] == [("done", 1)] * 3
        kept = [export["id"] for export in (await api.get("/exports")).json()]
        assert kept == [partial[-1]["id"], complete["id"]]


async def test_an_old_export_that_cannot_be_removed(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An old export that cannot be removed is logged, and new exports work; no link is followed."""
    (outside := tmp_path / "outside").mkdir()
    (outside / "mine").write_text("")
    async with serving(sandbox, exports := tmp_path / "exports", keep=1) as api:
        first = await _export(api, exports)
        (exports / f"{first['id']}.link").symlink_to(outside)
        with monkeypatch.context() as patched:

            def refuse(*_: object) -> None:
                raise ExportError("the disk is read-only")

            patched.setattr(ExportStore, "remove", refuse)
            assert (await _export(api, exports))["state"] == "done"
        assert "the disk is read-only" in caplog.text
        last = await _export(api, exports)
        assert [export["id"] for export in (await api.get("/exports")).json()] == [last["id"]]
    assert (outside / "mine").exists()


# --- the database -------------------------------------------------------------------------------------

_ID = "5b8b2a4e-0f5f-4f0e-8f5a-1f2f3f4f5f6f"
_RECORD: dict[str, Any] = {"id": _ID, "order": {}, "created_at": "2026-11-24T00:00:00Z", "state": "done"}

# Rows written by other programs or other versions of the package, as id and record.
_ODD_ROWS: dict[str, tuple[object, object]] = {
    "empty": (_ID, ""),
    "cut": (_ID, json.dumps(_RECORD)[:-9]),
    "not UTF-8": (_ID, b"\xff\xfe"),
    "a list": (_ID, "[]"),
    "a number": (_ID, 7),
    "nested": (_ID, "[" * 100_000),
    "a time without a zone": (_ID, json.dumps(_RECORD | {"created_at": "2026-11-24T00:00:00"})),
    "an unknown state": (_ID, json.dumps(_RECORD | {"state": "?"})),
    "an unknown option": (_ID, json.dumps(_RECORD | {"order": {"color": "red"}})),
    "of another id": (_ID, json.dumps(_RECORD | {"id": str(UUID(int=7))})),
    "an id in capitals": (_ID.upper(), json.dumps(_RECORD)),
    "no id": (7, json.dumps(_RECORD)),
    "an id with control characters": ("\x1b[2J", "{}"),
}


def _plant_row(directory: Path, kind: str) -> None:
    ExportStore(directory).all()  # creates the table
    with closing(sqlite3.connect(directory / "exports.db")) as database, database:
        database.execute("INSERT INTO exports (id, record) VALUES (?, ?)", _ODD_ROWS[kind])


@pytest.mark.parametrize("kind", _ODD_ROWS)
async def test_a_damaged_row_is_skipped(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The row is skipped and logged once; other exports are started, listed and fetched."""
    _plant_row(tmp_path, kind)
    async with serving(sandbox, tmp_path) as api:
        exports = [await _export(api, tmp_path) for _ in range(2)]
        assert [export["state"] for export in exports] == ["done"] * 2
        assert [export["id"] for export in (await api.get("/exports")).json()] == [
            exports[1]["id"],
            exports[0]["id"],
        ]
        assert (await api.get(f"/exports/{exports[0]['id']}/file")).status_code == 200
    (problem,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert problem.startswith(f"cannot use {tmp_path / 'exports.db'} row")
    assert problem.isprintable()


@pytest.mark.parametrize("kind", [kind for kind, (export_id, _) in _ODD_ROWS.items() if export_id == _ID])
async def test_a_damaged_record_is_reported(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    """The response names the damage, and no path of the server."""
    _plant_row(tmp_path, kind)
    async with serving(sandbox, tmp_path) as api:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/file"), ("GET", "/events")):
            response = await api.request(method, f"/exports/{_ID}{path}")
            assert (response.status_code, "is damaged" in response.json()["detail"]) == (500, True)
            assert str(tmp_path) not in response.text
        assert (await api.get(f"/exports/{UUID(int=1)}")).status_code == 404


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)  # a sparse file, which takes no disk space


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE exports (name TEXT)")


def _cut(path: Path) -> None:
    store = ExportStore(path.parent)
    for number in range(20):
        store.add(Export(**_RECORD | {"id": UUID(int=number)}))
    os.truncate(path, path.stat().st_size // 2)


def _linked(path: Path) -> None:
    _foreign(path.parent.with_name("outside.db"))
    path.symlink_to(path.parent.with_name("outside.db"))


# Files in place of the database or beside it, with the function that creates each.
_ODD_FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "text": ("exports.db", lambda path: path.write_text("hello, " * 1_000)),
    "cut": ("exports.db", _cut),
    "large": ("exports.db", _large),
    "of another program": ("exports.db", _foreign),
    "a directory": ("exports.db", lambda path: path.mkdir()),
    "a pipe": ("exports.db", os.mkfifo),
    "a link": ("exports.db", _linked),
    "a link to nothing": ("exports.db", lambda path: path.symlink_to(path.with_name("nothing"))),
    "a pipe as the journal": ("exports.db-journal", os.mkfifo),
    "a link as the journal": ("exports.db-journal", lambda path: path.symlink_to("/etc/hostname")),
}


@pytest.mark.parametrize("kind", _ODD_FILES)
async def test_an_odd_database_is_reported_and_not_touched(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """An odd database is reported without its path and not changed; exports work once it is moved away."""
    name, make = _ODD_FILES[kind]
    (directory := tmp_path / "exports").mkdir()
    make(path := directory / name)
    outside = tmp_path / "outside.db"
    before = outside.read_bytes() if outside.exists() else None
    async with serving(sandbox, directory, resume=True) as api:
        for method, route in (("POST", ""), ("GET", ""), ("GET", f"/{_ID}"), ("DELETE", f"/{_ID}")):
            response = await api.request(method, f"/exports{route}")
            assert (response.status_code, "exports.db" in response.json()["detail"]) == (500, True)
            assert tmp_path.name not in response.text
        (logged,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert str(directory / "exports.db") in logged
        assert (await api.get("/segments")).status_code == 200
        assert before is None or outside.read_bytes() == before
        path.rename(tmp_path / "moved away")
        assert (await _export(api, directory))["state"] == "done"
    assert not (directory / "nothing").exists()


async def test_a_database_with_changed_bytes(sandbox: Sandbox, tmp_path: Path) -> None:
    """After any change the database is read or reported as damaged, without an unexpected error."""
    chance = random.Random(20_261_124)
    async with serving(sandbox, tmp_path) as api:
        export = await _export(api, tmp_path)
        whole = (tmp_path / "exports.db").read_bytes()
        for _ in range(60):
            changed = bytearray(whole)
            for _ in range(chance.randint(1, 30)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            (tmp_path / "exports.db").write_bytes(changed)
            for path in ("", f"/{export['id']}", f"/{export['id']}/file"):
                response = await api.get(f"/exports{path}")
                assert response.status_code in {200, 404, 409} or "exports.db" in response.json()["detail"]


async def test_a_locked_database(sandbox: Sandbox, tmp_path: Path) -> None:
    """Responses say that the database is locked; the running export continues, and can be cancelled later."""
    brake = Brake(sandbox, after=2)
    async with serving(sandbox, tmp_path) as api:
        export = (await api.post("/exports")).json()
        await brake.reached.wait()
        with closing(sqlite3.connect(tmp_path / "exports.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for method, path in (("GET", ""), ("POST", ""), ("DELETE", f"/{export['id']}")):
                response = await api.request(method, f"/exports{path}")
                assert (response.status_code, "has locked it" in response.json()["detail"]) == (500, True)
        assert (await api.get(f"/exports/{export['id']}")).json()["state"] == "running"
        assert (await api.delete(f"/exports/{export['id']}")).json()["state"] == "cancelled"


async def test_a_full_disk(sandbox: Sandbox, tmp_path: Path) -> None:
    """On a full disk the response says so and no export starts; with space, exports work again."""
    async with serving(sandbox, tmp_path) as api:
        done = await _export(api, tmp_path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # bytes of one file: enough for the lock
        try:
            response = await api.post("/exports")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (response.status_code, "the disk is full" in response.json()["detail"]) == (500, True)
        assert (await api.get("/exports")).json() == [done]
        assert (await _export(api, tmp_path))["state"] == "done"


def test_workers_share_the_database(tmp_path: Path) -> None:
    """While one worker saves progress, others read and cancel: no error, and no request is lost."""
    export = Export(**_RECORD | {"state": "running"})

    def save() -> None:
        (store := ExportStore(tmp_path)).add(export)
        for done in range(1, 101):
            store.update(export.model_copy(update={"done": done}))

    def read() -> None:
        store = ExportStore(tmp_path)
        while not (exports := store.all()) or exports[0].done < 50:
            pass
        store.request_cancel(export)
        while store.all()[0].done < 100:
            assert store.cancel_requested(export)

    with ThreadPoolExecutor(4) as pool:
        for work in [*[pool.submit(read) for _ in range(3)], pool.submit(save)]:
            work.result()
    assert ExportStore(tmp_path).cancel_requested(export)


async def test_only_the_owner_can_read_the_database(sandbox: Sandbox, tmp_path: Path) -> None:
    """Only the owner can read the database, whatever the umask of the server."""
    before = os.umask(0)
    try:
        async with serving(sandbox, tmp_path) as api:
            await api.get("/exports")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "exports.db").stat().st_mode) == 0o600


async def test_a_link_is_not_served_as_the_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """A link in the directory does not expose other files of the server."""
    (secret := tmp_path / "secret").write_text("secret")
    async with serving(sandbox, exports := tmp_path / "exports") as api:
        export = await _export(api, exports)
        (file := exports / f"{export['id']}.ndjson").unlink()
        file.symlink_to(secret)
        response = await api.get(f"/exports/{export['id']}/file")
        assert (response.status_code, "secret" in response.text) == (409, False)


# --- no path in a response ----------------------------------------------------------------------------


async def test_no_response_contains_a_path(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages of the file system are logged; the response refers to the log."""
    monkeypatch.setattr(jobs, "_LOCK_TIMEOUT", 0.0)
    async with serving(sandbox, exports := tmp_path / "exports") as api:
        with monkeypatch.context() as patched:
            patched.setattr(ExportStore, "path", lambda *_: tmp_path / "no such directory" / "x.ndjson")
            failed = await _export(api, exports)
        file = await api.get(f"/exports/{failed['id']}/file")
        for message in (failed["error"], file.json()["detail"]):
            assert "its log says why" in message
        assert str(tmp_path / "no such directory") in caplog.text
        for path in exports.iterdir():
            path.unlink()
        exports.rmdir()
        caplog.clear()
        response = await api.post("/exports")
        assert (response.status_code, "its log says why" in response.json()["detail"]) == (500, True)
        assert str(exports) in caplog.text
        for text in (failed["error"], file.text, response.text):
            assert str(tmp_path) not in text
            assert tmp_path.name not in text


def test_braze_errors_contains_no_path() -> None:
    """`braze_errors` sends no path of an export."""
    assert "/srv" not in http_error(ExportError("cannot write /srv/x.csv: No space left on device")).detail


# --- every job has an end -----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Terminated, GeneratorExit, MemoryError, asyncio.CancelledError])
async def test_any_exception_ends_a_job(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Any exception makes the export failed, or interrupted if it is a cancellation, and never done."""

    async def broken(*args: Any, **options: Any) -> None:
        await export_segments(*args, **options)
        raise error

    monkeypatch.setattr(jobs, "export_segments", broken)
    async with serving(sandbox, tmp_path) as api:
        last = await _export(api, tmp_path)
        interrupted = error is asyncio.CancelledError
        assert last["state"] == ("interrupted" if interrupted else "failed")
        assert last["cancelled_by"] is None
        assert interrupted or error.__name__ in last["error"]
        assert last["ended_at"] is not None
        assert (await api.get(f"/exports/{last['id']}/file")).status_code == 409
        monkeypatch.undo()
        assert (await _export(api, tmp_path))["state"] == "done"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_errors_that_end_the_process_end_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """An error that ends the event loop is saved as a failure of the export."""

    async def broken(*_: object, **__: object) -> None:
        raise error

    async def main() -> None:
        async with Sandbox(5) as sandbox, serving(sandbox, tmp_path) as api:
            await api.post("/exports")
            await asyncio.Event().wait()

    def serve() -> None:
        with pytest.raises(error):
            asyncio.run(main())

    monkeypatch.setattr(jobs, "export_segments", broken)
    (thread := threading.Thread(target=serve)).start()
    thread.join()
    (export,) = ExportStore(tmp_path).all()
    assert (export.state, error.__name__ in str(export.error)) == ("failed", True)


@pytest.mark.parametrize("error", [Terminated, ValueError, asyncio.CancelledError])
async def test_an_error_while_saving_the_state_ends_a_job(
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    """An error while the state of an export is saved ends the export too, and is logged."""
    brake = Brake(sandbox, after=2)
    raised = asyncio.Event()

    def broken(*_: object) -> bool:
        if raised.is_set():
            return False
        raised.set()
        raise error

    async with serving(sandbox, tmp_path) as api:
        export = (await api.post("/exports")).json()
        await brake.reached.wait()
        with monkeypatch.context() as patched:
            patched.setattr(ExportStore, "cancel_requested", broken)
            await raised.wait()
            await _unlocked(tmp_path)
        last = (await api.get(f"/exports/{export['id']}")).json()
        assert last["state"] == "interrupted"
        assert "its state cannot be saved" in caplog.text
        brake.release()
        resumed = await _export(api, tmp_path, resume=True)
        assert (resumed["id"], resumed["state"]) == (export["id"], "done")


async def test_a_task_cancelled_before_its_first_step(sandbox: Sandbox, tmp_path: Path) -> None:
    """An export whose task is cancelled before its first step is interrupted."""
    Brake(sandbox, after=2)
    async with serving(sandbox, tmp_path) as api:
        before = asyncio.all_tasks()
        export = (await api.post("/exports")).json()
        for task in asyncio.all_tasks() - before:
            if "ExportJobs._work" in repr(task):
                task.cancel()
        await _unlocked(tmp_path)
        assert (await api.get(f"/exports/{export['id']}")).json()["state"] == "interrupted"


async def test_a_job_that_ignores_cancellation(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If cancellation does not end a task, the server stops in time, and the export is interrupted."""
    started, never = asyncio.Event(), asyncio.Event()

    async def ignore_cancellation(*_: object, **__: object) -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await never.wait()
        await never.wait()

    monkeypatch.setattr(jobs, "export_segments", ignore_cancellation)
    monkeypatch.setattr(jobs, "_CANCEL_TIMEOUT", 0.05)
    async with serving(sandbox, tmp_path) as api:
        await api.post("/exports")
        await started.wait()
    async with serving(sandbox, tmp_path) as api:
        assert [export["state"] for export in (await api.get("/exports")).json()] == ["interrupted"]
    assert "does not end" in caplog.text
    never.set()
    await _unlocked(tmp_path)
    assert [export.state for export in ExportStore(tmp_path).all()] == ["interrupted"]
