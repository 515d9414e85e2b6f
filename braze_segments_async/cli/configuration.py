"""The user's configuration file: workspaces by name, with the places of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from braze_segments_async.workspaces import WorkspaceConfig

__all__ = ["configured_workspaces", "default_path", "find_workspace"]


def default_path() -> Path:
    """Return the path of the user's configuration file, whether it exists or not."""
    import platformdirs  # noqa: PLC0415 - --help does without

    return platformdirs.user_config_path("braze-segments", appauthor=False) / "workspaces.toml"


def configured_workspaces(path: Path) -> tuple[WorkspaceConfig, ...]:
    """Return the workspaces of a configuration file.

    Raises:
        ConfigError: The file cannot be read, or is wrong.
    """
    from braze_segments_async.workspaces import read_workspaces  # noqa: PLC0415 - --help does without

    return read_workspaces(path, output=Path())  # the output is not used here


def find_workspace(name: str | None, path: Path | None) -> WorkspaceConfig | None:
    """Return a workspace of the configuration file.

    Args:
        name: Its name; `None` for the only workspace of the file.
        path: The file; `None` for that of the user.

    Returns:
        The workspace; `None` if neither a name nor a path is given, and the user has no file.

    Raises:
        ConfigError: There is no such file or workspace, or the file has several and no name is given.
    """
    file = path or default_path()
    if name is None and path is None and not file.exists():
        return None
    found = configured_workspaces(file)
    known = f"{escape_control(str(file))} has {', '.join(config.name for config in found)}"
    if name is None:
        if len(found) == 1:
            return found[0]
        raise ConfigError(f"name a workspace with --workspace: {known}")
    for config in found:
        if config.name == name:
            return config
    raise ConfigError(f"there is no workspace {escape_control(name)!r}: {known}")
