"""A refused key and a missing permission exit 5 in every command, so that schedulers do not retry."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from cli_helpers import KEY, run_command

from braze_segments_async.cli.runner import error_code
from braze_segments_async.errors import (
    AuthenticationError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "arguments",
    [
        ("export",),
        ("export", "--output", "segments.csv"),
        ("list",),
        ("details", "some-id"),
        ("sizes", "some-id"),
        ("users", "some-id", "--fields", "email"),
        ("cancel", "some-id"),
        ("check",),
    ],
    ids=" ".join,
)
async def test_a_missing_permission_exits_5(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Every command exits 5 if the key lacks the permission that the command needs."""
    async with Sandbox(5, api_key=KEY, permissions=()) as sandbox:
        code, out, err = await run_command(sandbox, *arguments, cwd=tmp_path)
    assert code == 5
    assert "the key lacks" in out or "needs the permission" in err


@pytest.mark.parametrize("command", ["list", "check"])
async def test_a_refused_key_exits_5(command: str) -> None:
    """A key that Braze does not accept exits 5."""
    async with Sandbox(5, api_key="another") as sandbox:
        sandbox.api_key = KEY  # the key that the command sends
        code, out, err = await run_command(sandbox, command)
    assert code == 5
    assert re.search(r"the key is accepted +no$", out, re.MULTILINE) or "not accepted" in err


async def test_check_of_a_host_that_does_not_answer_exits_1() -> None:
    """`check` exits 1 if it cannot say whether the key is accepted, since a retry can help."""
    async with Sandbox(5, api_key=KEY) as sandbox:
        pass
    assert (await run_command(sandbox, "check"))[0] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError(), 5),
        (PermissionDeniedError(), 5),
        (RateLimitedError(), 4),
        (ServerError(), 1),
        (TransportError(), 1),
    ],
    ids=repr,
)
def test_the_code_of_an_error(error: Exception, code: int) -> None:
    """Only errors that a retry cannot help exit 5."""
    assert error_code(error) == code
