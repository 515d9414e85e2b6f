"""`WorkspaceConfig`, and the checks of several: values that hold no key."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.converters import optional

from braze_segments_async._api_keys import read_key
from braze_segments_async._arguments import check_base_url, check_proxy
from braze_segments_async._text import Secret
from braze_segments_async.errors import ConfigError
from braze_segments_async.export import ExportOptions, is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["WorkspaceConfig", "check_distinct", "load_api_keys"]

# A file name on every system, without a meaning to a shell. Without dots, no name is a sibling of another.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)  # with any suffix, too
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # and never a key: Braze writes those in small letters


def _variable(name: str | None) -> str | None:
    """Return the name of a variable; as a secret if it has another form, since it may be a key."""
    return name if name is None else str(name) if _VARIABLE.fullmatch(name) else Secret(name)


@frozen(kw_only=True)
class WorkspaceConfig:
    """A workspace, the place of its key, and the file of its export. It never holds the key.

    Attributes:
        name: Letters, digits, `-` and `_`, for results, messages and tasks on a cluster.
        base_url: The REST endpoint, such as an `Instance`.
        path: The file to write.
        api_key_env: Name of the environment variable with the key, in the process that exports. Give this or
            `api_key_file`.
        api_key_file: File that contains only the key, on the machine that exports.
        proxy: URL of a forward proxy; it may contain a password, and is shown nowhere.
        options: The options of the export.

    Raises:
        ConfigError: An argument is wrong; the message shows nothing that could be a key.
    """

    name: str
    base_url: str
    path: Path = field(converter=Path)
    api_key_env: str | None = field(default=None, converter=_variable)
    api_key_file: Path | None = field(default=None, converter=optional(Path))
    proxy: str | None = field(default=None, converter=optional(Secret))
    options: ExportOptions = ExportOptions()  # noqa: RUF009 - frozen

    def __attrs_post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                "name must be 1 to 100 of the letters a to z, digits, - and _, and not begin with one of the "
                "last two: a file is called after it"
            )
        if _WINDOWS_DEVICE.fullmatch(self.name):
            raise ConfigError(f"name must be another than {self.name}, which is a device on Windows")
        check_base_url(self.base_url)
        check_proxy(self.proxy)
        if (self.api_key_env is None) == (self.api_key_file is None):
            raise ConfigError("say where the key is: in either api_key_env or api_key_file")
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            raise ConfigError(
                "api_key_env must be the name of an environment variable, in capital letters; what is there "
                "is not shown, in case it is a key"
            )

    @property
    def finished(self) -> bool:
        """True if the file exists and no later export to it was interrupted."""
        return is_finished(self.path)

    def read_key(self) -> Secret:
        """Return the key, from the environment or the disk of this process.

        Raises:
            ConfigError: The variable is not set, or the file cannot be read.
        """
        if self.api_key_file is not None:
            return read_key(self.api_key_file)
        key = Secret(os.environ.get(self.api_key_env or "", ""))
        if not key:
            raise ConfigError(f"no API key: the environment variable {self.api_key_env} is not set")
        return key


def check_distinct(configs: Iterable[WorkspaceConfig], keys: Mapping[str, Secret]) -> None:
    """Check that no two workspaces share a rate limit or a file.

    Args:
        configs: The workspaces of one run.
        keys: The known keys, by the names of their workspaces.

    Raises:
        ConfigError: Two workspaces share something; the message names both, and what they share.
    """
    owners: dict[tuple[str, object], str] = {}
    for config in configs:
        marks = {
            "name": config.name.lower(),  # EU.csv and eu.csv are one file on some systems
            "path": config.path,
            "api_key_env": config.api_key_env,
            "api_key_file": config.api_key_file,
            "API key": keys.get(config.name),
        }
        for what, value in marks.items():
            if (what, value) in owners:
                raise ConfigError(
                    f"{owners[what, value]} and {config.name} have the same {what}: leave one of them out"
                )
            if value is not None:
                owners[what, value] = config.name


def load_api_keys(configs: Iterable[WorkspaceConfig]) -> dict[str, Secret]:
    """Return the keys of workspaces by their names. A key that cannot be read is left out.

    Raises:
        ConfigError: Two of them have the same key, name or file.
    """
    keys = {}
    for config in configs:
        with suppress(ConfigError):  # raised again by the export of this workspace alone
            keys[config.name] = config.read_key()
    check_distinct(configs, keys)
    return keys
