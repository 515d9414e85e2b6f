"""The real command in a process of its own, against a sandbox in this one."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import braze_segments_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async.sandbox import Sandbox

ROOT = Path(braze_segments_async.__file__).parents[1]
COMMAND = (sys.executable, "-m", "braze_segments_async")
KEY = "a-key-that-nobody-may-see"


def environment(sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
    """The variables of this process, with the sandbox for a Braze."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BRAZE_")}
    ours |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    if sandbox is not None:
        ours |= {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
    return ours | more


async def started(sandbox: Sandbox, *arguments: str, **options: Any) -> Process:
    """Start the command."""
    options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, "env": environment(sandbox), **options}
    return await asyncio.create_subprocess_exec(*COMMAND, *arguments, **options)


async def ran(sandbox: Sandbox, *arguments: str, **options: Any) -> tuple[int | None, str, str]:
    """Run the command: exit code, output, errors; the key is in neither."""
    process = await started(sandbox, *arguments, **options)
    out, err = await process.communicate()
    assert KEY.encode() not in (out or b"") + (err or b"")
    return process.returncode, (out or b"").decode(), (err or b"").decode()


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    while not condition():  # noqa: ASYNC110 - the sandbox announces nothing
        await asyncio.sleep(0.01)


def inside(folder: Path) -> list[Path]:
    """What is in a folder."""
    return list(folder.iterdir())
