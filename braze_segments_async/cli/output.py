"""Lines to standard output."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys

__all__ = ["to_stdout"]

_LOOK_AGAIN = 0.01  # seconds


async def to_stdout(line: bytes) -> None:
    """Write, but never wait inside a write.

    A pipe whose reader pauses, as `less` does, would stop the event loop: replies would time out unread, and
    Ctrl-C would not be heard.
    """
    if sys.stdout is None:  # the caller closed it, and its number may be another file's by now
        raise OSError(errno.EBADF, "standard output is closed")
    file = sys.stdout.fileno()
    if sys.platform == "win32":
        os.write(file, line)
        return
    while line:
        while not select.select((), (file,), (), 0)[1]:  # noqa: ASYNC110 - an event loop cannot watch a plain file
            await asyncio.sleep(_LOOK_AGAIN)
        # What a pipe that reports room takes without waiting.
        line = line[os.write(file, line[: select.PIPE_BUF]) :]
