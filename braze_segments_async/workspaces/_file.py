"""The TOML file that lists workspaces."""

from __future__ import annotations

import re
import tomllib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from braze_segments_async._api_keys import read_secret
from braze_segments_async._arguments import check_base_url
from braze_segments_async._instances import Instance
from braze_segments_async._text import Secret, escape_control
from braze_segments_async.errors import ConfigError
from braze_segments_async.export import ExportOptions, parse_duration

from ._config import WorkspaceConfig, check_distinct

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["read_workspaces"]

_LIKE_A_KEY = re.compile(r"[0-9A-Fa-f-]{32,}")
_KEYS = ("name", "instance", "base_url", "api_key_env", "api_key_file", "proxy", "resume_within")


def read_workspaces(
    path: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str],
    options: ExportOptions = ExportOptions(),  # noqa: B008 - frozen
) -> tuple[WorkspaceConfig, ...]:
    """Read the workspaces of a TOML file. Their keys are elsewhere, and not read yet.

    Args:
        path: The file: a table `[[workspace]]` for each, with `name`, either `instance` or `base_url`, and
            either `api_key_env` or `api_key_file`; the latter is relative to this file. `resume_within`, as
            "6h", replaces that of the options for its workspace. `proxy` is the URL of a forward proxy
            without a password.
        output: The directory of the files, each named after its workspace, with the suffix of the format.
        options: The options of the exports.

    Returns:
        The workspaces in the order of the file.

    Raises:
        ConfigError: The file cannot be read, or a workspace is wrong; the message names it, and shows nothing
            that could be a key.
    """
    path, output = Path(path), Path(output).absolute()
    shown = escape_control(str(path))
    configs = []
    for number, table in enumerate(_tables(path, shown), 1):
        with _error_prefix(f"{shown}, workspace {number}"):
            configs.append(_config(table, path.absolute().parent, output, options))
    with _error_prefix(shown):
        check_distinct(configs, {})
    return tuple(configs)


@contextmanager
def _error_prefix(place: str) -> Iterator[None]:
    """Put the place in the file in front of the message of a `ConfigError`."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def _tables(path: Path, shown: str) -> list[dict[str, Any]]:
    """Return the `[[workspace]]` tables."""
    text = read_secret(path)
    try:
        found = _as_secrets(tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        place = re.search(r"line \d+, column \d+", str(error))
    else:
        tables = found.pop("workspace", [])
        with _error_prefix(shown):
            _refuse_unknown(found, ("workspace",))
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ConfigError(f"{shown}: write [[workspace]], in two brackets, above each workspace")
        if not tables:
            raise ConfigError(f"{shown} names no workspace: write a [[workspace]] table for each")
        return tables
    # Raised outside of `except`: from Python 3.14 on, the error of tomllib holds the whole text.
    raise ConfigError(f"{shown} is not TOML{f': see {place[0]}' if place else ''}")


def _as_secrets(value: Any) -> Any:
    """Return a value with all texts as secrets: any may be a pasted key, and a traceback shows variables."""
    if isinstance(value, dict):
        return {key: _as_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_secrets(inner) for inner in value]
    return Secret(value) if isinstance(value, str) else value


def _config(table: dict[str, Any], folder: Path, output: Path, options: ExportOptions) -> WorkspaceConfig:
    if "api_key" in table:
        raise ConfigError(
            "no API key goes into this file: name the environment variable that has it in api_key_env, or a "
            "file in api_key_file"
        )
    _refuse_unknown(table, _KEYS)
    table = dict(table)
    if "resume_within" in table:
        options = evolve(options, resume_within=_seconds(table.pop("resume_within")))
    for key, value in table.items():
        if not isinstance(value, str):
            raise ConfigError(f"{key} must be text, in quotes")
    name, api_key_file = str(table.get("name", "")), table.get("api_key_file")
    if api_key_file is not None and _LIKE_A_KEY.fullmatch(api_key_file):
        raise ConfigError("api_key_file must be the name of a file, and what is there looks like a key")
    if "@" in (proxy := table.get("proxy", "")):
        raise ConfigError("proxy must not contain a password in this file: set HTTPS_PROXY for the command")
    return WorkspaceConfig(
        name=name,
        base_url=_base_url(table),
        path=output / f"{name}.{options.format}",
        api_key_env=table.get("api_key_env"),
        api_key_file=None if api_key_file is None else folder / api_key_file,
        proxy=proxy or None,
        options=options,
    )


def _seconds(value: Any) -> Any:
    return parse_duration("resume_within", value) if isinstance(value, str) else value


def _base_url(table: dict[str, Any]) -> str:
    if ("instance" in table) == ("base_url" in table):
        raise ConfigError("say where the workspace is: in either instance or base_url")
    if "base_url" in table:
        return str(check_base_url(table["base_url"]))
    instance = Instance.__members__.get(table["instance"].upper().replace("-", "_"))
    if instance is None:
        known = ", ".join(Instance.__members__).replace("_", "-")
        raise ConfigError(f"instance must be one of {known}; give another by its base_url")
    return instance


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...]) -> None:
    unknown = [escape_control(key) for key in table if key not in known]
    if unknown:
        raise ConfigError(f"unknown {unknown[0]!r}; there is only {', '.join(known)}")
