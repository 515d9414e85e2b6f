"""The ZIP of a users export is read completely and in little memory, or refused; never in part."""

from __future__ import annotations

import io
import json
import tempfile
import tracemalloc
import zipfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from users_helpers import PERSON, packed, people

from braze_segments_async import ReplyError
from braze_segments_async._support.threads import CancelToken
from braze_segments_async._users.reader import batches, read_users

MAX_LINE = 2**20
BOMB = 100 * 2**20


def users_in(data: bytes, *, max_line: int = MAX_LINE) -> list[dict[str, Any]]:
    """Return the users of a ZIP on a disk, where zipfile raises other errors than in memory."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        found = list(read_users(file, max_line, CancelToken()))
    assert all(json.loads(line) == user for line, user in found)
    assert all(line.strip() == line and b"\n" not in line for line, _ in found)
    return [user for _, user in found]


def problem_of(data: bytes, **options: int) -> str:
    """Return the message of a refused ZIP, after asserting that it has nothing of a user."""
    with pytest.raises(ReplyError) as caught:
        users_in(data, **options)
    error = caught.value
    for secret in (PERSON, "ada", "private"):
        assert secret not in f"{error} {error.path} {error.args}"
    assert error.__context__ is None
    return str(error)


# --- what is accepted ---------------------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_USERS = st.dictionaries(st.text(max_size=8), _VALUES, max_size=4)


@st.composite
def _members(draw: st.DrawFn) -> tuple[bytes, list[dict[str, Any]]]:
    """A file of users as somebody's program may write it, and the users."""
    users = draw(st.lists(_USERS, max_size=5))
    plain = draw(st.booleans())
    text = "\ufeff" if draw(st.booleans()) else ""
    for user in users:
        end = draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n", "\n \t\r\n"]))
        text += draw(st.sampled_from(["", " ", "\t"])) + json.dumps(user, ensure_ascii=not plain) + end
    return (text.rstrip() if draw(st.booleans()) else text).encode(), users


