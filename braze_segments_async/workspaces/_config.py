"""A workspace and what is to be written of it, as values that hold no key."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen
from attrs.converters import optional

from braze_segments_async._api_keys import read_key
from braze_segments_async._arguments import check_base_url
from braze_segments_async._text import Secret
from braze_segments_async.errors import ConfigError
from braze_segments_async.export import ExportOptions, is_finished

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["WorkspaceConfig", "check_distinct", "load_api_keys"]

# A file name on every system, and nothing to a shell. Without dots, no file is beside the file of another.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_WINDOWS_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])", re.IGNORECASE)  # with any suffix, too
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # and never a key: Braze writes those in small letters


def _variable(name: str | None) -> str | None:
    """The name of a variable as it is; anything else may be a key, so that no traceback is to show it."""
    return name if name is None else str(name) if _VARIABLE.fullmatch(name) else Secret(name)


@frozen(kw_only=True)
class WorkspaceConfig:
    """A workspace, and where its export goes. It says where the key is, and never holds it.

    Attributes:
        name: letters, digits, `-` and `_`: what it is called in results, messages and on a cluster.
        base_url: the REST endpoint, such as an `Instance`.
        path: the file to write.
        api_key_env: the environment variable that has the key, in the process that exports; or else …
        api_key_file: … a file that holds the key and nothing else, on the machine that exports.
        options: what is written, and how.

    Raises:
        ConfigError: an argument is wrong; the message shows nothing that could be a key.
    """

    name: str
    base_url: str
    path: Path = field(converter=Path)
    api_key_env: str | None = field(default=None, converter=_variable)
    api_key_file: Path | None = field(default=None, converter=optional(Path))
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
        if (self.api_key_env is None) == (self.api_key_file is None):
            raise ConfigError("say where the key is: in either api_key_env or api_key_file")
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            raise ConfigError(
                "api_key_env must be the name of an environment variable, in capital letters; what is there "
                "is not shown, in case it is a key"
            )

    @property
    def finished(self) -> bool:
        """Whether the file is there, and no later export to it was interrupted."""
        return is_finished(self.path)

    def read_key(self) -> Secret:
        """The key, from the environment or the disk of the process that asks for it.

        Raises:
            ConfigError: it is not there.
        """
        if self.api_key_file is not None:
            return read_key(self.api_key_file)
        key = Secret(os.environ.get(self.api_key_env or "", ""))
        if not key:
            raise ConfigError(f"no API key: the environment variable {self.api_key_env} is not set")
        return key


def check_distinct(configs: Iterable[WorkspaceConfig], keys: Mapping[str, Secret]) -> None:
    """Refuse workspaces that would spend one allowance twice, or write one file.

    Args:
        configs: of one run.
        keys: those that are known, by the names of their workspaces.

    Raises:
        ConfigError: names two of them, and what they share.
    """
    taken: dict[tuple[str, object], str] = {}
    for config in configs:
        marks = {
            "name": config.name.lower(),  # EU.csv and eu.csv are one file on some systems
            "path": config.path,
            "api_key_env": config.api_key_env,
            "api_key_file": config.api_key_file,
            "API key": keys.get(config.name),
        }
        for what, value in marks.items():
            if (what, value) in taken:
                raise ConfigError(
                    f"{taken[what, value]} and {config.name} have the same {what}: leave one of them out"
                )
            if value is not None:
                taken[what, value] = config.name


def load_api_keys(configs: Iterable[WorkspaceConfig]) -> dict[str, Secret]:
    """The keys of workspaces by their names, once each is seen to be another.

    Raises:
        ConfigError: two of them have the same key, name or file.
    """
    keys = {}
    for config in configs:
        with suppress(ConfigError):  # which is for this workspace alone to tell, where it is exported
            keys[config.name] = config.read_key()
    check_distinct(configs, keys)
    return keys
