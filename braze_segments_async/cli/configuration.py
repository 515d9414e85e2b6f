"""The user's configuration file: workspaces by name, with the places of their keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from braze_segments_async._arguments import check_base_url, check_proxy, is_loopback
from braze_segments_async._text import Secret, escape_control
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from braze_segments_async.workspaces import WorkspaceConfig

__all__ = ["configured_workspaces", "default_path", "environment_proxy", "find_workspace"]


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


def environment_proxy(base_url: str) -> Secret | None:
    """Return the proxy of HTTPS_PROXY, unless NO_PROXY lists the host of a REST endpoint or it is loopback.

    Args:
        base_url: The REST endpoint.

    Raises:
        ConfigError: HTTPS_PROXY is not the URL of a proxy. The message does not show it.
    """
    url = check_base_url(base_url)
    proxies = getproxies_environment()
    proxy = proxies.get("https")
    if (
        not proxy
        or is_loopback(url.host or "")
        or proxy_bypass_environment(f"{url.host}:{url.port}", proxies)
    ):
        return None
    found = Secret(proxy if "://" in proxy else f"http://{proxy}")  # curl accepts it without a scheme, too
    try:
        check_proxy(found)
    except ConfigError as error:
        raise ConfigError(error.reason, argument="HTTPS_PROXY") from None
    return found
