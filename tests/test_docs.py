"""What the README and the docs show is run, as it stands there."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import braze_segments_async
from braze_segments_async import BrazeError, BrazeSegments, Limits, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from braze_segments_async.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
OF_RECIPES = {"airflow_dag.py", "dagster_asset.py", "dlt_pipeline.py"}  # see test_recipes.py


def _block(heading: str, language: str = "python") -> str:
    """The first code block below a heading of the README."""
    section = README.split(f"{heading}\n", 1)[1]
    return section.split(f"```{language}\n", 1)[1].split("```", 1)[0]


@pytest.fixture
def in_env(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, as the environment's two variables name a Braze."""
    monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
    return sandbox


async def _run(example: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a piece with `await` and `async with` at its top level."""
    body = textwrap.indent(example, "    ")
    scope = dict(names)
    exec(f"async def example():\n{body}\n    return locals()", scope)  # noqa: S102 - our own README
    result: dict[str, Any] = await scope["example"]()
    return result


@pytest.mark.parametrize("source", ["readme", "docstring"])
async def test_ten_lines(sandbox: Sandbox, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The ten lines at the top of the README, and of the package's docstring, work."""
    lines = _block("## Ten lines")
    if source == "docstring":
        shown = (braze_segments_async.__doc__ or "").split("\n\n", 1)[1].rpartition("\n\n")[0]
        documented = textwrap.dedent(shown)
        assert documented.splitlines()[2:8] == lines.splitlines()[2:8]
        lines = documented
    lines = lines.replace('"KEY"', "key").replace('"https://rest.iad-01.braze.com"', "url")
    names: dict[str, Any] = {"key": sandbox.api_key, "url": sandbox.base_url}
    names |= {"BrazeSegments": BrazeSegments, "segment_id": sandbox.segment_ids[0]}
    result = await _run(lines, names)
    assert len(result["sizes"]) == 365
    assert len(capsys.readouterr().out.splitlines()) == 250 + 3 + 250 + 1


async def test_script(in_env: Sandbox) -> None:
    """The README's script prints every segment."""
    script = _block("### In a script")
    done = await _python("-c", script)
    assert len(done.splitlines()) == 250
    assert in_env.count("details") == 250


async def test_into_a_file(in_env: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The README's export leaves the whole file."""
    monkeypatch.chdir(tmp_path)
    result = await _run(_block("## Into a file"), {"BrazeSegments": BrazeSegments})
    assert result["result"].rows == in_env.count("details") == 250
    assert (tmp_path / "segments.parquet").stat().st_size > 10_000


def test_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's service answers at once and has the catalogue in its cache after the background task."""
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
        finally:
            process.terminate()


def _exported(readline: Callable[[], str]) -> tuple[str, str]:
    """The next `export NAME=value` of the sandbox command."""
    while line := readline():
        if match := re.search(r"export (BRAZE_\w+)=(\S+)", line):
            return match[1], shlex.split(match[2])[0]
    raise AssertionError("the sandbox did not say how to reach it")


async def test_pytest_fixture() -> None:
    """The README's pytest fixture gives a client of a sandbox whose third list request fails once."""
    names: dict[str, Any] = {}
    exec(_block("## A Braze on your own machine"), names)  # noqa: S102
    fixture = names["segments"]
    generator = getattr(fixture, "__wrapped__", fixture)()
    client = await anext(generator)
    assert len([s async for s in client.list()]) == 250
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


@pytest.mark.parametrize("example", sorted({p.name for p in (ROOT / "examples").glob("*.py")} - OF_RECIPES))
async def test_examples(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example runs by one command, with no key."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    output = await _python(str(ROOT / "examples" / example))
    assert "250 segments" in output


def test_error_table() -> None:
    """The README's table of errors has all of them, with their real bases."""
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
    """The numbers in the docs are the defaults in the code."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    policy, limits = RetryPolicy(), Limits()
    for row in (
        f"| attempts for one request | {policy.attempts} |",
        f"| backoff | {policy.backoff} s, doubling, capped at {policy.backoff_cap:g} s |",
        f"| wait for the rate limit | {policy.max_rate_limit_wait:g} s; 3,900 s in the command |",
        f"| connecting | {limits.connect:g} s |",
        f"| silence | {limits.silence:g} s |",
        f"| one body, after decompression | {limits.body // 2**20} MiB |",
        f"| pages of one walk | {limits.pages:,} |",
        f"| retries of one client | {limits.retry_quota} tokens: a retry costs 14, a rate-limit pause 5;",
    ):
        assert row in page


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links(page: str) -> None:
    """Every relative link leads to a file that is there."""
    here = (ROOT / page).parent
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text()):
        assert (here / target).exists(), target


async def _python(*arguments: str) -> str:
    """Run our interpreter beside the loop, which serves the sandbox meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *arguments, stdout=-1, stderr=-1, env=dict(os.environ), cwd=ROOT
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()
