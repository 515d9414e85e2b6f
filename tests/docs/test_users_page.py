"""Check docs/users.md and the help of the two commands; test_docs.py runs the examples."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import environment
from users_helpers import running_in_thread

from braze_segments_async import BrazeSegments, ExportRunningError
from braze_segments_async._users import export as users
from braze_segments_async.cli.app import app
from braze_segments_async.sandbox import Sandbox
from braze_segments_async.sandbox._users import encode_user

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "users.md").read_text()
COMMAND_LINE_PAGE = (ROOT / "docs" / "cli.md").read_text()
ID = Sandbox(1).segment_ids[0]


async def test_the_example_for_a_running_export() -> None:
    """The page's example cancels a running export and starts a new one."""
    example = next(
        found for found in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "except" in found
    )
    async with (
        Sandbox(1, export_delay=1_000) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        first = await client.export_users(ID, fields=["email"])
        body = textwrap.dedent(example).partition("as segments:\n")[2]
        scope: dict[str, Any] = {
            "segment_id": ID,
            "segments": client,
            "ExportRunningError": ExportRunningError,
        }
        exec(f"async def example():\n{body}\n    return export", scope)  # noqa: S102 - code of the page
        export = await scope["example"]()
        assert export.object_prefix != first.object_prefix
        assert [request.status for request in sandbox.requests] == [201, 429, 200, 201]


def test_the_output_of_the_commands(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commands print the output that the page shows."""
    monkeypatch.chdir(tmp_path)
    shown = re.search(r"```console\n\$ (.*?)\n(.*?)\n\$ (.*?) \| head -n 1\n(.*?)\n```", PAGE, re.DOTALL)
    assert shown is not None
    with running_in_thread(Sandbox(1)) as sandbox:
        monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
        monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
        for command in (shown[1], shown[3]):
            with pytest.raises(SystemExit) as ending:
                app(shlex.split(command)[1:])
            assert not ending.value.code
    out, err = capfd.readouterr()
    assert err.splitlines()[0] == shown[2]
    assert out.splitlines()[0] == shown[4]


def test_the_numbers_are_those_of_the_code() -> None:
    """The numbers of the page are those of the code."""
    assert (users._URL_LIFETIME, users._FIRST_POLL, users._MAX_POLL, users._RANGE_SIZE) == (
        4 * 3_600,
        1,
        60,
        2**20,
    )
    for words in ("about four hours", "every second", "once a minute", "a megabyte at a time"):
        assert words in " ".join(PAGE.split())


def test_the_fields_are_those_of_braze() -> None:
    """The page lists the fields that the sandbox knows, which are those of Braze's documentation."""
    listed = set(re.findall(r"`(\w+)`", PAGE.partition("fields are Braze's:")[2].partition("Other names")[0]))
    known: set[str] = set()
    for index in range(200):
        known |= set(json.loads(encode_user(0, ID, index, listed)))
    # What this field contains is not known, so the sandbox leaves it empty.
    assert listed - known == {"created_from"}
    assert known <= listed


@pytest.mark.parametrize("command", ["users", "cancel"])
def test_the_options_are_those_of_the_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The options in docs/cli.md are those of the help."""
    with pytest.raises(SystemExit):
        app([command, "--help"])
    text = capsys.readouterr().out.partition("\nWorkspace:")[0]
    section = COMMAND_LINE_PAGE.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `(--[\w-]+)", section, re.MULTILINE))
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text)) >= documented
    if command == "users":
        assert documented == {
            "--fields",
            "--output",
            "--overwrite",
            "--timeout",
            "--no-wait",
            "--wait-existing",
        }


def test_help_imports_no_command_and_no_extra() -> None:
    """`--help` imports neither the code of the commands nor the packages of the extras."""
    script = (
        "import sys\nfrom braze_segments_async.cli.app import app\n"
        "for command in ('users', 'cancel'):\n"
        "    try: app([command, '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "late = {'duckdb', 'fastapi', 'distributed', 'braze_segments_async.cli.rendering'}\n"
        "print(late & set(sys.modules))"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment()
    )
    assert done.stdout.count("Usage: ") == 2
    assert done.stdout.endswith("set()\n")
