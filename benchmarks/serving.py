"""The server, started in a process of its own, and what it says it was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["counts", "server"]

_SERVER = Path(__file__).parent / "server.py"


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Start a server process; its address."""
    command = [sys.executable, str(_SERVER), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
        assert process.stdout is not None  # noqa: S101
        yield process.stdout.readline().strip()
        process.stdin.close()


def counts(url: str) -> dict[str, int]:
    """How many requests the server answered and refused so far: `list`, `details`, `refused`."""
    with urlopen(f"{url}/stats") as reply:  # noqa: S310 - our own server
        told: dict[str, int] = json.load(reply)
    return told
