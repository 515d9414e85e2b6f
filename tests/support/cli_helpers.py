"""Run the command in a process of its own against a sandbox in this process."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command_server import CommandServer

import braze_segments_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from command_server import CommandProcess

    from braze_segments_async.sandbox import Sandbox

ROOT = Path(braze_segments_async.__file__).parents[1]
COMMAND = (sys.executable, "-m", "braze_segments_async")
KEY = "a-key-that-nobody-may-see"
_server = cache(CommandServer)


def environment(sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
    """Return the environment of a command that uses the sandbox in place of Braze."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("BRAZE_")}
    variables |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    if sandbox is not None:
        variables |= {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
    return variables | more


async def start_command(
    sandbox: Sandbox | None,
    *arguments: str,
    given: str = "",
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    stdout: Any = PIPE,
    stderr: Any = PIPE,
) -> CommandProcess:
    """Start the command with some standard input, and return its process."""
    env = environment(sandbox) if env is None else env
    return await _server().start(
        arguments, env=env, cwd=str(cwd or Path.cwd()), given=given.encode(), stdout=stdout, stderr=stderr
    )


async def run_command(
    sandbox: Sandbox | None, *arguments: str, **options: Any
) -> tuple[int | None, str, str]:
    """Run the command; return exit code, output and error output, neither of which may contain the key."""
    process = await start_command(sandbox, *arguments, **options)
    out, err = await process.communicate()
    assert KEY.encode() not in out + err
    return process.returncode, out.decode(), err.decode()


async def until(condition: Callable[[], object]) -> None:
    """Check a condition repeatedly until it holds."""
    while not condition():  # noqa: ASYNC110 - the sandbox has no event to wait for
        await asyncio.sleep(0.01)


def inside(folder: Path) -> list[Path]:
    """Return the paths of the files in a folder."""
    return list(folder.iterdir())
