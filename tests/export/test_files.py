"""Files are whole or absent: what is refused before the first request, and what a full disk leaves."""

# ruff: noqa: ASYNC240 - small files, and nobody is kept waiting

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from export_helpers import asked, beside, content, exporting, journaled, names_in

from braze_segments_async import BrazeSegments, ConfigError, ExportError
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from braze_segments_async.sandbox import LoggedRequest


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where the file goes; nothing else is in its directory."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "segments.ndjson"


async def interrupted(sandbox: Sandbox, client: BrazeSegments, target: Path, **options: Any) -> None:
    """An export that a wrong key ended in the middle."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=sandbox.count("details") + 100)
    with pytest.raises(Exception, match="401"):
        await export_segments(client, target, **options)
    assert not target.exists()
    assert 50 < len(journaled(target)) < 100
    await asyncio.sleep(0.05)  # what was cancelled on its way has arrived by then
    sandbox.requests.clear()


async def assert_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, error: type[Exception], says: str, **options: Any
) -> None:
    """An export that raises before anything is sent, and changes nothing."""
    before = {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()}
    sandbox.requests.clear()
    with pytest.raises(error, match=says):
        await export_segments(client, target, **{"format": "ndjson", **options})
    assert not sandbox.requests
    assert before == {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()}


async def test_a_directory_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """Even if it is to be replaced."""
    target.mkdir()
    await assert_refused(
        sandbox, client, target, ExportError, "is a directory; name a file in it", overwrite=True
    )


async def test_what_is_not_a_plain_file_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """A device, a pipe: one rename would put a file in its place."""
    os.mkfifo(target)
    await assert_refused(sandbox, client, target, ExportError, "is not a regular file", overwrite=True)


async def test_a_missing_folder_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """It is not made."""
    with pytest.raises(ExportError, match=r"missing/a\.ndjson: No such file or directory"):
        await export_segments(client, target.parent / "missing" / "a.ndjson")
    assert not sandbox.requests
    assert not names_in(target)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory that even root may not write to."""
    if os.geteuid() == 0:
        yield Path("/sys")
        return
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)


async def test_a_read_only_folder_is_refused(
    sandbox: Sandbox, client: BrazeSegments, read_only: Path
) -> None:
    """Found out by the lock file."""
    with pytest.raises(ExportError, match=r"cannot write .*a\.ndjson: (Permission denied|Read-only)"):
        await export_segments(client, read_only / "a.ndjson")
    assert not sandbox.requests


@pytest.mark.parametrize("destination", ["", ".", "a\0b.ndjson", 7, b"a.ndjson"])
async def test_what_is_no_path_is_refused(sandbox: Sandbox, client: BrazeSegments, destination: Any) -> None:
    """As a wrong argument."""
    with pytest.raises(ConfigError, match="destination must"):
        await export_segments(client, destination)
    assert not sandbox.requests


@pytest.mark.parametrize("dangling", [False, True])
async def test_an_existing_file_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, *, dangling: bool
) -> None:
    """Unless it is to be replaced, in one rename at the end; resume alone does not ask for that."""
    if dangling:
        target.symlink_to("nowhere")
    else:
        target.write_text("precious")
    for options in ({}, {"resume": True}):
        await assert_refused(sandbox, client, target, ConfigError, "exists: .* overwrite=True", **options)

    def precious(_: LoggedRequest) -> None:
        assert dangling or target.read_text() == "precious"

    sandbox.inject(precious)
    await export_segments(client, target, overwrite=True)
    assert len(target.read_bytes().splitlines()) == 250
    assert names_in(target) == {target.name}