@settings(max_examples=50)
@given(st.lists(_members(), max_size=5), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_any_users(members: list[tuple[bytes, list[dict[str, Any]]]], method: int) -> None:
    """Each user is read once, in order and exactly, with any JSON, line ends and files."""
    data = packed([text for text, _ in members], method=method)
    assert users_in(data) == [user for _, users in members for user in users]


@pytest.mark.parametrize(
    "text", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e", "\r", "\0", "\ud800", "\U0001f525"]
)
def test_no_other_line_ends(text: str) -> None:
    r"""Only \n ends a line, and no other line separator of Python or Unicode."""
    user = {"name": f"a{text}b"}
    assert users_in(packed([json.dumps(user).encode()])) == [user]
    if ord(text) >= 32 and text != "\ud800":
        assert users_in(packed([json.dumps(user, ensure_ascii=False).encode()])) == [user]


def test_numbers_are_exact() -> None:
    """A number that a float would round is exact."""
    assert users_in(packed([b'{"id": 9007199254740993}'])) == [{"id": 9007199254740993}]


@pytest.mark.parametrize(
    "members", [[], [b""], [b"", b""], [b"\n"], [b"\r\n \n"], [b"\xef\xbb\xbf"]], ids=str
)
def test_no_users(members: list[bytes]) -> None:
    """A ZIP of no files, or of empty files, has no users."""
    assert users_in(packed(members)) == []


def test_folders() -> None:
    """An entry for a folder is ignored."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("users/", b"")
        archive.writestr("users/1.json", b'{"a":1}\n')
    assert users_in(file.getvalue()) == [{"a": 1}]


def test_more_files_than_the_end_record_can_count() -> None:
    """A ZIP with at least 65,536 files has their number in a zip64 record."""
    assert users_in(packed([people(1), *[b""] * 65_534, people(2)])) == people(1) + people(2)


# --- what is refused ----------------------------------------------------------------------------------


def test_cut_anywhere() -> None:
    """A truncated ZIP is refused."""
    data = packed([people(3), people(2)])
    for length in range(len(data)):
        assert "the ZIP is damaged" in problem_of(data[:length])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_any_byte_changed(method: int) -> None:
    """All users are read exactly or an error is raised, whichever byte changed."""
    data = packed([people(3), people(2), people(1)], method=method)
    whole = people(3) + people(2) + people(1)
    for place in range(len(data)):
        for other in {0, 255, data[place] ^ 1, data[place] ^ 128, data[place] ^ 8} - {data[place]}:
            changed = data[:place] + bytes([other]) + data[place + 1 :]
            with suppress(ReplyError):
                assert users_in(changed) == whole


def test_a_changed_file_is_named() -> None:
    """A wrong checksum is reported with the name of the file."""
    data = packed([people(3), people(2)], method=zipfile.ZIP_STORED)
    place = data.rindex(b"u1")
    changed = data[:place] + b"u8" + data[place + 2 :]
    assert problem_of(changed) == (
        "invalid response: the ZIP is damaged: the size or checksum of a file is wrong; export the users "
        "again (at file 2 of the ZIP)"
    )


def test_a_directory_that_has_lost_entries() -> None:
    """A shortened directory, which zipfile accepts, is refused."""
    data = bytearray(packed([people(3), people(2)]))
    comment_length = data.index(b"PK\x01\x02") + 32
    data[comment_length : comment_length + 2] = b"\xff\xff"  # the first entry takes up all of it
    assert "the ZIP is damaged" in problem_of(bytes(data))


@pytest.mark.parametrize(
    "data",
    [b"", b"<Error/>", b"PK\x05\x06", b'{"external_id": "1"}\n', b"\x1f\x8b\x08" + b"\0" * 99],
    ids=str,
)
def test_no_zip(data: bytes) -> None:
    """HTML, JSON and gzip are refused."""
    assert "the ZIP is damaged: there is no end record" in problem_of(data)


def test_encrypted() -> None:
    """An encrypted ZIP is refused."""
    data = bytearray(packed([people(1)]))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    assert "encrypted" in problem_of(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_compression_method(method: int) -> None:
    """A compression method that Python cannot read in bounded memory is refused."""
    assert "a compression method that Braze does not use" in problem_of(packed([people(1)], method=method))


NO_USERS: dict[str, tuple[str | bytes, str]] = {
    "no JSON": (f'{{"email": "{PERSON}"', "not JSON: Expecting ',' delimiter at character 40"),
    "two": (f'{{"email": "{PERSON}"}} {{}}', "not JSON: Extra data at character 42"),
    "NaN": (f'{{"email": "{PERSON}", "a": NaN}}', "a number that JSON or Python does not accept"),
    "infinite": ('{"a": -Infinity}', "a number that JSON or Python does not accept"),
    "digits": (f'{{"a": {"9" * 5_000}}}', "a number that JSON or Python does not accept"),
    "deep": ("[" * 100_000, "JSON nested too deeply"),
    "a list": (f'["{PERSON}"]', "not an object"),
    "a text": (f'"{PERSON}"', "not an object"),
    "null": ("null", "not an object"),
    "a number": ("1", "not an object"),
    "HTML": ("<html>", "HTML instead of JSON"),
    "lone return": ('{"a": 1}\r{"b": 2}', "not JSON: Extra data at character 9"),
    "long": (f'{{"email": "{PERSON * 50_000}"}}', "longer than limits.body (1,048,576 bytes)"),
    "not UTF-8": (b'{"email": "\xff\xfe ' + PERSON.encode() + b'"}', "not UTF-8 at byte 11"),
    "UTF-16": (f'{{"email": "{PERSON}"}}'.encode("utf-16"), "not UTF-8 at byte 0"),
}


@pytest.mark.parametrize("name", NO_USERS)
def test_a_line_that_is_no_user(name: str) -> None:
    """An invalid line is refused; the message has its file and number, and nothing of its content."""
    text, says = NO_USERS[name]
    line = text if isinstance(text, bytes) else text.encode()
    problem = problem_of(packed([people(2), b'{"a": 1}\n\n' + line + b"\n"]))
    assert problem.startswith(f"invalid response: invalid user: {says}")
    assert problem.endswith(" (at file 2 of the ZIP, line 3)")


def test_a_hostile_name() -> None:
    """The name of a file in the ZIP is escaped in messages."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("\x1b[2J\r\nERROR \u202e" + "x" * 500, b"no user")
    assert problem_of(file.getvalue()).isprintable()
    assert len(problem_of(file.getvalue())) < 500


def test_users_before_the_damage() -> None:
    """Users before the damage are yielded, and then an error is raised."""
    data = packed([people(3), b"no user"])
    found = []
    with pytest.raises(ReplyError, match="invalid user"):
        for _, user in read_users(io.BytesIO(data), MAX_LINE, CancelToken()):
            found.append(user)
    assert found == people(3)


# --- memory -------------------------------------------------------------------------------------------


def _bomb(piece: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("users.json", "w") as member,
    ):
        for _ in range(BOMB // len(piece)):
            member.write(piece)
    return file


@pytest.mark.parametrize(
    "piece", [b"x" * 2**20, b" " * 2**20, b'"' + b"x" * (2**16 - 1)], ids=["x", "blank", "text"]
)
def test_a_bomb_of_one_line(piece: bytes) -> None:
    """A compressed line of 100 MB is refused as soon as it exceeds the limit."""
    file = _bomb(piece)
    tracemalloc.start()
    try:
        with pytest.raises(ReplyError, match=r"longer than limits\.body"):
            next(read_users(file, MAX_LINE, CancelToken()))
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_LINE
    finally:
        tracemalloc.stop()


def test_one_user_at_a_time() -> None:
    """Memory holds one user at a time."""
    file = _bomb(b'{"email": "' + b"x" * 9_000 + b'"}\n')
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_users(file, MAX_LINE, CancelToken())) == BOMB // 9_014
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_LINE
    finally:
        tracemalloc.stop()


# --- batches ------------------------------------------------------------------------------------------


def test_batches() -> None:
    """Users are read in batches of a megabyte: all of them, in order, and no batch is empty."""
    lines = [(b"x" * 300_000, {"n": n}) for n in range(10)]
    found = [list(batch) for batch in batches(iter(lines), lambda user: user[1]["n"])]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(batches(iter(()), len)) == []
    assert [repr(batch) for batch in batches(iter(lines), str)] == ["<4 users>", "<4 users>", "<2 users>"]
    assert [list(batch) for batch in batches(iter(lines[:4]), lambda user: user[1]["n"])] == [[0, 1, 2, 3]]
