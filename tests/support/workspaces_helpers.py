"""What the tests of many workspaces share: sandboxes as workspaces, and the file that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from braze_segments_async.sandbox import Sandbox


def table(**values: str) -> str:
    """A workspace as the file has it."""
    return "[[workspace]]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items())


def write_file(path: Path, sandboxes: Mapping[str, Sandbox]) -> Path:
    """Name sandboxes as workspaces, their keys in variables of the environment."""
    path.write_text(
        "".join(
            table(name=name, base_url=sandbox.base_url, api_key_env=variable(name))
            for name, sandbox in sandboxes.items()
        )
    )
    return path


def keys_in(sandboxes: Mapping[str, Sandbox]) -> dict[str, str]:
    """The variables with the keys."""
    return {variable(name): sandbox.api_key for name, sandbox in sandboxes.items()}


def variable(name: str) -> str:
    """Where the key of a workspace is."""
    return f"KEY_OF_{name.upper()}"