async def test_a_file_that_appears_meanwhile_is_not_replaced(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """The export fails instead, and can be resumed."""

    def appear(_: LoggedRequest) -> None:
        target.write_text("precious")

    sandbox.inject(appear, endpoint="details", ordinals=9)
    with pytest.raises(ExportError, match=r"was created by another program .*; .*resume=True replaces"):
        await export_segments(client, target)
    assert target.read_text() == "precious"
    assert names_in(target) == {target.name, f"{target.name}.journal"}
    assert (await export_segments(client, target, resume=True)).resumed == 250


async def test_a_leftover_journal_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """It holds work: whether to go on from it or not is said by the caller."""
    await interrupted(sandbox, client, target)
    await assert_refused(
        sandbox,
        client,
        target,
        ConfigError,
        "was interrupted; resume=True continues it, overwrite=True starts afresh",
    )
    result = await export_segments(client, target, overwrite=True)
    assert (result.rows, result.resumed) == (250, 0)
    assert sandbox.count("details") == 250


async def test_resume_without_a_journal_starts(client: BrazeSegments, target: Path) -> None:
    """So that a schedule may always say it."""
    result = await export_segments(client, target, resume=True)
    assert (result.rows, result.resumed) == (250, 0)


async def test_an_export_that_got_nothing_leaves_nothing(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """Nothing to resume: the next try need not say what to do about it."""
    sandbox.inject(Answer(status=403), times=1)
    with pytest.raises(Exception, match="403"):
        await export_segments(client, target)
    assert not names_in(target)


@pytest.mark.parametrize("torn", [1, 40, 400])
async def test_a_torn_last_line_is_dropped(
    sandbox: Sandbox, client: BrazeSegments, target: Path, torn: int
) -> None:
    """A row that was not written to its end is asked for again."""
    await export_segments(client, whole := target.with_name("whole.ndjson"))
    await interrupted(sandbox, client, target)
    journal = beside(target, ".journal")
    os.truncate(journal, journal.stat().st_size - torn)
    done = journaled(target)
    result = await export_segments(client, target, resume=True)
    assert result.resumed == len(done)
    assert asked(sandbox) == sorted(set(sandbox.segment_ids) - set(done))
    assert content(target) == content(whole)


def _foreign(header: bytes, rows: bytes) -> dict[str, tuple[bytes, str]]:
    """Files that are no journal of this export, and what is said of them."""
    first = json.loads(header)

    def but(**values: Any) -> bytes:
        return json.dumps({**first, **values}).encode() + b"\n" + rows

    return {
        "text": (b"hello\n", "its first line is not that of a journal"),
        "an export": (rows, "its first line is not that of a journal"),
        "no line": (b"\0" * 10_000, "its first line is not that of a journal"),
        "a list": (b"[]\n", "its first line is not that of a journal"),
        "another workspace": (
            but(workspace="rest.iad-01.braze.com"),
            "workspace was rest.iad-01.braze.com, is now 127",
        ),
        "another version": (but(journal=1), "journal was 1, is now 2"),
        "garbage": (header + rows + b"?\n", "one of its lines is not a segment"),
        "another row": (header + rows + b'{"id":7,"created_at":null}\n', "one of its lines is not a segment"),
        "twice": (header + rows + rows, "it holds a segment twice"),
    }


@pytest.mark.parametrize("which", _foreign(b"{}", b""))
async def test_a_foreign_journal_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, which: str
) -> None:
    """What cannot be trusted is not resumed from, and not touched either."""
    await interrupted(sandbox, client, target)
    journal = beside(target, ".journal")
    header, rows = journal.read_bytes().split(b"\n", 1)
    made, says = _foreign(header + b"\n", rows)[which]
    journal.write_bytes(made)
    await assert_refused(sandbox, client, target, ExportError, f"cannot resume .*{says}", resume=True)
    assert (await export_segments(client, target, overwrite=True)).rows == 250


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "csv"}, "format was ndjson, is now csv. Resume with the options of that export"),
        ({"format": "csv", "csv_safe": True}, "format was .*; csv_safe was False, is now True"),
        ({"sizes": 7}, "sizes was None, is now 7"),
    ],
)
async def test_resume_with_other_options_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, options: dict[str, Any], says: str
) -> None:
    """Whatever shapes the file; the message says what differs."""
    await interrupted(sandbox, client, target)
    await assert_refused(sandbox, client, target, ExportError, says, resume=True, **options)


