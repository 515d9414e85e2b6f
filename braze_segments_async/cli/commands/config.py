"""`braze-segments config`: the configuration file, without a secret."""

from __future__ import annotations

import os
import sys
from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import TYPE_CHECKING, Any

from cyclopts import App

from braze_segments_async._text import escape_control
from braze_segments_async.cli.configuration import configured_workspaces, default_path
from braze_segments_async.cli.help import examples
from braze_segments_async.cli.runner import run
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from braze_segments_async.workspaces import WorkspaceConfig

__all__ = ["config"]

_VARIABLES = ("BRAZE_BASE_URL", "BRAZE_API_KEY")

config = App(
    name="config",
    help="Show the configuration file and its workspaces, without a secret.",
    help_epilogue=examples("config path", "config show --json"),
)


@config.command
def path(*, config: Path | None = None) -> int:
    """Print the path of the configuration file, whether it exists or not.

    Args:
        config: Another configuration file.
    """

    async def work() -> None:
        await to_stdout(f"{config or default_path()}\n".encode(errors="surrogateescape"))

    return run(work())


@config.command
def show(*, json: bool = False, config: Path | None = None) -> int:
    """Show the workspaces of the configuration file, and which one commands use. Sends no request to Braze.

    Exit codes: 0 done, 2 the file is wrong.

    Args:
        json: Print one JSON object.
        config: Another configuration file.
    """

    async def work() -> None:
        from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415 - --help does without

        file = config or default_path()
        found = configured_workspaces(file) if config is not None or file.exists() else ()
        shown = {
            "path": str(file),
            "workspaces": [_shown(each) for each in found],
            "default": _default(found),
        }
        if json:
            await json_to_stdout(f"{to_json(shown)}\n".encode())
        else:
            await to_stdout(_text(shown).encode(sys.stdout.encoding or "utf-8", "replace"))

    return run(work())


def _shown(workspace: WorkspaceConfig) -> dict[str, Any]:
    """Return the fields of a workspace to show."""
    if workspace.api_key_env is not None:
        key = f"environment variable {workspace.api_key_env}"
    else:
        key = f"file {workspace.api_key_file}"
    try:
        # A pipe can be read only once, by the command that needs the key.
        if workspace.api_key_file is None or not workspace.api_key_file.is_fifo():
            workspace.read_key()
        problem = None
    except ConfigError as error:
        problem = str(error)
    return {"name": workspace.name, "base_url": str(workspace.base_url), "api_key": key, "problem": problem}


def _default(found: tuple[WorkspaceConfig, ...]) -> str:
    """Return what commands use without options."""
    if names := [name for name in _VARIABLES if os.environ.get(name)]:
        return f"the environment: {' and '.join(names)}"
    if len(found) == 1:
        return f"workspace {found[0].name}, the only one"
    return "none: name one with --workspace" if found else "none"


def _text(shown: dict[str, Any]) -> str:
    lines = [f"Configuration file: {escape_control(shown['path'])}"]
    for each in shown["workspaces"]:
        state = each["problem"] or "available"
        lines += [
            "",
            each["name"],
            *(
                f"  {escape_control(line, max_length=None)}"
                for line in (f"endpoint  {each['base_url']}", f"API key   {each['api_key']}: {state}")
            ),
        ]
    if not shown["workspaces"]:
        lines.append("The file does not exist. A table for each workspace goes there: see docs/workspaces.md")
    return "\n".join([*lines, "", f"Used without options: {shown['default']}", ""])
