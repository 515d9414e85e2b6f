"""The command sends its requests through the proxy of `--proxy`, HTTPS_PROXY or the configuration file."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from cli_helpers import environment, run_command
from workspaces_helpers import keys_in, table

from braze_segments_async import ConfigError
from braze_segments_async.cli.configuration import environment_proxy
from braze_segments_async.sandbox import Sandbox
from braze_segments_async.workspaces import read_workspaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BRAZE = "https://rest.iad-01.braze.com"
PASSWORD = "s3cret-pass"


@asynccontextmanager
async def forward_proxy(lines: list[str]) -> AsyncIterator[str]:
    """Serve a proxy that forwards plain HTTP, refuses tunnels, and notes the first line of each request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            lines.append(f"{method} {target}")
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            else:
                host, path = target.removeprefix("http://").split("/", 1)
                name, port = host.split(":")
                upstream, to_upstream = await asyncio.open_connection(name, int(port))
                first, rest = head.split(b"\r\n", 1)
                del first
                to_upstream.write(f"GET /{path} HTTP/1.1\r\nConnection: close\r\n".encode() + rest)
                writer.write(await upstream.read())
                to_upstream.close()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_option_names_a_proxy() -> None:
    """`--proxy` sends the requests through the proxy, also those to this machine."""
    lines: list[str] = []
    async with Sandbox(3) as sandbox, forward_proxy(lines) as proxy:
        code, out, _ = await run_command(sandbox, "list", "--proxy", proxy)
        assert (code, len(out.splitlines())) == (0, 3)
        assert lines
        assert all(line.startswith(f"GET {sandbox.base_url}/segments/list") for line in lines)


async def test_the_environment_names_a_proxy() -> None:
    """HTTPS_PROXY opens a tunnel to the cluster, whose name may be given as base URL, and sends it no key."""
    lines: list[str] = []
    async with Sandbox(0) as sandbox, forward_proxy(lines) as proxy:
        variables = environment(sandbox, HTTPS_PROXY=proxy)
        assert (await run_command(sandbox, "list", env=variables))[0] == 0
        assert lines == []  # the sandbox is on this machine
        code, _, _ = await run_command(sandbox, "check", "--base-url", "US-01", env=variables)
    assert code == 1
    assert set(lines) == {"CONNECT rest.iad-01.braze.com:443"}


async def test_many_workspaces(tmp_path: Path) -> None:
    """`--proxy` applies to each workspace; a workspace of the file may have a proxy of its own."""
    lines: list[str] = []
    async with Sandbox(3, api_key="a") as sandbox, forward_proxy(lines) as proxy:
        file = tmp_path / "w.toml"
        more = {"name": "a", "base_url": sandbox.base_url, "api_key_env": "KEY_OF_A"}
        variables = environment(None, **keys_in({"a": sandbox}))
        for own, option in ((proxy, ()), ("", ("--proxy", proxy))):
            file.write_text(table(**more, **({"proxy": own} if own else {})))
            where = ("--workspaces", str(file), "--output", str(tmp_path), "--overwrite")
            code, out, _ = await run_command(sandbox, "export", *where, *option, env=variables)
            assert (code, json.loads(out)["rows"]) == (0, 3)
            assert lines
            lines.clear()


@pytest.mark.parametrize(
    ("variables", "base_url", "expected"),
    [
        ({}, BRAZE, None),
        ({"HTTPS_PROXY": "http://p:1"}, BRAZE, "http://p:1"),
        ({"https_proxy": "http://p:1"}, BRAZE, "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, BRAZE, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "US-01", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, BRAZE, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, BRAZE, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example, .braze.com"}, BRAZE, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "rest.iad-01.braze.com:443"}, BRAZE, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "braze.eu"}, BRAZE, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "https://127.0.0.1:5", None),
    ],
)
def test_variables(
    variables: dict[str, str], base_url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY names the proxy, in either case, and NO_PROXY the hosts without one."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(base_url) == expected


def test_a_wrong_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong HTTPS_PROXY is an error that names the variable, and shows no password."""
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://ada:{PASSWORD}@p:1")
    with pytest.raises(ConfigError, match="HTTPS_PROXY must be a URL with http") as caught:
        environment_proxy(BRAZE)
    assert PASSWORD not in str(caught.value)


def test_a_password_in_the_file(tmp_path: Path) -> None:
    """A proxy with a password is refused in a workspaces file, and not shown."""
    proxy = f"http://ada:{PASSWORD}@p:1"
    text = table(name="a", instance="US-01", api_key_env="A", proxy=proxy)
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(ConfigError, match="workspace 1: proxy must not contain a password") as caught:
        read_workspaces(tmp_path / "w.toml", output=tmp_path)
    assert PASSWORD not in str(caught.value)
