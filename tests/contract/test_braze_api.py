"""The npm package `braze-api`, as a client in another language, against `braze-segments sandbox`.

`make contract` installs it.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from cli_helpers import COMMAND, environment
from node_tools import node_module

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"


def _program() -> str:
    """Return the program in docs/testing.md."""
    return DOCS.read_text(encoding="utf-8").split("```js\n")[1].split("```")[0]


async def _run(*faults: str) -> tuple[int | None, str, str]:
    """Run the program against the command; return its exit code and output, and the log of the command."""
    modules = node_module("braze-api").parent
    command = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", "--log", *faults, stdout=PIPE, stderr=PIPE, env=environment()
    )
    assert command.stdout is not None
    try:
        output = ""
        while "BRAZE_API_KEY=" not in output:
            output += (await command.stdout.readline()).decode()
        exports = dict(line[7:].split("=", 1) for line in output.splitlines() if line.startswith("export "))
        node = await asyncio.create_subprocess_exec(
            "node",
            "-e",
            _program(),
            stdout=PIPE,
            stderr=PIPE,
            env=environment() | exports,
            cwd=modules.parent,
        )
        out, err = await node.communicate()
    finally:
        command.terminate()
        log = (await command.communicate())[1].decode()
    return node.returncode, (out or err).decode(), log


async def test_a_foreign_client_lists_segments() -> None:
    """The program of the docs prints the segments of the sandbox, and the log shows its requests."""
    code, output, log = await _run()
    assert code == 0, output
    result: dict[str, Any] = json.loads(output)
    assert result["segments"] == 250
    assert result["message"] == "success"
    assert log.count("GET /segments/list") == 3
    assert log.count("200 GET") == 4


async def test_a_foreign_client_sees_faults() -> None:
    """With `--fault 503@list:2` the program fails at the second page, as it would with Braze."""
    code, output, log = await _run("--fault", "503@list:2")
    assert code == 1
    assert "Service Unavailable" in output
    assert "503 GET /segments/list?page=1" in log
