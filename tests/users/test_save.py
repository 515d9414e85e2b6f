"""Saved users are in a file that is complete or absent, and private."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import stat
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import inside
from fault_client import client_of
from raw_server import RawServer
from users_helpers import QUERY, FileHost, export_at, packed, people

from braze_segments_async import (
    BrazeSegments,
    ConfigError,
    ExportError,
    ReplyError,
    TimedOutError,
    UsersExport,
)
from braze_segments_async._users import reader as archive
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from braze_segments_async._support.threads import CancelToken

DATA = packed([people(3), b'\xef\xbb\xbf{"a": 1}\r\n\n {"b": "\xe2\x80\xa8"} ', []])
LINES = [*map(json.dumps, people(3)), '{"a": 1}', '{"b": "\u2028"}']


@pytest.fixture
async def host() -> AsyncIterator[RawServer]:
    """Yield a file host with a small file."""
    async with RawServer(FileHost(DATA)) as server:
        yield server


@pytest.fixture
async def export(host: RawServer) -> AsyncIterator[UsersExport]:
    """Return an export whose file is ready."""
    async with client_of(host.base_url) as client:
        yield export_at(client, f"{host.base_url}/file.zip?{QUERY}", step=100)


def text_of(path: Path) -> str:
    """Return the content of a file."""
    return path.read_bytes().decode()


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Set the umask of the process during the block."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# --- what is in it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "A.NDJSON"])
async def test_lines(export: UsersExport, tmp_path: Path, name: str) -> None:
    """The file has one user a line, exactly as Braze wrote it."""
    assert await export.save(tmp_path / name) == 5
    assert text_of(tmp_path / name) == "".join(f"{line}\n" for line in LINES)
    assert [line.decode() async for line in export.lines()] == LINES
    assert [user async for user in export.users()] == list(map(json.loads, LINES))
    assert inside(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP"])
async def test_the_zip_is_unchanged(export: UsersExport, tmp_path: Path, name: str) -> None:
    """A saved ZIP has the bytes that were served; its users are counted."""
    assert await export.save(str(tmp_path / name)) == 5
    assert (tmp_path / name).read_bytes() == DATA
    assert inside(tmp_path) == [tmp_path / name]


async def test_no_users(host: RawServer, export: UsersExport, tmp_path: Path) -> None:
    """An export without users gives an empty file."""
    host.fault = FileHost(packed([]))
    assert await export.save(tmp_path / "a.ndjson") == 0
    assert text_of(tmp_path / "a.ndjson") == ""
    assert await export.save(tmp_path / "a.zip") == 0


async def test_of_the_sandbox(tmp_path: Path) -> None:
    """An export of the sandbox with many ranges and members is saved."""
    async with (
        Sandbox(1, users=1_234, users_per_file=100) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        export = await client.export_users(sandbox.segment_ids[0], fields=["external_id", "devices"])
        export._step = 5_000
        assert await export.save(tmp_path / "a.ndjson") == 1_234
        users = [user async for user in export.users()]
    assert users == [json.loads(line) for line in text_of(tmp_path / "a.ndjson").splitlines()]
    assert len({user["devices"][0]["device_id"] for user in users}) == 1_234


# --- whose it is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
async def test_the_file_is_private(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mask: int
) -> None:
    """The file and its temporary file are private with any umask."""
    modes: list[int] = []
    real = archive.read_users

    def looked(*arguments: Any) -> Iterator[Any]:
        modes.extend(map(mode_of, inside(tmp_path)))
        yield from real(*arguments)

    monkeypatch.setattr(archive, "read_users", looked)
    with umask(mask):
        await export.save(tmp_path / name)
    assert modes == [0o600]
    assert mode_of(tmp_path / name) == 0o600


async def test_a_replaced_file_becomes_private(export: UsersExport, tmp_path: Path) -> None:
    """A file that others could read is replaced by a private one."""
    target = tmp_path / "a.ndjson"
    target.write_text("old")
    target.chmod(0o666)
    await export.save(target, overwrite=True)
    assert mode_of(target) == 0o600


# --- what is refused before anything is sent ----------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a.csv", "a.gz", "a.parquet", ".zip", "a.zip.part", ""])
async def test_another_suffix(host: RawServer, export: UsersExport, tmp_path: Path, name: str) -> None:
    """Only the supported suffixes are accepted."""
    with pytest.raises(ConfigError, match=r"must end in \.ndjson or \.jsonl .* or in \.zip"):
        await export.save(tmp_path / name)
    assert not host.requests


@pytest.mark.parametrize("kind", ["file", "broken link"])
async def test_an_existing_file(host: RawServer, export: UsersExport, tmp_path: Path, kind: str) -> None:
    """An existing file is not changed, unless it may be replaced."""
    target = tmp_path / "a.ndjson"
    target.write_text("old") if kind == "file" else target.symlink_to(tmp_path / "nowhere.ndjson")
    with pytest.raises(ConfigError, match=r"a\.ndjson exists: name a new file; overwrite=True replaces"):
        await export.save(target)
    assert not host.requests
    assert await export.save(target, overwrite=True) == 5
    assert len(text_of(target).split("\n")) == 6
    assert inside(tmp_path) == [target]


async def test_an_invalid_destination(
    host: RawServer, export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory, a missing or a read-only directory is refused before anything else."""
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(ExportError, match=r"a\.zip is a directory; name a file in it"):
        await export.save(tmp_path / "a.zip", overwrite=True)
    with pytest.raises(ExportError, match="its directory does not exist; create it first"):
        await export.save(tmp_path / "missing" / "a.zip")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ExportError, match="its directory is not writable"):
        await export.save(tmp_path / "b.zip")
    assert not host.requests


