"""Start the benchmark server in a separate process, and read its request counts."""

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

_SERVER = Path(__file__).parent / "fast_server.py"


@contextmanager
def server(*options: str) -> Iterator[str]:
    """Yield the address of a server process."""
    command = [sys.executable, str(_SERVER), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - stdin=PIPE
        assert process.stdout is not None  # noqa: S101
        yield process.stdout.readline().strip()
        process.stdin.close()


def counts(url: str) -> dict[str, int]:
    """Return the number of requests so far: `list`, `details`, and `refused` (429)."""
    with urlopen(f"{url}/stats") as response:  # noqa: S310 - the benchmark server
        requests: dict[str, int] = json.load(response)
    return requests
