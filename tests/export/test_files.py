"""Files of exports are complete or absent: refused destinations, existing files, locks and full disks."""

# ruff: noqa: ASYNC240 - small files, which do not block for long

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from export_helpers import content, exporting, journaled_ids, names_in, requested_ids, sibling

from braze_segments_async import BrazeSegments, ConfigError, ExportError
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from braze_segments_async.sandbox import LoggedRequest


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of the exported file, in an empty directory."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "segments.ndjson"


async def interrupt(sandbox: Sandbox, client: BrazeSegments, target: Path, **options: Any) -> None:
    """Start an export that a 401 stops in the middle, and check its journal."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=sandbox.count("details") + 100)
    with pytest.raises(Exception, match="401"):
        await export_segments(client, target, **options)
    assert not target.exists()
    assert 50 < len(journaled_ids(target)) < 100
    await asyncio.sleep(0.05)  # cancelled requests in flight arrive in this time
    sandbox.requests.clear()


async def assert_refused(
    sandbox: Sandbox,
    client: BrazeSegments,
    target: Path,
    error: type[Exception],
    message: str,
    **options: Any,
) -> None:
    """Check that an export raises before any request, and changes no file."""
    before = {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()}
    sandbox.requests.clear()
    with pytest.raises(error, match=message):
        await export_segments(client, target, **{"format": "ndjson", **options})
    assert not sandbox.requests
    assert before == {path: path.read_bytes() for path in target.parent.iterdir() if path.is_file()}


async def test_a_directory_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A directory is refused as the destination, also with `overwrite`."""
    target.mkdir()
    await assert_refused(
        sandbox, client, target, ExportError, "is a directory; name a file in it", overwrite=True
    )


async def test_a_pipe_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A pipe is refused as the destination, because the export would replace it by a file."""
    os.mkfifo(target)
    await assert_refused(sandbox, client, target, ExportError, "is not a regular file", overwrite=True)


async def test_a_missing_folder_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A missing directory is an error, and is not created."""
    with pytest.raises(ExportError, match=r"missing/a\.ndjson: No such file or directory"):
        await export_segments(client, target.parent / "missing" / "a.ndjson")
    assert not sandbox.requests
    assert not names_in(target)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory that even root cannot write to."""
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
    """A directory without write permission is refused before any request."""
    with pytest.raises(ExportError, match=r"cannot write .*a\.ndjson: (Permission denied|Read-only)"):
        await export_segments(client, read_only / "a.ndjson")
    assert not sandbox.requests


@pytest.mark.parametrize("destination", ["", ".", "a\0b.ndjson", 7, b"a.ndjson"])
async def test_a_destination_that_is_no_path_is_refused(
    sandbox: Sandbox, client: BrazeSegments, destination: Any
) -> None:
    """A destination that is no path raises `ConfigError`."""
    with pytest.raises(ConfigError, match="destination must"):
        await export_segments(client, destination)
    assert not sandbox.requests


@pytest.mark.parametrize("dangling", [False, True])
async def test_an_existing_file_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, *, dangling: bool
) -> None:
    """An existing file is refused unless `overwrite` is set, which replaces it only at the end."""
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


async def test_a_file_created_during_the_export_is_not_replaced(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """A file created during the export is kept; the export fails, and can be resumed."""

    def appear(_: LoggedRequest) -> None:
        target.write_text("precious")

    sandbox.inject(appear, endpoint="details", ordinals=9)
    with pytest.raises(ExportError, match=r"was created by another program .*; .*resume=True replaces"):
        await export_segments(client, target)
    assert target.read_text() == "precious"
    assert names_in(target) == {target.name, f"{target.name}.journal"}
    assert (await export_segments(client, target, resume=True)).resumed == 250


async def test_a_leftover_journal_is_refused(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A journal of an interrupted export is refused unless `resume` or `overwrite` is set."""
    await interrupt(sandbox, client, target)
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
    """`resume` without a journal starts a new export, so that scheduled commands can always use it."""
    result = await export_segments(client, target, resume=True)
    assert (result.rows, result.resumed) == (250, 0)


async def test_an_export_without_rows_leaves_no_journal(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """An export that fails before its first segment leaves no journal."""
    sandbox.inject(Answer(status=403), times=1)
    with pytest.raises(Exception, match="403"):
        await export_segments(client, target)
    assert not names_in(target)


@pytest.mark.parametrize("torn", [1, 40, 400])
async def test_an_incomplete_last_row_is_dropped(
    sandbox: Sandbox, client: BrazeSegments, target: Path, torn: int
) -> None:
    """An incomplete last row of the journal is dropped, and its segment is fetched again."""
    await export_segments(client, whole := target.with_name("whole.ndjson"))
    await interrupt(sandbox, client, target)
    journal = sibling(target, ".journal")
    os.truncate(journal, journal.stat().st_size - torn)
    done = journaled_ids(target)
    result = await export_segments(client, target, resume=True)
    assert result.resumed == len(done)
    assert requested_ids(sandbox) == sorted(set(sandbox.segment_ids) - set(done))
    assert content(target) == content(whole)


def _foreign(header: bytes, rows: bytes) -> dict[str, tuple[bytes, str]]:
    """Return files that are no journal of the export, with the error for each."""
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
    """A file that is no journal of this export is refused by `resume`, and not changed."""
    await interrupt(sandbox, client, target)
    journal = sibling(target, ".journal")
    header, rows = journal.read_bytes().split(b"\n", 1)
    made, message = _foreign(header + b"\n", rows)[which]
    journal.write_bytes(made)
    await assert_refused(sandbox, client, target, ExportError, f"cannot resume .*{message}", resume=True)
    assert (await export_segments(client, target, overwrite=True)).rows == 250


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "format was ndjson, is now csv. Resume with the options of that export"),
        ({"format": "csv", "csv_safe": True}, "format was .*; csv_safe was False, is now True"),
        ({"sizes": 7}, "sizes was None, is now 7"),
    ],
)
async def test_resume_with_other_options_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, options: dict[str, Any], message: str
) -> None:
    """Options that affect the file cannot change on resume; the error names those that differ."""
    await interrupt(sandbox, client, target)
    await assert_refused(sandbox, client, target, ExportError, message, resume=True, **options)


