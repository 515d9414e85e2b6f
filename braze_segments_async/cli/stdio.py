"""Lines to standard output: unchanged in a file or pipe, escaped in a terminal."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import shlex
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from braze_segments_async._text import escape_control

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["csv_to_stdout", "in_terminal", "json_to_stdout", "pager", "to_stdout"]

_POLL_INTERVAL = 0.01  # seconds
_LINE_END = "\r\n"


def in_terminal() -> bool:
    """Return whether standard output is a terminal, and not a file or a pipe."""
    return sys.stdout is not None and sys.stdout.isatty()


async def json_to_stdout(line: bytes) -> None:
    r"""Write a line of JSON. In a terminal, characters that could control it become JSON escapes: `\u009b`.

    The value of the JSON stays the same.
    """
    await to_stdout(_escape_json(line) if in_terminal() else line)


async def csv_to_stdout(line: bytes) -> None:
    r"""Write a line of CSV. In a terminal, characters that could control it are shown as escapes: `\x9b`.

    This changes the text, as CSV has no escapes; files and pipes get the exact text.
    """
    await to_stdout(_escape_csv(line) if in_terminal() else line)


def _escape_json(line: bytes) -> bytes:
    return b"".join(
        (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1]).encode() for c in line.decode()
    )


def _escape_csv(line: bytes) -> bytes:
    return (escape_control(line.decode().removesuffix(_LINE_END), max_length=None) + _LINE_END).encode()


async def to_stdout(line: bytes) -> None:
    """Write bytes without blocking the event loop.

    A pipe whose reader pauses, as `less` does, would block it: responses would time out unread, and Ctrl-C
    would have no effect.
    """
    if sys.stdout is None:  # the caller closed it, and its descriptor may be another file's by now
        raise OSError(errno.EBADF, "standard output is closed")
    await _write(sys.stdout.fileno(), line)


@asynccontextmanager
async def pager() -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """Start $PAGER, by default `less`, if a person can use it; yield the function that writes to it.

    `less` ends at once if the output fits the screen. At the end of the block, wait until the pager is left.
    """
    command = shlex.split(os.environ.get("PAGER", "less"))
    usable = in_terminal() and sys.stdin is not None and sys.stdin.isatty()
    if not usable or not command or os.environ.get("TERM") == "dumb" or shutil.which(command[0]) is None:
        yield to_stdout
        return
    process = subprocess.Popen(  # noqa: ASYNC220, S603 - starts at once; it is the user's own command
        command, stdin=subprocess.PIPE, env={"LESS": "FRX", **os.environ}
    )
    assert process.stdin is not None  # noqa: S101 - stdin=PIPE
    file = process.stdin.fileno()
    try:
        yield lambda text: _write(file, text)
    finally:
        process.stdin.close()
        process.wait()


async def _write(file: int, line: bytes) -> None:
    if sys.platform == "win32":
        os.write(file, line)
        return
    while line:
        while not select.select((), (file,), (), 0)[1]:  # noqa: ASYNC110 - an event loop cannot watch a plain file
            await asyncio.sleep(_POLL_INTERVAL)
        # A pipe that is ready takes PIPE_BUF bytes without blocking.
        line = line[os.write(file, line[: select.PIPE_BUF]) :]
