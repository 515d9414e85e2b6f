"""Crafted users files: no user is lost without an error, no byte is shown, and work can be cancelled."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import random
import re
import signal
import tempfile
import time
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from struct import pack, pack_into, unpack_from
from typing import IO, TYPE_CHECKING, Any

import pytest
from cli_helpers import inside, start_command, until
from fault_client import client_of
from key_leaks import exception_chain
from raw_server import RawServer
from users_helpers import QUERY, FileHost, all_users, export_at, packed, people

from braze_segments_async import BrazeSegments, Limits, ReplyError, UsersExport
from braze_segments_async._models import StartedExport
from braze_segments_async._support.threads import CancelToken, run_in_thread
from braze_segments_async._text import Secret
from braze_segments_async._users.download import RangeResponse
from braze_segments_async._users.reader import read_users
from braze_segments_async._users.zip_file import MAX_MEMBERS
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


MAX_LINE = 2**20
FIRST, SECOND = people(3), people(2)


def users_in(data: bytes) -> list[dict[str, Any]]:
    """Return all users of a ZIP."""
    return [user for _, user in read_users(io.BytesIO(data), MAX_LINE, CancelToken())]


# --- users that get lost ------------------------------------------------------------------------------


def parts_of(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the members, the directory and the end record of a ZIP without a comment."""
    size, start = unpack_from("<LL", data, len(data) - 10)
    return data[:start], data[start : start + size], data[-22:]


def end_record(count: int, size: int, start: int, comment: bytes = b"") -> bytes:
    """Return an end record."""
    return pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, start, len(comment)) + comment


def zip64(data: bytes, *, count: int, here: int | None = None, declared: int = 65_535) -> bytes:
    """Return the same ZIP with a zip64 end record and the given number of members."""
    members, directory, _ = parts_of(data)
    fields = (count if here is None else here, count, len(directory), len(members))
    record = pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, *fields)
    locator = pack("<4sLQL", b"PK\6\7", 0, len(members) + len(directory), 1)
    return members + directory + record + locator + end_record(declared, 2**32 - 1, 2**32 - 1)


def in_the_comment() -> bytes:
    """Return a ZIP of three users whose comment is a ZIP of two, with correct offsets."""
    outer, inner = packed([FIRST]), packed([SECOND])
    members, directory, _ = parts_of(inner)
    moved = bytearray(directory)
    pack_into("<L", moved, 42, len(outer))
    comment = members + bytes(moved) + end_record(1, len(moved), len(outer) + len(members))
    return outer[:-2] + pack("<H", len(comment)) + comment


def an_end_in_the_comment() -> bytes:
    """Return a ZIP of five users whose comment has an end record for no file."""
    data = packed([FIRST, SECOND])
    comment = end_record(0, 0, len(data))
    return data[:-2] + pack("<H", len(comment)) + comment


