"""What the tests of exports share: child processes that do them, and what is beside a target."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from braze_segments_async.sandbox import Sandbox

FORMATS = {"ndjson": ".ndjson", "csv": ".csv", "parquet": ".parquet", "sqlite": ".sqlite"}


class Exporter:
    """Starts exports in processes of their own, one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def start(self, sandbox: Sandbox, target: Path, largest_file: int = 0, **options: Any) -> int:
        """Begin an export; the pid of the process that does it.

        `largest_file`: bytes the process may write to one file, as if the disk were full then.
        """
        order = {"key": sandbox.api_key, "base_url": sandbox.base_url, "target": str(target)}
        assert self._process.stdin is not None
        line = json.dumps({**order, "largest_file": largest_file, "options": options}) + "\n"
        self._process.stdin.write(line.encode())
        pid: int = (await self._answer())["pid"]
        return pid

    async def ended(self) -> tuple[int, str]:
        """The exit code, negative for a signal, and what the export raised."""
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
    """An exporter, and the end of its process."""
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


def journaled(target: Path) -> list[str]:
    """The segments whose rows in the journal are whole."""
    journal = beside(target, ".journal")
    if not journal.exists():
        return []
    lines = journal.read_bytes().split(b"\n")[1:-1]
    return [json.loads(line)["id"] for line in lines]


def beside(target: Path, suffix: str) -> Path:
    """A file beside the target."""
    return target.with_name(target.name + suffix)


def content(target: Path) -> Any:
    """What makes two files the same export: the bytes, or the rows of a database."""
    if target.suffix != ".sqlite":
        return target.read_bytes()
    with closing(sqlite3.connect(target)) as database:
        return list(database.iterdump())


def asked(sandbox: Sandbox) -> list[str]:
    """The segments whose details were asked for, in order of their ids."""
    return sorted(
        request.query["segment_id"] for request in sandbox.requests if request.endpoint == "details"
    )


def names_in(target: Path) -> set[str]:
    """What the directory of a target holds."""
    return {path.name for path in target.parent.iterdir()}
