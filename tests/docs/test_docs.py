"""Run the examples of the README and the docs, and check the built site."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import textwrap
import tomllib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from doc_runner import PAGES, ROOT, Page, assert_console, blocks
from site_check import problems

import braze_segments_async
from braze_segments_async import BrazeError, BrazeSegments, Limits, RetryPolicy
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PACKAGE = braze_segments_async.__name__
README = (ROOT / "README.md").read_text()
# Tested by test_recipes.py, by tests/integrations and by the tests of FastAPI.
OTHER_TESTS = {
    "airflow_dag.py",
    "dagster_asset.py",
    "dlt_pipeline.py",
    "fastapi_app.py",
    "live_check.py",
    "mcp_server.py",
    "singer_tap.py",
}


def _block(heading: str, language: str = "python") -> str:
    """Return the first code block below a heading of the README."""
    section = README.split(f"{heading}\n", 1)[1]
    return section.split(f"```{language}\n", 1)[1].split("```", 1)[0]


def _use_only(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the environment to the sandbox, and refuse connections to other machines."""
    monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
    getaddrinfo = socket.getaddrinfo

    def local_only(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert host in {None, "127.0.0.1", "localhost"}, f"an example connects to {host}"
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", local_only)


@asynccontextmanager
async def _proxy() -> AsyncIterator[dict[str, str]]:
    """Yield the replacements for docs/proxy.md: a proxy, which must be used, and a certificate file."""
    forwarded = []

    async def forward(request: web.BaseRequest) -> web.Response:
        forwarded.append(request.url)
        headers = {
            name: request.headers[name]
            for name in ("Authorization", "Content-Type")
            if name in request.headers
        }
        async with aiohttp.request(
            request.method, request.url, headers=headers, data=await request.read()
        ) as response:
            headers = {k: v for k, v in response.headers.items() if k.startswith(("X-", "Date"))}
            return web.Response(status=response.status, body=await response.read(), headers=headers)

    runner = web.ServerRunner(web.Server(forward))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    authority = ssl.get_default_verify_paths().cafile
    try:
        yield {
            "http://proxy.example.com:3128": url,
            'os.environ["HTTPS_PROXY"]': repr(url),
            'cafile="/etc/ssl/certs/company-ca.pem"': f"cafile={authority!r}",
        }
    finally:
        await runner.cleanup()
    assert len(forwarded) == 9  # a list of 250 segments and a check


@asynccontextmanager
async def _no_proxy() -> AsyncIterator[dict[str, str]]:
    yield {}


# `make test` runs the examples of the README, and `make docs` all others.
in_docs = pytest.mark.skipif("SITE" not in os.environ, reason="run by make docs")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=() if page == "README.md" else in_docs)
        for page in PAGES
        if any(b.language == "python" for b in blocks(page))
    ],
)
async def test_python_blocks(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every Python block of a page runs and prints the output that the page shows."""
    monkeypatch.chdir(tmp_path)
    size = 30 if page == "README.md" else 250  # the README fetches a year of sizes of every segment
    async with Sandbox(size) as sandbox, _proxy() if page == "docs/proxy.md" else _no_proxy() as replacements:
        _use_only(sandbox, monkeypatch)
        monkeypatch.setenv("BRAZE_KEY_US", sandbox.api_key)  # used in docs/workspaces.md
        names = {"__name__": "page", "segment_id": sandbox.segment_ids[0]}
        await Page(tmp_path, names, replacements).assert_runs(page)


@in_docs
async def test_console_blocks(tmp_path: Path) -> None:
    """The commands of docs/quickstart.md print the output that the page shows."""
    await assert_console("docs/quickstart.md", tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_json_and_toml_blocks(page: str) -> None:
    """Every block marked as JSON or TOML can be parsed."""
    for block in blocks(page):
        if block.language == "json":
            for line in block.text.splitlines():
                assert isinstance(json.loads(line), dict | list)
        elif block.language == "toml":
            assert tomllib.loads(block.text)


def test_the_reference_lists_the_public_names() -> None:
    """The reference lists exactly the public names."""
    modules = ("", ".cache", ".catalogue", ".export", ".sandbox", ".workspaces", ".dask", ".fastapi")
    public = {
        f"{PACKAGE}{suffix}.{name}"
        for suffix in modules
        for name in importlib.import_module(f"{PACKAGE}{suffix}").__all__
    }
    found = []
    for path in (ROOT / "docs" / "reference").glob("*.md"):
        module = ""
        for directive, name in re.findall(r"^\.\. (\w+):: (\S+)", path.read_text(), re.MULTILINE):
            if directive in {"module", "currentmodule"}:
                module = name
            elif directive != "automodule":
                found.append(f"{module}.{name}")
    assert sorted(found) == sorted(public)


async def _run(example: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run code with `await` and `async with` at its top level, and return its variables."""
    body = textwrap.indent(example, "    ")
    scope = dict(names)
    exec(f"async def example():\n{body}\n    return locals()", scope)  # noqa: S102 - code of the README
    result: dict[str, Any] = await scope["example"]()
    return result


@pytest.mark.parametrize("source", ["readme", "docstring"])
async def test_quick_tour(sandbox: Sandbox, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of the README and of the package's docstring runs."""
    lines = _block("## Quick tour")
    if source == "docstring":
        shown = (braze_segments_async.__doc__ or "").split("\n\n", 1)[1].rpartition("\n\n")[0]
        documented = textwrap.dedent(shown)
        assert _without_comments(documented)[2:8] == _without_comments(lines)[2:8]
        lines = documented
    lines = lines.replace('"KEY"', "key").replace('"https://rest.iad-01.braze.com"', "url")
    names: dict[str, Any] = {"key": sandbox.api_key, "url": sandbox.base_url}
    names |= {"BrazeSegments": BrazeSegments, "segment_id": sandbox.segment_ids[0]}
    result = await _run(lines, names)
    assert len(result["sizes"]) == 365
    assert len(capsys.readouterr().out.splitlines()) == 250 + 3 + 250 + 1


def _without_comments(code: str) -> list[str]:
    return [line.partition("  #")[0].rstrip() for line in code.splitlines()]


def test_fastapi_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's service returns 202, and its cache has all segments after the background task."""
    from fastapi.testclient import TestClient  # noqa: PLC0415 - slow to import

    names: dict[str, Any] = {}
    exec(_block("### In an async service") + _block("### In a FastAPI background task"), names)  # noqa: S102
    with subprocess.Popen(
        [sys.executable, "-m", "braze_segments_async", "sandbox", "--port", "0", "--segments", "120"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            for _ in range(2):
                variable, value = _exported(process.stdout.readline)
                monkeypatch.setenv(variable, value)
            with TestClient(names["app"]) as client:
                assert client.post("/refresh").status_code == 202
                assert len(names["app"].state.cache) == 120
                assert client.get(f"/segments/{Sandbox(120).segment_ids[0]}").json()["name"]
        finally:
            process.terminate()


def _exported(readline: Callable[[], str]) -> tuple[str, str]:
    """Return the next `export NAME=value` that the sandbox command prints."""
    while line := readline():
        if match := re.search(r"export (BRAZE_\w+)=(\S+)", line):
            return match[1], shlex.split(match[2])[0]
    raise AssertionError("the sandbox did not print its address")


async def test_pytest_fixture() -> None:
    """The README's pytest fixture yields a client of a sandbox whose third list request fails once."""
    names: dict[str, Any] = {}
    exec(_block("## Testing"), names)  # noqa: S102
    fixture = names["segments"]
    generator = getattr(fixture, "__wrapped__", fixture)()
    client = await anext(generator)
    assert len([s async for s in client.list()]) == 250
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


@in_docs
@pytest.mark.parametrize("example", sorted({p.name for p in (ROOT / "examples").glob("*.py")} - OTHER_TESTS))
async def test_examples(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example runs as a script without a key."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    output = await _python(str(ROOT / "examples" / example))
    assert re.search("(250|1,200) segments", output)


def test_error_table() -> None:
    """The README's table lists all errors with their base classes."""
    rows = re.findall(r"^\| `(\w+Error)` \|[^|]*\|([^|]*)\|$", README, re.MULTILINE)
    assert {name for name, _ in rows} >= {
        name
        for name, value in vars(braze_segments_async).items()
        if isinstance(value, type) and issubclass(value, BrazeError)
    } - {"BrazeError", "StatusError"}
    for name, bases in rows:
        error = getattr(braze_segments_async, name)
        for base in re.findall(r"`(\w+)`", bases):
            expected = getattr(braze_segments_async, base, None) or getattr(__import__("builtins"), base)
            assert issubclass(error, expected)


def test_reliability_numbers() -> None:
    """The numbers in docs/reliability.md are the defaults of the code."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    policy, limits = RetryPolicy(), Limits()
    for row in (
        f"| attempts for one request | {policy.attempts} |",
        f"| backoff | {policy.backoff} s, doubling, capped at {policy.backoff_cap:g} s |",
        f"| wait for the rate limit | {policy.max_rate_limit_wait:g} s; 3,900 s in the command |",
        f"| connecting | {limits.connect:g} s |",
        f"| no data (read timeout) | {limits.read_timeout:g} s |",
        f"| one body, after decompression | {limits.body // 2**20} MiB |",
        f"| pages of one listing | {limits.pages:,} |",
        f"| retries of one client | {limits.retry_quota} tokens: a retry costs 14, a rate-limit pause 5;",
    ):
        assert row in page


@pytest.mark.parametrize("page", PAGES)
def test_links(page: str) -> None:
    """Every relative link points to an existing file."""
    here = (ROOT / page).parent
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text()):
        assert (here / target).exists(), target


@in_docs
def test_the_built_site() -> None:
    """The built site loads nothing from other hosts and has no broken links."""
    assert not problems(ROOT / os.environ["SITE"])


async def _python(*arguments: str) -> str:
    """Run the Python interpreter as a subprocess, and return its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *arguments, stdout=-1, stderr=-1, env=dict(os.environ), cwd=ROOT
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