# --- whole or absent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
@pytest.mark.parametrize("old", [None, "old"])
async def test_a_damaged_file(
    host: RawServer, export: UsersExport, tmp_path: Path, name: str, old: str | None
) -> None:
    """A damaged ZIP is not saved, not even as a ZIP."""
    host.fault = FileHost(packed([people(3), b"no user"]))
    if old is not None:
        (tmp_path / name).write_text(old)
    with pytest.raises(ReplyError, match=r"invalid user: not JSON") as caught:
        await export.save(tmp_path / name, overwrite=True)
    assert caught.value.path == "file 2 of the ZIP, line 1"
    assert caught.value.segment_id == "segment-1"
    assert [text_of(path) for path in inside(tmp_path)] == ([old] if old else [])


@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
async def test_a_full_disk(export: UsersExport, tmp_path: Path, name: str) -> None:
    """A full disk is reported; the target is unchanged, and no other file is left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(ExportError, match=r"cannot write .*: File too large"):
            await export.save(tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not inside(tmp_path)
    assert await export.save(tmp_path / name) == 5


@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
async def test_a_full_disk_later(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The same holds if the disk is full only after the ZIP was downloaded."""

    def full(path: Path) -> Any:
        path.write_text("half a user")
        return open("/dev/full", "wb")  # noqa: PTH123

    monkeypatch.setattr(archive, "create_private", full)
    with pytest.raises(ExportError, match=rf"cannot write .*/{name}: No space left on device"):
        await export.save(tmp_path / name)
    assert not inside(tmp_path)


async def test_a_file_that_appears_during_the_download(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody else creates during the download is not replaced."""
    target = tmp_path / "a.ndjson"
    real = archive.read_users

    def read(*arguments: Any) -> Iterator[Any]:
        target.write_text("theirs")
        yield from real(*arguments)

    monkeypatch.setattr(archive, "read_users", read)
    with pytest.raises(ExportError, match="created by another program during the export; overwrite=True"):
        await export.save(target)
    assert text_of(target) == "theirs"
    assert inside(tmp_path) == [target]


async def test_two_at_once(export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two concurrent saves to one path do not mix their data."""
    both = threading.Barrier(2, timeout=5)
    real = archive.read_users

    def read(*arguments: Any) -> Iterator[Any]:
        for number, user in enumerate(real(*arguments)):
            if number in {0, 2}:
                both.wait()
            yield user

    monkeypatch.setattr(archive, "read_users", read)
    target = tmp_path / "a.ndjson"
    assert await asyncio.gather(*(export.save(target, overwrite=True) for _ in range(2))) == [5, 5]
    assert len(text_of(target).split("\n")) == 6
    assert inside(tmp_path) == [target]


@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
async def test_cancelled(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Cancellation stops the thread at the next chunk and waits for it; no file is left."""
    loop, writing, cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    written: list[int] = []

    def endless(_file: object, _max_line: int, stop: CancelToken) -> Iterator[Any]:
        while True:
            stop.check()
            written.append(1)
            loop.call_soon_threadsafe(writing.set)
            cancelled.wait(5)
            yield b"{}", {}

    monkeypatch.setattr(archive, "read_users", endless)
    saving = asyncio.create_task(export.save(tmp_path / name))
    await writing.wait()
    assert len(inside(tmp_path)) == 1
    saving.cancel()
    await asyncio.sleep(0.01)
    assert not saving.done()
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert not inside(tmp_path)
    count = len(written)
    await asyncio.sleep(0.01)
    assert len(written) == count


async def test_a_timeout_is_not_of_the_disk(export: UsersExport, host: RawServer, tmp_path: Path) -> None:
    """A `TimedOutError`, which is an `OSError`, is not reported as an error of the file system."""

    async def silent(exchange: Any) -> None:
        await exchange.wait_until_closed()

    await export.wait()
    host.fault = silent
    async with client_of(host.base_url, timeout=0.05) as slow:
        other = export_at(slow, f"{host.base_url}/file.zip?{QUERY}")
        other._ready = True
        with pytest.raises(TimedOutError, match="GET the file of a users export"):
            await other.save(tmp_path / "a.zip")
    assert not inside(tmp_path)
