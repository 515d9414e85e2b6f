"""Many workspaces within the limit of open files."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_helpers import COMMAND, environment
from workspaces_helpers import keys_in, write_file

from braze_segments_async import ConfigError, Instance
from braze_segments_async.sandbox import Answer, LoggedRequest, Sandbox
from braze_segments_async.workspaces import (
    ExportOptions,
    WorkspaceConfig,
    export_workspaces,
    read_workspaces,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMITS = """
import resource, sys
from pathlib import Path
from braze_segments_async.workspaces import ExportOptions, WorkspaceConfig
from braze_segments_async.workspaces._parallel import parallel_exports

soft, hard, number, parallel = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
configs = [
    WorkspaceConfig(name=f"w{i}", base_url="https://a.example", path=Path(f"w{i}"), api_key_env=f"A{i}")
    for i in range(number)
]
print(parallel_exports(configs, parallel or None), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.fixture
async def sandboxes() -> AsyncIterator[dict[str, Sandbox]]:
    """Twelve workspaces with 20 segments each."""
    async with AsyncExitStack() as stack:
        yield {
            f"w{number}": await stack.enter_async_context(Sandbox(20, api_key=f"key-{number}", latency=0.01))
            for number in range(12)
        }


@pytest.mark.parametrize(
    ("arguments", "expected", "raised"),
    [
        ((1_024, 1_024, 200, 0), 37, 1_024),
        ((1_024, 20_000, 200, 0), 200, 4_928),
        ((1_024, 3_000, 200, 0), 119, 3_000),
        ((1_024, 20_000, 200, 100), 100, 2_528),
        ((1_024, 20_000, 3, 0), 3, 1_024),
        ((64, 64, 5, 0), 1, 64),
        ((64, 64, 5, 2), 2, 64),
    ],
)
def test_the_default_follows_the_limit_of_open_files(
    arguments: tuple[int, int, int, int], expected: int, raised: int
) -> None:
    """The soft limit is raised to what is needed; if that is not allowed, fewer exports run at a time.

    The arguments are the soft limit, the hard limit, the number of workspaces and `parallel` (0 for none).
    """
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", LIMITS, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(expected), str(raised)]


async def test_more_workspaces_than_descriptors(sandboxes: dict[str, Sandbox], tmp_path: Path) -> None:
    """Twelve workspaces with 16 requests each need 288 descriptors, and all finish with 192."""
    file = write_file(tmp_path / "workspaces.toml", sandboxes)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("export", "--workspaces", str(file), "--output", str(tmp_path / "exports")),
        stdout=PIPE,
        stderr=PIPE,
        env=environment(None, **keys_in(sandboxes)),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (192, 192)),
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert [json.loads(line)["rows"] for line in out.splitlines()] == [20] * 12


async def test_parallel_limits_the_exports(
    sandboxes: dict[str, Sandbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`parallel` is the maximum number of exports that run at the same time."""
    for name, key in keys_in(sandboxes).items():
        monkeypatch.setenv(name, key)
    (tmp_path / "exports").mkdir()
    file = write_file(tmp_path / "workspaces.toml", sandboxes)
    configs = read_workspaces(file, output=tmp_path / "exports", options=ExportOptions(concurrency=2))
    most = finished = 0

    def count(_: LoggedRequest) -> Answer | None:
        nonlocal most
        most = max(most, sum(bool(sandbox.requests) for sandbox in sandboxes.values()) - finished)
        return None

    def finish(_: object) -> None:
        nonlocal finished
        finished += 1

    for sandbox in sandboxes.values():
        sandbox.inject(count)
    results = await export_workspaces(configs, parallel=3, on_result=finish)
    assert [result.outcome for result in results] == ["done"] * 12
    assert most == 3


@pytest.mark.parametrize("parallel", [0, -1, 1.5, True])
async def test_a_wrong_number(parallel: int) -> None:
    """`parallel` is a positive integer; anything else is refused before any request."""
    config = WorkspaceConfig(name="a", base_url=Instance.US_01, path=Path("a"), api_key_env="A")
    with pytest.raises(ConfigError, match="parallel must be"):
        await export_workspaces([config], parallel=parallel)
