"""Lines to standard output: unchanged in a file or pipe, escaped in a terminal."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import select
import sys

from braze_segments_async._text import escape_control

__all__ = ["csv_to_stdout", "in_terminal", "json_to_stdout", "to_stdout"]

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
    file = sys.stdout.fileno()
    if sys.platform == "win32":
        os.write(file, line)
        return
    while line:
        while not select.select((), (file,), (), 0)[1]:  # noqa: ASYNC110 - an event loop cannot watch a plain file
            await asyncio.sleep(_POLL_INTERVAL)
        # A pipe that is ready takes PIPE_BUF bytes without blocking.
        line = line[os.write(file, line[: select.PIPE_BUF]) :]
