"""Helpers of the tests of exports: exports in child processes, and the files beside a target."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openpyxl

from braze_segments_async.catalogue import read_catalogue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from braze_segments_async.sandbox import Sandbox

FORMATS = {
    "ndjson": ".ndjson",
    "csv": ".csv",
    "parquet": ".parquet",
    "sqlite": ".sqlite",
    "html": ".html",
    "xlsx": ".xlsx",
}


class Exporter:
    """Starter of exports in child processes, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def start(self, sandbox: Sandbox, target: Path, largest_file: int = 0, **options: Any) -> int:
        """Start an export and return the pid of its process.

        Args:
            sandbox: Workspace to export.
            target: Destination.
            largest_file: Number of bytes that the process may write to one file, to simulate a full disk.
            **options: Options of the export.
        """
        order = {"key": sandbox.api_key, "base_url": sandbox.base_url, "target": str(target)}
        assert self._process.stdin is not None
        line = json.dumps({**order, "largest_file": largest_file, "options": options}) + "\n"
        self._process.stdin.write(line.encode())
        pid: int = (await self._answer())["pid"]
        return pid

    async def wait(self) -> tuple[int, str]:
        """Return the exit code, negative for a signal, and the error of the export."""
        answer, error = await self._answer(), ""
        if "error" in answer:
            error = f"{answer['error']}: {answer['message']}"
            answer = await self._answer()
        return answer["status"], error

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return answer


@asynccontextmanager
async def exporting() -> AsyncIterator[Exporter]:
    """Yield an exporter, and end its process."""
    script = str(Path(__file__).with_name("export_process.py"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Exporter(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def journaled_ids(target: Path) -> list[str]:
    """Return the ids of the complete rows in the journal."""
    journal = sibling(target, ".journal")
    if not journal.exists():
        return []
    lines = journal.read_bytes().split(b"\n")[1:-1]
    return [json.loads(line)["id"] for line in lines]


def sibling(target: Path, suffix: str) -> Path:
    """Return the path of a file beside the target."""
    return target.with_name(target.name + suffix)


def content(target: Path) -> Any:
    """Return what is the same for equal exports: the bytes of a file, or its rows.

    A file in another format than NDJSON and CSV records when it was exported, so its bytes differ.
    """
    if target.suffix == ".html":
        return page_segments(target)
    if target.suffix == ".parquet":
        return read_catalogue(target).segments
    if target.suffix == ".xlsx":
        with closing(openpyxl.load_workbook(target, read_only=True)) as book:
            return {sheet.title: list(sheet.values) for sheet in book if sheet.title != "Read me"}
    if target.suffix != ".sqlite":
        return target.read_bytes()
    with closing(sqlite3.connect(target)) as database:
        return [line for line in database.iterdump() if not line.startswith('INSERT INTO "export"')]


def page_segments(page: Path) -> list[dict[str, Any]]:
    """Return the segments in the data of a page."""
    data = page.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0]
    segments: list[dict[str, Any]] = json.loads(data)["segments"]
    return segments


def requested_ids(sandbox: Sandbox) -> list[str]:
    """Return the sorted ids of the segments whose details were requested."""
    return sorted(
        request.query["segment_id"] for request in sandbox.requests if request.endpoint == "details"
    )


def names_in(target: Path) -> set[str]:
    """Return the names of the files in the directory of a target."""
    return {path.name for path in target.parent.iterdir()}
