"""Test the main uses of the package and its extras with the lowest allowed versions of all dependencies.

`make lowest` installs these versions and runs this module.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE, create_subprocess_exec
from contextlib import closing
from importlib.metadata import requires, version
from typing import TYPE_CHECKING, Any

import duckdb
import openpyxl
import pytest
from fastapi import FastAPI
from fastapi_helpers import events, serving
from packaging.requirements import Requirement
from packaging.version import Version
from workspaces_helpers import keys_in, write_file

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx2

SEGMENTS = 120
COMMAND = (sys.executable, "-W", "error", "-m", "braze_segments_async")


@pytest.mark.skipif("LOWEST" not in os.environ, reason="run by make lowest")
def test_the_lowest_versions_are_installed() -> None:
    """The lowest version of every dependency and extra is installed."""
    for text in requires("braze-segments-async") or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra})
            for extra in ("cli", "dask", "fastapi", "metrics", "parquet", "speed", "xlsx")
        ):
            (floor,) = (part.version for part in requirement.specifier if part.operator == ">=")
            assert Version(version(requirement.name)) == Version(floor), requirement.name


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox with one full page and part of a second one."""
    async with Sandbox(SEGMENTS) as sandbox:
        yield sandbox


@pytest.fixture
async def api(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an app that exports to the directory `exports`."""
    async with serving(sandbox, tmp_path / "exports") as api:
        yield api


def _names(path: Path) -> set[str]:
    """Return the names of the segments in a file of any format."""
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as database:
            return {name for (name,) in database.execute("SELECT name FROM segments")}
    if path.suffix == ".xlsx":
        with closing(openpyxl.load_workbook(path, read_only=True)) as book:
            return {str(row[0] or "") for row in book["Segments"].iter_rows(min_row=2, values_only=True)}
    reader = {".ndjson": "read_json", ".csv": "read_csv", ".parquet": "read_parquet"}[path.suffix]
    with duckdb.connect() as database:
        rows = database.execute(f"SELECT name FROM {reader}($path)", {"path": str(path)})  # noqa: S608 - from here
        return {name for (name,) in rows.fetchall()}


@pytest.mark.parametrize("suffix", [".ndjson", ".csv", ".parquet", ".sqlite", ".xlsx"])
async def test_an_export(sandbox: Sandbox, tmp_path: Path, suffix: str) -> None:
    """Every segment is exported in each format, although two requests are retried."""
    sandbox.inject(Answer(status=503), endpoint="details", times=2)
    retry = RetryPolicy(backoff=0.0)
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=retry) as client:
        result = await export_segments(client, path := tmp_path / f"segments{suffix}")
    assert (result.rows, result.failures) == (SEGMENTS, ())
    assert _names(path) == {sandbox.segment(segment_id)["name"] for segment_id in sandbox.segment_ids}


async def _run(*arguments: str, **env: str) -> tuple[int | None, str, str]:
    process = await create_subprocess_exec(
        *COMMAND, *arguments, stdout=PIPE, stderr=PIPE, env={**os.environ, **env}
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_commands(tmp_path: Path) -> None:
    """The commands export, compare, print help, and exit with 2 on wrong use; warnings are errors."""
    path = tmp_path / "segments.csv"
    code, _, err = await _run("export", "--sandbox", "--segments", "20", "--csv-safe", "-o", str(path))
    assert (code, path.exists()) == (0, True), err
    assert await _run("diff", str(path), str(path)) == (0, "", "")
    code, out, err = await _run("export", "--help")
    assert (code, "--allow-partial" in out, err) == (0, True, "")
    code, out, _ = await _run("export", "--no-such-option")
    assert (code, out) == (2, "")


async def test_dask(sandbox: Sandbox, tmp_path: Path) -> None:
    """A workspace is exported on a cluster in this process."""
    config = write_file(tmp_path / "workspaces.toml", {"a": sandbox})
    code, out, err = await _run(
        *("export", "--workspaces", str(config), "--dask", "local", "-o", str(tmp_path)),
        **keys_in({"a": sandbox}),
    )
    assert code == 0, err
    assert json.loads(out)["rows"] == SEGMENTS


async def test_fastapi(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """An export can be started, followed to its end, and downloaded as a whole and in ranges."""
    started = await api.post("/exports")
    assert started.status_code == 202
    *_, last = events((await api.get(f"/exports/{started.json()['id']}/events")).text)
    assert (last["state"], last["done"]) == ("done", SEGMENTS)
    path = f"/exports/{last['id']}/file"
    whole = await api.get(path)
    assert {json.loads(line)["id"] for line in whole.text.splitlines()} == set(sandbox.segment_ids)
    part = await api.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    parts = await api.get(path, headers={"Range": "bytes=0-9,20-29"})
    assert (parts.status_code, whole.content[20:30] in parts.content) == (206, True)


async def test_a_range_header_does_not_block_the_server(sandbox: Sandbox, tmp_path: Path) -> None:
    """A header with thousands of ranges is parsed quickly; starlette before 1.0 takes seconds."""
    app = FastAPI()
    ranges = ",".join(f"{2 * number}-{2 * number}" for number in range(6_000))

    answered, never = asyncio.Event(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await never.wait()
        return {}

    async def send(_: object) -> None:
        answered.set()
        await never.wait()  # the start of the response is enough

    async with serving(sandbox, tmp_path, app=app) as api:
        export = (await api.post("/exports")).json()
        await api.get(f"/exports/{export['id']}/events")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "path": f"/braze/exports/{export['id']}/file", "query_string": b"",
            "headers": [(b"range", f"bytes={ranges}".encode())],
        }  # fmt: skip
        began = time.process_time()
        answering = asyncio.create_task(app(scope, receive, send))
        await answered.wait()
        assert time.process_time() - began < 0.5
        answering.cancel()
        await asyncio.wait([answering])
