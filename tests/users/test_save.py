"""Saved users are in a file that is whole or absent, and nobody else's to read."""

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
from raw_server import Faulty
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
async def host() -> AsyncIterator[Faulty]:
    """A host of a small file."""
    async with Faulty(FileHost(DATA)) as server:
        yield server


@pytest.fixture
async def export(host: Faulty) -> AsyncIterator[UsersExport]:
    """An export whose file is there."""
    async with client_of(host.base_url) as client:
        yield export_at(client, f"{host.base_url}/file.zip?{QUERY}", step=100)


def text_of(path: Path) -> str:
    """What is in a file."""
    return path.read_bytes().decode()


def mode_of(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """The process's, for a while."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# --- what is in it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "A.NDJSON"])
async def test_lines(export: UsersExport, tmp_path: Path, name: str) -> None:
    """The users, one a line, each as Braze wrote it; the same as the lines of the export."""
    assert await export.save(tmp_path / name) == 5
    assert text_of(tmp_path / name) == "".join(f"{line}\n" for line in LINES)
    assert [line.decode() async for line in export.lines()] == LINES
    assert [user async for user in export.users()] == list(map(json.loads, LINES))
    assert inside(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP"])
async def test_the_very_zip(export: UsersExport, tmp_path: Path, name: str) -> None:
    """A ZIP is the one that was served, to the byte; its users are counted."""
    assert await export.save(str(tmp_path / name)) == 5
    assert (tmp_path / name).read_bytes() == DATA
    assert inside(tmp_path) == [tmp_path / name]


async def test_no_users(host: Faulty, export: UsersExport, tmp_path: Path) -> None:
    """Of no users there is an empty file."""
    host.fault = FileHost(packed([]))
    assert await export.save(tmp_path / "a.ndjson") == 0
    assert text_of(tmp_path / "a.ndjson") == ""
    assert await export.save(tmp_path / "a.zip") == 0


async def test_of_the_sandbox(tmp_path: Path) -> None:
    """A file of many parts and members, as Braze has them."""
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
async def test_for_nobody_else(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, mask: int
) -> None:
    """Neither the file nor what it is written as meanwhile is for anybody else, whatever the umask."""
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


async def test_replaced_with_less_leave(export: UsersExport, tmp_path: Path) -> None:
    """A file that others could read is replaced by one they cannot."""
    target = tmp_path / "a.ndjson"
    target.write_text("old")
    target.chmod(0o666)
    await export.save(target, overwrite=True)
    assert mode_of(target) == 0o600


# --- what is refused before anything is sent ----------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "a.csv", "a.gz", "a.parquet", ".zip", "a.zip.part", ""])
async def test_another_suffix(host: Faulty, export: UsersExport, tmp_path: Path, name: str) -> None:
    """Only the suffixes there are are taken."""
    with pytest.raises(ConfigError, match=r"must end in \.ndjson or \.jsonl .* or in \.zip"):
        await export.save(tmp_path / name)
    assert not host.requests


@pytest.mark.parametrize("kind", ["file", "broken link"])
async def test_an_existing_file(host: Faulty, export: UsersExport, tmp_path: Path, kind: str) -> None:
    """What is there is left alone, unless it may be replaced."""
    target = tmp_path / "a.ndjson"
    target.write_text("old") if kind == "file" else target.symlink_to(tmp_path / "nowhere.ndjson")
    with pytest.raises(ConfigError, match=r"a\.ndjson exists: name a new file; overwrite=True replaces"):
        await export.save(target)
    assert not host.requests
    assert await export.save(target, overwrite=True) == 5
    assert len(text_of(target).split("\n")) == 6
    assert inside(tmp_path) == [target]


async def test_a_place_that_will_not_do(
    host: Faulty, export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory, or a place in none or in one that may not be written to, is known before all else."""
    (tmp_path / "a.zip").mkdir()
    with pytest.raises(ExportError, match=r"a\.zip is a directory; name a file in it"):
        await export.save(tmp_path / "a.zip", overwrite=True)
    with pytest.raises(ExportError, match="its directory is not there; make that first"):
        await export.save(tmp_path / "missing" / "a.zip")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(ExportError, match="its directory may not be written to"):
        await export.save(tmp_path / "b.zip")
    assert not host.requests


# --- whole or absent ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
@pytest.mark.parametrize("old", [None, "old"])
async def test_a_damaged_file(
    host: Faulty, export: UsersExport, tmp_path: Path, name: str, old: str | None
) -> None:
    """A ZIP that is not right to its last byte is not saved, not even as a ZIP."""
    host.fault = FileHost(packed([people(3), b"no user"]))
    if old is not None:
        (tmp_path / name).write_text(old)
    with pytest.raises(ReplyError, match=r"a user that cannot be read: not JSON") as caught:
        await export.save(tmp_path / name, overwrite=True)
    assert caught.value.path == "file 2 of the ZIP, line 1"
    assert caught.value.segment_id == "segment-1"
    assert [text_of(path) for path in inside(tmp_path)] == ([old] if old else [])


@pytest.mark.parametrize("name", ["a.ndjson", "a.zip"])
async def test_a_full_disk(export: UsersExport, tmp_path: Path, name: str) -> None:
    """The error says so, the target is as it was, and there is nothing beside it."""
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
    """… so it is if the ZIP has found room, and what is made of it does not."""

    def full(path: Path) -> Any:
        path.write_text("half a user")
        return open("/dev/full", "wb")  # noqa: PTH123

    monkeypatch.setattr(archive, "create_private", full)
    with pytest.raises(ExportError, match=rf"cannot write .*/{name}: No space left on device"):
        await export.save(tmp_path / name)
    assert not inside(tmp_path)


async def test_appeared_meanwhile(
    export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else has put there while the file was on its way is left alone."""
    target = tmp_path / "a.ndjson"
    real = archive.read_users

    def read(*arguments: Any) -> Iterator[Any]:
        target.write_text("theirs")
        yield from real(*arguments)

    monkeypatch.setattr(archive, "read_users", read)
    with pytest.raises(ExportError, match="has appeared meanwhile; overwrite=True replaces it"):
        await export.save(target)
    assert text_of(target) == "theirs"
    assert inside(tmp_path) == [target]


async def test_two_at_once(export: UsersExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that save to the same path do not get into each other's half of a file."""
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
    """The thread ends at the next chunk, and is waited for; nothing is left."""
    loop, writing, told = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    written: list[int] = []

    def endless(_file: object, _longest: int, stop: CancelToken) -> Iterator[Any]:
        while True:
            stop.check()
            written.append(1)
            loop.call_soon_threadsafe(writing.set)
            told.wait(5)
            yield b"{}", {}

    monkeypatch.setattr(archive, "read_users", endless)
    saving = asyncio.create_task(export.save(tmp_path / name))
    await writing.wait()
    assert len(inside(tmp_path)) == 1
    saving.cancel()
    await asyncio.sleep(0.01)
    assert not saving.done()
    told.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert not inside(tmp_path)
    count = len(written)
    await asyncio.sleep(0.01)
    assert len(written) == count


async def test_a_timeout_is_not_of_the_disk(export: UsersExport, host: Faulty, tmp_path: Path) -> None:
    """TimedOutError is an OSError too, by its bases: it is not taken for one of the file system's."""

    async def silent(exchange: Any) -> None:
        await exchange.wait_until_gone()

    await export.wait()
    host.fault = silent
    async with client_of(host.base_url, timeout=0.05) as slow:
        other = export_at(slow, f"{host.base_url}/file.zip?{QUERY}")
        other._ready = True
        with pytest.raises(TimedOutError, match="GET the file of a users export"):
            await other.save(tmp_path / "a.zip")
    assert not inside(tmp_path)