def without_an_entry() -> bytes:
    """Return a ZIP with a removed directory entry and a matching count."""
    members, directory, _ = parts_of(packed([FIRST, SECOND]))
    shorter = directory[len(directory) // 2 :]
    return members + shorter + end_record(1, len(shorter), len(members))


def with_an_entry_twice() -> bytes:
    """Return a ZIP whose directory has the second member twice, and not the first."""
    members, directory, _ = parts_of(packed([FIRST, SECOND]))
    twice = directory[len(directory) // 2 :] * 2
    return members + twice + end_record(2, len(twice), len(members))


def smaller(data: bytes, by: int) -> bytes:
    """Return a ZIP with a stored member that the directory declares shorter, with a matching checksum."""
    changed = bytearray(data)
    entry = changed.index(b"PK\1\2")
    size = unpack_from("<L", changed, entry + 20)[0] - by
    crc = zlib.crc32(data[42:][:size])
    pack_into("<LLL", changed, entry + 16, crc, size, size)
    return bytes(changed)


LINE = len(json.dumps(FIRST[0])) + 1
LOSING: dict[str, bytes] = {
    "two ZIPs in a row": packed([FIRST]) + packed([SECOND]),
    "a ZIP in the comment": in_the_comment(),
    "an end record in the comment": an_end_in_the_comment(),
    "an entry less": without_an_entry(),
    "an entry twice": with_an_entry_twice(),
    "a zip64 count too small": zip64(packed([FIRST, SECOND]), count=1),
    "a zip64 count too large": zip64(packed([FIRST, SECOND]), count=3),
    "two zip64 counts": zip64(packed([FIRST, SECOND]), count=2, here=1),
    "counts that disagree": zip64(packed([FIRST, SECOND]), count=2, declared=1),
    "a count without its zip64 record": packed([FIRST, SECOND])[:-14] + b"\xff" * 4 + packed([FIRST])[-10:],
    "bytes before": b"x" * 30 + packed([FIRST]),
    "a member cut by the directory": smaller(packed([FIRST], method=zipfile.ZIP_STORED), LINE),
}


@pytest.mark.parametrize("case", LOSING)
def test_users_that_would_get_lost(case: str) -> None:
    """A ZIP in which readers may find different numbers of users is refused."""
    with pytest.raises(ReplyError, match="the ZIP is damaged"):
        users_in(LOSING[case])


@pytest.mark.parametrize("declared", [2, 65_535])
def test_a_valid_zip64_record(declared: int) -> None:
    """A small ZIP may have a zip64 record."""
    assert users_in(zip64(packed([FIRST, SECOND]), count=2, declared=declared)) == FIRST + SECOND


def test_a_comment() -> None:
    """A ZIP may have a comment, even with the signature of an end record."""
    comment = b"made by PK\5\6 of somebody"
    assert users_in(packed([FIRST])[:-2] + pack("<H", len(comment)) + comment) == FIRST


class Unseekable(io.BytesIO):
    """A file that is not seekable, so that a ZIP written to it has data descriptors."""

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return False

    def tell(self) -> int:
        """See `io.IOBase`."""
        raise OSError

    seek = None  # type: ignore[assignment]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_streamed_zip(method: int, *, large: bool) -> None:
    """A ZIP may have data descriptors after its members, and zip64 sizes."""
    file = Unseekable()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in ("1", "2"):
            with archive.open(name, "w", force_zip64=large) as member:
                member.write(b'{"n": 1}\n')
    assert users_in(file.getvalue()) == [{"n": 1}] * 2


# --- what is shown ------------------------------------------------------------------------------------

ALPHABET = "bcdfghjkmnpqrstvwxz"


def recognisable(dice: random.Random) -> tuple[list[dict[str, Any]], set[str]]:
    """Return users, and the e-mail names and phone numbers that identify them."""
    users, marks = [], set()
    for _ in range(6):
        name = "".join(dice.choices(ALPHABET, k=10))
        phone = "".join(dice.choices("0123456789", k=11))
        users.append({"email": f"{name}@{name[::-1]}.example", "phone": f"+{phone}"})
        marks |= {name[place : place + 5] for place in range(6)} | {
            name[::-1][place : place + 5] for place in range(6)
        }
        marks |= {phone[place : place + 6] for place in range(6)}
    return users, marks


def zip_with_names(dice: random.Random, users: list[dict[str, Any]]) -> bytes:
    """Return a ZIP whose names, comments and contents are of users; stored or deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", dice.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for place in (0, 3):
            info = zipfile.ZipInfo(f"{users[place]['email']}.json")
            info.compress_type = archive.compression
            info.comment = users[place + 1]["phone"].encode()
            archive.writestr(info, "".join(f"{json.dumps(user)}\n" for user in users[place : place + 3]))
        archive.comment = dice.choice([b"", users[0]["email"].encode()])
    return file.getvalue()


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Return the data with a few changed bits, bytes, fields of records or ranges."""
    changed = bytearray(data)
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        if not changed:
            break
        records = [match.start() for match in re.finditer(rb"PK[\1-\7][\2-\x08]", changed)]
        place = dice.randrange(len(changed))
        if records and dice.random() < 0.5:
            place = min(dice.choice(records) + dice.randrange(48), len(changed) - 1)
        other = dice.randrange(len(changed))
        kind = dice.randrange(6)
        if kind == 0:
            changed[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            changed[place] = dice.choice([0, 1, 8, 9, 255, dice.randrange(256)])
        elif kind == 2:
            del changed[place : place + dice.choice([1, 4, 50])]
        elif kind == 3:
            changed[place:place] = changed[other : other + dice.choice([1, 22, 46, 200])]
        elif kind == 4:
            length = dice.choice([2, 4, 20])
            changed[place : place + length] = changed[other : other + length]
        else:
            del changed[place:]
    return bytes(changed)


def export_of(data: bytes) -> UsersExport:
    """Return an export with this file, without a server."""

    class Downloader:
        """Stands in for the host of the file."""

        def check_url(self) -> None:
            """Accept the url."""

        async def fetch(self, first: int, last: int) -> RangeResponse:
            """Return a range of the file."""
            return RangeResponse(data[first : last + 1], len(data), "1")

    client = BrazeSegments(
        "key", base_url="https://rest.iad-01.braze.com", limits=Limits(body=2**14, file=2**30)
    )
    export = UsersExport("a", StartedExport("b", Secret("https://files.example/a.zip")), client._manager)
    export._downloader = Downloader  # type: ignore[method-assign,assignment]
    export._ready = True
    return export


def shown(error: BaseException) -> str:
    """Return all that is shown of an error and its causes."""
    texts = [f"{one} {one!r} {one.args!r} {vars(one)!r}" for one in exception_chain(error)]
    assert len(texts) == 1  # there is no chain
    return " ".join(texts)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the users in a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


async def fuzz(tries: int, seed: int, target: Path) -> dict[str, int]:
    """Read and save mutated ZIPs, half of them each; count what came of it.

    Each try ends with a `ReplyError` that shows nothing of a user, or with all users.
    """
    dice = random.Random(seed)
    counts = {"refused": 0, "whole": 0, "changed": 0}
    for number in range(tries):
        users, marks = recognisable(dice)
        data = mutated(dice, zip_with_names(dice, users))
        export = export_of(data)
        try:
            if number % 2:
                await export.save(target, overwrite=True)
                found = json_lines(target)
            else:
                found = await all_users(export)
        except ReplyError as error:
            text = shown(error)
            assert not [mark for mark in marks if mark in text], text
            counts["refused"] += 1
        else:
            assert len(found) == 6
            counts["whole" if found == users else "changed"] += 1
    return counts


async def test_nothing_of_a_user_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A damaged ZIP shows no byte of a user in any output, and no user is lost."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    counts = await fuzz(300, 7, tmp_path / "a.ndjson")
    assert counts["refused"] > 100
    assert counts["whole"] > 10
    assert counts["changed"] == 0
    assert not re.search(f"[{ALPHABET}]{{10}}@", caplog.text + "".join(capfd.readouterr()))


# --- work that cannot be stopped ----------------------------------------------------------------------


def blank_lines() -> bytes:
    """Return a ZIP of some 100 kB with 100 million blank lines."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("users.json", "w") as member,
    ):
        for _ in range(100):
            member.write(b"\n" * 10**6)
    return file.getvalue()


def many_entries(count: int) -> Iterator[bytes]:
    """Yield the pieces of a ZIP with many entries in its directory."""
    members, directory, _ = parts_of(packed([b""]))
    yield members
    for _ in range(count // 1_000):
        yield directory * 1_000
    size = len(directory) * count
    record = pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, len(members))
    yield record + pack("<4sLQL", b"PK\6\7", 0, len(members) + size, 1)
    yield end_record(65_535, size, len(members))


@pytest.fixture(scope="module")
def blank() -> bytes:
    """See `blank_lines`."""
    return blank_lines()


@pytest.fixture
async def export(blank: bytes) -> AsyncIterator[UsersExport]:
    """Yield an export of blank lines at a real host."""
    async with RawServer(FileHost(blank)) as host, client_of(host.base_url) as client:
        yield export_at(client, f"{host.base_url}/file.zip?{QUERY}")


VERBS: dict[str, Callable[[UsersExport, Path], Any]] = {
    "users": lambda export, _: all_users(export),
    "save": lambda export, folder: export.save(folder / "a.ndjson"),
    "save the ZIP": lambda export, folder: export.save(folder / "a.zip"),
}


@pytest.mark.parametrize("how", ["cancel", "timeout"])
@pytest.mark.parametrize("verb", VERBS)
async def test_blank_lines_can_be_cancelled(export: UsersExport, tmp_path: Path, verb: str, how: str) -> None:
    """A member of blank lines delays neither a cancellation nor a timeout."""
    task = asyncio.ensure_future(VERBS[verb](export, tmp_path))
    while not (export.size and export.received == export.size):  # noqa: ASYNC110 - nothing announces that
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert not task.done()
    began = time.monotonic()
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await task
    assert time.monotonic() - began < 0.5
    assert not inside(tmp_path)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_the_command_can_be_stopped(
    blank: bytes, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM end the command at once while it reads blank lines."""
    async with Sandbox(1) as sandbox:
        sandbox.inject(Answer(body=blank), endpoint="file")
        target = tmp_path / "a.ndjson"
        process = await start_command(
            sandbox, "users", sandbox.segment_ids[0], "--fields", "email", "-o", str(target)
        )
        await until(lambda: inside(tmp_path))  # it writes, so it has the file
        began = time.monotonic()
        process.send_signal(sent)
        _, err = await process.communicate()
        assert time.monotonic() - began < 0.8  # the end of the interpreter takes its time, too
    assert (process.returncode, err) == (code, b"")
    assert not inside(tmp_path)


@pytest.fixture(scope="module")
def crowded() -> Iterator[IO[bytes]]:
    """Return a file whose directory has three million entries."""
    with tempfile.TemporaryFile() as file:
        file.writelines(many_entries(3 * 10**6))
        yield file


def test_a_directory_of_millions(crowded: IO[bytes]) -> None:
    """A ZIP with too many members is refused at once, before memory is used for them."""
    tracemalloc.start()
    try:
        began = time.monotonic()
        with pytest.raises(ReplyError, match=f"more than {MAX_MEMBERS:,} files"):
            list(read_users(crowded, MAX_LINE, CancelToken()))
        assert time.monotonic() - began < 0.5
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_directory_of_millions_with_a_wrong_count(crowded: IO[bytes]) -> None:
    """An end record with a lower count does not circumvent the limit of members."""
    members, directory, _ = parts_of(packed([b""]))
    size = len(directory) * 3 * 10**6
    crowded.seek(len(members) + size)
    crowded.truncate()
    crowded.write(end_record(1_000, size, len(members)))
    began = time.monotonic()
    with pytest.raises(ReplyError, match="as many entries as the end record says"):
        list(read_users(crowded, MAX_LINE, CancelToken()))
    assert time.monotonic() - began < 0.5


async def test_many_empty_members_can_be_cancelled() -> None:
    """Neither the directory nor empty members delay a cancellation."""
    members, directory, _ = parts_of(packed([b""]))
    data = bytearray(members * MAX_MEMBERS)
    for number in range(MAX_MEMBERS):
        entry = bytearray(directory)
        pack_into("<L", entry, 42, len(members) * number)
        data += entry
    size = len(directory) * MAX_MEMBERS
    start = len(members) * MAX_MEMBERS
    record = pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, MAX_MEMBERS, MAX_MEMBERS, size, start)
    locator = pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    data += record + locator + end_record(65_535, size, start)
    for pause in (0.05, 0.6):  # in the directory, and in the members
        task = asyncio.create_task(
            run_in_thread(lambda stop: list(read_users(io.BytesIO(data), MAX_LINE, stop)))
        )
        await asyncio.sleep(pause)
        began = time.monotonic()
        task.cancel()
        with suppress(asyncio.CancelledError):
            assert await task == []  # on a fast machine
        assert time.monotonic() - began < 0.5
