"""Where lines go: standard output, or a file that is whole or absent."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING

from braze_segments_async.errors import BrazeError, ConfigError, ExportError
from braze_segments_async.text import plain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

__all__ = ["opened"]

_LOOK_AGAIN = 0.01  # seconds


@contextmanager
def opened(path: Path | None) -> Iterator[Callable[[bytes], Awaitable[None]]]:
    """The function that writes a line to a new file, or to standard output.

    The file gets its name when the block ends well; else there is none.

    Raises:
        ConfigError: something of that name exists.
        ExportError: the file cannot be written.
    """
    if path is None:
        if sys.stdout is None:  # the caller closed it, and its number may be another file's by now
            raise OSError(errno.EBADF, "standard output is closed")
        yield _to_stdout
        return
    shown = plain(str(path))
    if os.path.lexists(path):
        raise ConfigError(f"{shown} exists; name a new file")
    part = path.with_name(f".braze-segments-{token_hex(4)}.part")
    try:
        with part.open("xb") as file:

            async def write(line: bytes) -> None:
                file.write(line)

            yield write
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, BrazeError):  # TimedOutError is both
            raise ExportError(f"cannot write {shown}: {error.strerror or error}") from None
        raise


async def _to_stdout(line: bytes) -> None:
    """Write, but never wait inside a write.

    A pipe whose reader pauses, as `less` does, would stop the event loop: replies would time out unread, and
    Ctrl-C would not be heard.
    """
    file = sys.stdout.fileno()
    if sys.platform == "win32":
        os.write(file, line)
        return
    while line:
        while not select.select((), (file,), (), 0)[1]:  # noqa: ASYNC110 - an event loop cannot watch a plain file
            await asyncio.sleep(_LOOK_AGAIN)
        # What a pipe that reports room takes without waiting.
        line = line[os.write(file, line[: select.PIPE_BUF]) :]
