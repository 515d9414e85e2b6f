"""One configuration: workspaces by name, their precedence, and the command `config`."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from workspaces_helpers import table

from braze_segments_async.cli.app import app
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

from cli_helpers import run_command

SECRET = "secret-of-the-file"
OTHER = "secret-of-the-environment"


class User:
    """A user with a configuration directory and environment variables."""

    def __init__(self, folder: Path, of_file: Sandbox, of_environment: Sandbox) -> None:
        self.file = folder / "braze-segments" / "workspaces.toml"
        self.file.parent.mkdir()
        self.of_file, self.of_environment = of_file, of_environment
        self.variables = {name: value for name, value in os.environ.items() if not name.startswith("BRAZE_")}
        self.variables |= {"XDG_CONFIG_HOME": str(folder), "KEY_OF_EU": SECRET}

    def write(self, *tables: str, path: Path | None = None) -> None:
        """Write the configuration file."""
        (path or self.file).write_text("".join(tables))

    def eu(self, name: str = "eu", variable: str = "KEY_OF_EU") -> str:
        """Return the table of a workspace that is the sandbox of the file."""
        return table(name=name, base_url=self.of_file.base_url, api_key_env=variable)

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        """Run the command; return exit code, output and errors, neither of which may contain a key."""
        code, out, err = await run_command(self.of_file, *arguments, env=self.variables)
        assert SECRET not in out + err
        assert OTHER not in out + err
        return code, out, err

    def set_environment(self) -> None:
        """Name the sandbox of the environment in the environment."""
        self.variables |= {"BRAZE_API_KEY": OTHER, "BRAZE_BASE_URL": self.of_environment.base_url}


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    """A user with a sandbox of three segments for the file, and one of five for the environment."""
    async with Sandbox(3, api_key=SECRET) as of_file, Sandbox(5, api_key=OTHER) as of_environment:
        yield User(tmp_path, of_file, of_environment)


@pytest.mark.parametrize("arguments", [(), ("--workspace", "eu")])
async def test_a_workspace_of_the_users_file(user: User, arguments: tuple[str, ...]) -> None:
    """`--workspace` names a workspace of the file; the only one needs no name."""
    user.write(user.eu())
    code, out, _ = await user.run("list", *arguments)
    assert (code, len(out.splitlines())) == (0, 3)


async def test_another_file(user: User, tmp_path: Path) -> None:
    """`--config` names another file; a name is necessary if it has several workspaces."""
    user.write(user.eu("a"), user.eu("b", "OTHER_KEY"), path=tmp_path / "other.toml")
    arguments = ("--config", str(tmp_path / "other.toml"))
    assert (await user.run("list", *arguments, "--workspace", "a"))[0] == 0
    code, _, err = await user.run("list", *arguments)
    assert (code, err) == (
        2,
        f"braze-segments: name a workspace with --workspace: {tmp_path / 'other.toml'} has a, b\n",
    )
    code, _, err = await user.run("list", *arguments, "--workspace", "c")
    assert code == 2
    assert f"there is no workspace 'c': {tmp_path / 'other.toml'} has a, b" in err


async def test_precedence(user: User) -> None:
    """An option has precedence over the environment, and the environment over the file."""
    user.write(user.eu())
    user.set_environment()
    for arguments, number in (((), 5), (("--workspace", "eu"), 3)):
        code, out, _ = await user.run("list", *arguments)
        assert (code, len(out.splitlines())) == (0, number)
    user.variables["BRAZE_BASE_URL"] = "http://127.0.0.1:9"
    assert (await user.run("list", "--base-url", user.of_environment.base_url))[0] == 0


async def test_a_key_is_not_sent_to_an_endpoint_of_another_source(user: User) -> None:
    """Neither a key nor an endpoint of the environment is combined with the file."""
    user.write(user.eu())
    user.variables["BRAZE_BASE_URL"] = user.of_environment.base_url
    code, _, err = await user.run("list")
    assert code == 2
    assert "no API key: set BRAZE_API_KEY" in err
    assert user.of_environment.requests == []
    assert (await user.run("list", "--workspace", "eu"))[0] == 0


async def test_options_replace_parts_of_a_workspace(user: User, tmp_path: Path) -> None:
    """With `--workspace`, options replace its endpoint and its key."""
    user.write(table(name="eu", base_url="http://127.0.0.1:9", api_key_env="NOT_SET"))
    (key := tmp_path / "key").write_text(SECRET)
    options = ("--base-url", user.of_file.base_url, "--api-key-file", str(key))
    assert (await user.run("list", "--workspace", "eu", *options))[0] == 0


async def test_config_show(user: User) -> None:
    """`config show` shows endpoints and places of keys, whether the keys exist, and no key."""
    _, out, _ = await user.run("config", "path")
    assert out == f"{user.file}\n"
    code, out, _ = await user.run("config", "show")
    assert code == 0
    assert "The file does not exist" in out
    user.write(user.eu(), table(name="us", instance="US-01", api_key_file="keys/us"))
    code, out, _ = await user.run("config", "show")
    assert code == 0
    assert "API key   environment variable KEY_OF_EU: available" in out
    assert "keys/us: No such file" in out
    assert out.endswith("Used without options: none: name one with --workspace\n")
    user.set_environment()
    shown = json.loads((await user.run("config", "show", "--json"))[1])
    assert [each["name"] for each in shown["workspaces"]] == ["eu", "us"]
    assert [each["problem"] is None for each in shown["workspaces"]] == [True, False]
    assert shown["default"] == "the environment: BRAZE_BASE_URL and BRAZE_API_KEY"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workspace", "eu"), "workspaces.toml: No such file"),
        (("--config", "none.toml"), "cannot read none.toml: No such file"),
        (("--workspace", "eu", "--env-file", ".env"), "--workspace and --env-file"),
        (("--workspace", "eu", "--sandbox"), "leave --workspace out"),
        ((), "no API key and no REST endpoint: set BRAZE_API_KEY and BRAZE_BASE_URL"),
    ],
)
def test_wrong_use(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A missing file and contradictory options exit 2 with one line."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    monkeypatch.delenv("BRAZE_BASE_URL", raising=False)
    with pytest.raises(SystemExit) as ending:
        app(["list", *arguments])
    err = capsys.readouterr().err
    assert (ending.value.code, len(err.splitlines())) == (2, 1)
    assert message in err
