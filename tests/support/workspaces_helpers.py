"""Helpers of the tests of workspaces: sandboxes as workspaces, and the file that configures them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from braze_segments_async.sandbox import Sandbox


def table(**values: str) -> str:
    """Return the TOML table of a workspace."""
    return "[[workspace]]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items())


def write_file(path: Path, sandboxes: Mapping[str, Sandbox]) -> Path:
    """Write a file that configures sandboxes as workspaces, with their keys in environment variables."""
    path.write_text(
        "".join(
            table(name=name, base_url=sandbox.base_url, api_key_env=variable(name))
            for name, sandbox in sandboxes.items()
        )
    )
    return path


def keys_in(sandboxes: Mapping[str, Sandbox]) -> dict[str, str]:
    """Return the environment variables that contain the keys."""
    return {variable(name): sandbox.api_key for name, sandbox in sandboxes.items()}


def variable(name: str) -> str:
    """Return the name of the environment variable with the key of a workspace."""
    return f"KEY_OF_{name.upper()}"