async def test_resume_may_go_about_it_differently(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """How the rows are had does not shape the file: consistency, concurrency, what to do about failures."""
    await export_segments(client, whole := target.with_name("whole.ndjson"))
    await interrupted(sandbox, client, target)
    await export_segments(
        client, target, resume=True, consistency="strict", concurrency=2, allow_partial=True, overwrite=True
    )
    assert content(target) == content(whole)


async def test_the_journal_holds_no_secret(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """Neither the key nor anything made from it."""
    await interrupted(sandbox, client, target)
    header = json.loads(beside(target, ".journal").read_bytes().splitlines()[0])
    assert set(header) == {"journal", "workspace", "format", "csv_safe", "sizes", "sizes_until"}
    assert sandbox.api_key.encode() not in beside(target, ".journal").read_bytes()


async def _journal_of(target: Path) -> None:
    """Wait until an export has its first row."""
    while not journaled(target):  # noqa: ASYNC110 - it may be another process that writes it
        await asyncio.sleep(0)


async def test_two_exports_to_one_path(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """The second is refused, and names the process of the first, which is not disturbed."""
    first = asyncio.create_task(export_segments(client, target))
    await _journal_of(target)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ExportError, match=rf"another export holds .*\.lock: pid {os.getpid()}$"):
            await export_segments(client, target, **options)  # type: ignore[arg-type]
    other = target.with_name("other.ndjson")
    assert (await export_segments(client, other)).rows == (await first).rows == 250
    assert names_in(target) == {target.name, other.name}
    assert sandbox.count("details") == 500


async def test_two_processes_to_one_path(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """So it is between processes; and a dead one's lock is taken over."""
    async with exporting() as exporter:
        pid = await exporter.start(sandbox, target)
        await _journal_of(target)
        with pytest.raises(ExportError, match=rf"pid {pid}$"):
            await export_segments(client, target)
        os.kill(pid, 9)
        await exporter.ended()
    assert beside(target, ".lock").read_text() == str(pid)
    assert (await export_segments(client, target, resume=True)).rows == 250
    assert names_in(target) == {target.name}


@pytest.mark.parametrize("largest", [100, 30_000, 130_000])
async def test_disk_full(sandbox: Sandbox, client: BrazeSegments, target: Path, largest: int) -> None:
    """At the start, among the details or while the file is written: as it was, and resumable."""
    target = target.with_suffix(".sqlite")
    await export_segments(client, whole := target.with_name("whole.sqlite"))
    target.write_text("precious")
    async with exporting() as exporter:
        await exporter.start(sandbox, target, largest, overwrite=True)
        status, error = await exporter.ended()
    assert status == 1
    assert error.startswith("ExportError: cannot write ")
    assert target.read_text() == "precious"
    done = journaled(target)
    assert names_in(target) == {whole.name, target.name, *([f"{target.name}.journal"] if done else [])}
    await asyncio.sleep(0.05)  # what was cancelled on its way has arrived by then
    sandbox.requests.clear()
    result = await export_segments(client, target, resume=True, overwrite=True)
    assert result.resumed == len(done)
    assert sandbox.count("details") == 250 - len(done)
    assert content(target) == content(whole)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not _mount("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)):
        pytest.skip("this user may not mount a file system")
    yield folder
    assert _mount("umount", str(folder))


def _mount(*command: str) -> bool:
    """Do it, and say whether it was allowed."""
    return not subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603 - fixed


async def test_no_space_left(sandbox: Sandbox, client: BrazeSegments, tiny: Path, tmp_path: Path) -> None:
    """The same on a real file system that is full; with more room, resume finishes the work."""
    target = tiny / "segments.ndjson"
    await export_segments(client, whole := tmp_path / "whole.ndjson")
    with pytest.raises(ExportError, match=r"segments\.ndjson\.journal: No space left on device"):
        await export_segments(client, target)
    done = journaled(target)
    assert 50 < len(done) < 250
    assert names_in(target) == {"segments.ndjson.journal"}
    await asyncio.sleep(0.05)  # what was cancelled on its way has arrived by then
    sandbox.requests.clear()
    assert _mount("mount", "-o", "remount,size=1m", str(tiny))
    result = await export_segments(client, target, resume=True)
    assert result.resumed == len(done)
    assert set(asked(sandbox)) == set(sandbox.segment_ids) - set(done)
    assert content(target) == content(whole)