async def test_resume_with_options_that_do_not_affect_the_file(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """Consistency, concurrency and failure handling may change on resume, as they do not affect the file."""
    await export_segments(client, whole := target.with_name("whole.ndjson"))
    await interrupt(sandbox, client, target)
    await export_segments(
        client, target, resume=True, consistency="strict", concurrency=2, allow_partial=True, overwrite=True
    )
    assert content(target) == content(whole)


async def test_the_journal_contains_no_key(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """The journal contains neither the API key nor a value derived from it."""
    await interrupt(sandbox, client, target)
    header = json.loads(sibling(target, ".journal").read_bytes().splitlines()[0])
    assert set(header) == {"journal", "workspace", "format", "csv_safe", "sizes", "sizes_until"}
    assert sandbox.api_key.encode() not in sibling(target, ".journal").read_bytes()


async def _first_row(target: Path) -> None:
    """Wait until the journal of an export has a row."""
    while not journaled_ids(target):  # noqa: ASYNC110 - another process may write it
        await asyncio.sleep(0)


async def test_two_exports_to_one_path(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A second export to the same file is refused with the pid of the first, which finishes."""
    first = asyncio.create_task(export_segments(client, target))
    await _first_row(target)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ExportError, match=rf"another export holds .*\.lock: pid {os.getpid()}$"):
            await export_segments(client, target, **options)  # type: ignore[arg-type]
    other = target.with_name("other.ndjson")
    assert (await export_segments(client, other)).rows == (await first).rows == 250
    assert names_in(target) == {target.name, other.name}
    assert sandbox.count("details") == 500


async def test_two_processes_to_one_path(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """An export to the file of another process is refused, until that process has ended."""
    async with exporting() as exporter:
        pid = await exporter.start(sandbox, target)
        await _first_row(target)
        with pytest.raises(ExportError, match=rf"pid {pid}$"):
            await export_segments(client, target)
        os.kill(pid, 9)
        await exporter.wait()
    assert sibling(target, ".lock").read_text() == str(pid)
    assert (await export_segments(client, target, resume=True)).rows == 250
    assert names_in(target) == {target.name}


@pytest.mark.parametrize("largest", [100, 30_000, 130_000])
async def test_disk_full(sandbox: Sandbox, client: BrazeSegments, target: Path, largest: int) -> None:
    """If the disk is full at any stage, the existing file is unchanged, and the export can be resumed."""
    target = target.with_suffix(".sqlite")
    await export_segments(client, whole := target.with_name("whole.sqlite"))
    target.write_text("precious")
    async with exporting() as exporter:
        await exporter.start(sandbox, target, largest, overwrite=True)
        status, error = await exporter.wait()
    assert status == 1
    assert error.startswith("ExportError: cannot write ")
    assert target.read_text() == "precious"
    done = journaled_ids(target)
    assert names_in(target) == {whole.name, target.name, *([f"{target.name}.journal"] if done else [])}
    await asyncio.sleep(0.05)  # cancelled requests in flight arrive in this time
    sandbox.requests.clear()
    result = await export_segments(client, target, resume=True, overwrite=True)
    assert result.resumed == len(done)
    assert sandbox.count("details") == 250 - len(done)
    assert content(target) == content(whole)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not _mount("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)):
        pytest.skip("this user may not mount a file system")
    yield folder
    assert _mount("umount", str(folder))


def _mount(*command: str) -> bool:
    """Run the command and return whether it succeeded."""
    return not subprocess.run(command, capture_output=True, check=False).returncode  # noqa: S603 - constant commands


async def test_no_space_left(sandbox: Sandbox, client: BrazeSegments, tiny: Path, tmp_path: Path) -> None:
    """On a full file system the export fails and keeps its journal; with more space, `resume` finishes it."""
    target = tiny / "segments.ndjson"
    await export_segments(client, whole := tmp_path / "whole.ndjson")
    with pytest.raises(ExportError, match=r"segments\.ndjson\.journal: No space left on device"):
        await export_segments(client, target)
    done = journaled_ids(target)
    assert 50 < len(done) < 250
    assert names_in(target) == {"segments.ndjson.journal"}
    await asyncio.sleep(0.05)  # cancelled requests in flight arrive in this time
    sandbox.requests.clear()
    assert _mount("mount", "-o", "remount,size=1m", str(tiny))
    result = await export_segments(client, target, resume=True)
    assert result.resumed == len(done)
    assert set(requested_ids(sandbox)) == set(sandbox.segment_ids) - set(done)
    assert content(target) == content(whole)
