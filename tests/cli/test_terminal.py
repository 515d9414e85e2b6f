"""Text from Braze cannot control a terminal in any command or format; files and pipes get it unchanged."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import re
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import environment, run_command, start_command

from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

HOSTILE = {
    "OSC 52 writes the clipboard": "\x1b]52;c;cHduZWQ=\x07",
    "CSI clears the screen": "\x1b[2J\x1b[H",
    "C1 forms of both": "\x9b2J\x9d52;c;cHduZWQ=\x9c",
    "DEL and backspaces": "abc\x7f\x08\x08",
    "line ends": "a\nb\r\nc\rd\u2028e\u2029f\x85g",
    "bidirectional marks": "\u202egnp.exe\u202c \u2066x\u2069 \u200f",
    "NUL, XON, SO, tabs": "\x00\x13\x0e\t\x0b\x0c",
    "a formula": '=cmd|"/c calc"!A1\x1b[2J',
    "invisible": "a\u200bb\ufeffc\u00add",
    "plain": "VIP, 90 days 日本 🔥",
}
NAMES = [*HOSTILE.values()]


@pytest.fixture
async def braze() -> AsyncIterator[Sandbox]:
    """A sandbox with one segment for each name, which is also its note and its tag."""
    async with Sandbox(len(NAMES), users=3) as sandbox:
        for segment_id, name in zip(sandbox.segment_ids, NAMES, strict=True):
            sandbox.rename(segment_id, name)
            body = sandbox.details(segment_id) | {"text_description": name, "tags": [name], "new": name}
            sandbox.inject(Answer(body=body), endpoint="details", segment_id=segment_id)
        yield sandbox


async def run_in_terminal(sandbox: Sandbox, *arguments: str, codes: Sequence[int] = (0,)) -> str:
    """Run the command in a terminal, and return its output without bold and faint."""
    controller, terminal = pty.openpty()
    env = environment(sandbox, TERM="xterm", NO_COLOR="1", COLUMNS="200")
    process = await start_command(sandbox, *arguments, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    text = (await asyncio.to_thread(_read_terminal, controller)).decode()
    os.close(controller)
    assert await process.wait() in codes
    return re.sub(r"\x1b\[[012]m", "", re.sub(r"\r+\n", "\n", text))


def _read_terminal(terminal: int) -> bytes:
    text = b""
    while True:
        try:
            text += os.read(terminal, 65_536)
        except OSError:  # the command has ended
            return text


def unprintable(text: str) -> set[str]:
    """Return the characters that may control a terminal."""
    return {char for char in text if not char.isprintable()} - {"\n"}


IDS = Sandbox(len(NAMES)).segment_ids
COMMANDS: dict[str, tuple[str, ...]] = {
    "export as NDJSON": ("export", "--quiet"),
    "export as CSV": ("export", "--quiet", "--format", "csv"),
    "export as CSV for spreadsheets": ("export", "--quiet", "--format", "csv", "--csv-safe"),
    "export to -": ("export", "--verbose", "-o", "-"),
    "list": ("list",),
    "list as NDJSON": ("list", "--json"),
    "details of one": ("details", IDS[2]),
    "details of one as NDJSON": ("details", IDS[2], "--json"),
    "details of many": ("details", *IDS),
    "sizes": ("sizes", *IDS[:2], "--days", "2"),
    "sizes as NDJSON": ("sizes", *IDS[:2], "--days", "2", "--json"),
    "check": ("check",),
    "check as JSON": ("check", "--json"),
    "users": ("users", IDS[0], "--fields", "email,first_name"),
    "users without waiting": ("users", IDS[0], "--fields", "email", "--no-wait"),
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_output_cannot_control_the_terminal(braze: Sandbox, command: str) -> None:
    """A terminal gets only printable characters of names, notes, tags and prefixes."""
    everything = "".join(NAMES)
    started_export = {"message": "success", "object_prefix": everything}
    if command == "users without waiting":
        braze.inject(Answer(body=started_export), endpoint="users")
    shown = await run_in_terminal(braze, *COMMANDS[command])
    assert shown
    assert not unprintable(shown)


@pytest.mark.parametrize("status", [400, 503])
async def test_errors_cannot_control_the_terminal(status: int) -> None:
    """Error messages from Braze are escaped on standard error."""
    body = {"message": "".join(NAMES[:5])}
    async with Sandbox(1) as sandbox:
        sandbox.inject(Answer(status, body, headers={"Retry-After": "9999"}), endpoint="details")
        shown = await run_in_terminal(sandbox, "details", sandbox.segment_ids[0], codes=[1])
    assert r"\x1b]52" in shown
    assert not unprintable(shown)


async def test_ndjson_in_a_terminal_parses_to_the_exact_text(braze: Sandbox) -> None:
    r"""NDJSON in a terminal is escaped as JSON, such as `\u009b`, so that it parses to the exact text."""
    shown = await run_in_terminal(braze, "export", "--quiet")
    assert r"\u009b2J\u009d52;c;" in shown
    assert r"\u007f" in shown
    assert r"\u202egnp.exe" in shown
    lines = [json.loads(line) for line in shown.splitlines()]
    assert [line["name"] for line in lines] == NAMES
    assert [line["tags"] for line in lines] == [[name] for name in NAMES]


@pytest.mark.parametrize("more", [(), ("--csv-safe",)])
async def test_csv_in_a_terminal_shows_escapes(braze: Sandbox, more: tuple[str, ...]) -> None:
    """CSV in a terminal has a line for each segment, with control characters shown as escapes."""
    shown = await run_in_terminal(braze, "export", "--quiet", "--format", "csv", *more)
    header, *rows = csv.reader(io.StringIO(shown))
    assert len(rows) == len(NAMES) == len(shown.splitlines()) - 1
    name, note = header.index("name"), header.index("text_description")
    apostrophe = "'" if more else ""
    assert rows[0][name] == rows[0][note] == r"\x1b]52;c;cHduZWQ=\x07"
    assert rows[2][name] == r"\x9b2J\x9d52;c;cHduZWQ=\x9c"
    assert rows[3][name] == r"abc\x7f\x08\x08"
    assert rows[4][name] == r"a\nb\r\nc\rd\u2028e\u2029f\x85g"
    assert rows[5][name].startswith(r"\u202egnp.exe")
    assert rows[7][name] == apostrophe + r'=cmd|"/c calc"!A1\x1b[2J'
    assert rows[9][name] == NAMES[9]


async def test_a_pipe_gets_the_exact_text(braze: Sandbox) -> None:
    """A pipe gets the names without escapes."""
    code, out, _ = await run_command(braze, "export", "--quiet", "--format", "csv")
    assert code == 0
    header, *rows = csv.reader(io.StringIO(out, newline=""))
    assert [row[header.index("name")] for row in rows] == NAMES
    code, out, _ = await run_command(braze, "export", "--quiet")
    assert code == 0
    assert [json.loads(line)["name"] for line in out.split("\n")[:-1]] == NAMES
    assert "\x9b2J\x9d52" in out
    assert "\u202egnp.exe" in out


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
async def test_a_file_gets_the_exact_text(braze: Sandbox, tmp_path: Path, kind: str) -> None:
    """A file gets the same bytes, whether or not the command runs in a terminal."""
    for name in ("terminal", "pipe"):
        target = str(tmp_path / f"{name}.{kind}")
        if name == "pipe":
            await run_command(braze, "export", "--quiet", "-o", target)
        else:
            await run_in_terminal(braze, "export", "--quiet", "-o", target)
    written = (tmp_path / f"terminal.{kind}").read_bytes()
    assert written == (tmp_path / f"pipe.{kind}").read_bytes()
    assert "\u202egnp.exe".encode() in written


@pytest.mark.parametrize("more", [(), ("--json",)])
async def test_diff_in_a_terminal(tmp_path: Path, more: tuple[str, ...]) -> None:
    """`diff` escapes names, notes and tags in a terminal, as text and as NDJSON."""
    rows: list[dict[str, Any]] = [{"id": name, "name": name, "tags": [name]} for name in NAMES]
    for file, tag in (("old", "x"), ("new", "\x9b2J")):
        lines = [json.dumps(row | {"tags": [*row["tags"], tag], "text_description": tag}) for row in rows]
        (tmp_path / f"{file}.ndjson").write_text("\n".join(lines))
    async with Sandbox(1) as sandbox:
        files = (str(tmp_path / "old.ndjson"), str(tmp_path / "new.ndjson"))
        shown = await run_in_terminal(sandbox, "diff", *files, *more, codes=[1])
    assert not unprintable(shown)
    assert (r"\u009b2J" if more else r"\x9b2J") in shown
