"""`braze-segments export --workspaces`: files, results, messages and exit codes."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import COMMAND, environment, inside, until
from rich.console import Console
from workspaces_helpers import keys_in, table, write_file

from braze_segments_async import ServerError
from braze_segments_async.cli.app import app
from braze_segments_async.cli.commands.workspaces import Overview
from braze_segments_async.cli.progress import show_progress
from braze_segments_async.export import ExportProgress
from braze_segments_async.sandbox import Answer, Sandbox
from braze_segments_async.workspaces import WorkspaceConfig, WorkspaceResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RESUME = "braze-segments: Progress saved. Run the same command with --resume to continue."


class Workspaces:
    """Sandboxes as workspaces, and the command that exports them from a temporary folder."""

    def __init__(self, folder: Path, sandboxes: dict[str, Sandbox]) -> None:
        self.folder = folder
        self.output = folder / "exports"
        self.sandboxes = sandboxes
        self.environment = environment(None, **keys_in(sandboxes))
        self.file = write_file(folder / "workspaces.toml", sandboxes)

    async def start(self, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
        """Start the command and return its process."""
        options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, "env": self.environment, **options}
        more = ("export", "--workspaces", str(self.file), "--output", str(self.output), *arguments)
        return await asyncio.create_subprocess_exec(*COMMAND, *more, cwd=self.folder, **options)

    async def run(self, *arguments: str) -> tuple[int | None, dict[str, dict[str, Any]], list[str]]:
        """Run the command; return exit code, results by name and error lines, which may contain no key."""
        process = await self.start(*arguments)
        out, err = await process.communicate()
        for sandbox in self.sandboxes.values():
            assert sandbox.api_key.encode() not in out + err
        results = [json.loads(line) for line in out.splitlines()]
        return process.returncode, {result["name"]: result for result in results}, err.decode().splitlines()


@pytest.fixture
async def workspaces(tmp_path: Path) -> AsyncIterator[Workspaces]:
    """Three workspaces with 30, 120 and 7 segments."""
    async with AsyncExitStack() as stack:
        sandboxes = {
            name: await stack.enter_async_context(Sandbox(size, seed=size, api_key=f"secret-of-{name}"))
            for name, size in (("a", 30), ("b", 120), ("c", 7))
        }
        yield Workspaces(tmp_path, sandboxes)


async def test_each_workspace_gets_a_file(workspaces: Workspaces) -> None:
    """Success exits 0, creates the directory, and prints a JSON line for each workspace in file order."""
    code, results, err = await workspaces.run("--format", "csv")
    assert (code, err) == (0, [])
    assert [(name, result["outcome"], result["rows"]) for name, result in results.items()] == [
        ("a", "done", 30),
        ("b", "done", 120),
        ("c", "done", 7),
    ]
    assert {path.name for path in inside(workspaces.output)} == {"a.csv", "b.csv", "c.csv"}
    assert results["a"]["path"] == str(workspaces.output / "a.csv")
    assert results["a"]["error"] is results["a"]["message"] is None


async def test_failures_do_not_affect_other_workspaces(workspaces: Workspaces) -> None:
    """A failed workspace exits 1 with a line of advice, and does not affect the other workspaces."""
    a, b, c = workspaces.sandboxes.values()
    async with Sandbox(5, api_key="secret-of-d") as d, Sandbox(5, api_key="secret-of-e") as e:
        write_file(workspaces.file, {**workspaces.sandboxes, "d": d, "e": e})
        a.inject(Answer(400), endpoint="details", segment_id=a.segment_ids[0])
        limited = Answer(429, headers={"X-RateLimit-Retry-After": "9000"})
        b.inject(limited, endpoint="details", ordinals=50)
        workspaces.environment |= {"KEY_OF_D": "wrong-secret"}
        code, results, err = await workspaces.run()
        assert e.requests == []
    assert code == 1
    outcomes = {name: result["outcome"] for name, result in results.items()}
    assert outcomes == {"a": "partial", "b": "rate-limited", "c": "done", "d": "failed", "e": "failed"}
    assert err[0].startswith("braze-segments: a: 1 of 30 segments could not be fetched, ")
    assert "; --resume tries them again, --allow-partial writes " in err[0]
    assert err[1].startswith("braze-segments: b: GET /segments/details (segment_id=")
    assert "; --max-wait (3900 s) can be longer" in err[1]
    assert err[2].startswith("braze-segments: d: GET /segments/list (page=0): 401 after 1 attempt: ")
    assert "check the key, that base_url is " in err[2]
    assert err[3:] == [
        "braze-segments: e: no API key: the environment variable KEY_OF_E is not set",
        RESUME,
    ]
    assert [results[name]["error"] for name in outcomes] == [
        "IncompleteExportError",
        "RateLimitedError",
        None,
        "AuthenticationError",
        "ConfigError",
    ]
    assert [f"braze-segments: {name}: {results[name]['message']}" for name in "abde"] == err[:4]
    assert c.count("details") == 7
    assert {path.name for path in inside(workspaces.output)} == {
        "a.ndjson.journal",
        "b.ndjson.journal",
        "c.ndjson",
    }


async def test_resume_finishes_interrupted_workspaces(workspaces: Workspaces) -> None:
    """`--resume` skips finished workspaces and resumes others; the exit code is that of the worst result."""
    _, b, c = workspaces.sandboxes.values()
    b.inject(Answer(400), endpoint="details", segment_id=b.segment_ids[0], times=1)
    code, results, err = await workspaces.run("--allow-partial")
    assert (code, results["b"]["outcome"]) == (3, "partial")
    shown = workspaces.output / "b.ndjson"
    assert err == [
        f"braze-segments: b: 1 segment could not be fetched: see {shown}.failures.ndjson",
    ]
    shown.unlink()
    c.inject(Answer(429, headers={"X-RateLimit-Retry-After": "9000"}), endpoint="details", ordinals=10)
    (workspaces.output / "c.ndjson").unlink()
    code, results, err = await workspaces.run("--resume")
    assert (code, [result["outcome"] for result in results.values()]) == (
        4,
        ["skipped", "done", "rate-limited"],
    )
    assert (
        err[0] == f"a: {workspaces.output / 'a.ndjson'} is finished, nothing to do; --overwrite replaces it"
    )
    assert err[-1] == RESUME
    code, results, err = await workspaces.run("--resume", "--quiet")
    assert (code, results, err) == (0, {}, [])
    assert len((workspaces.output / "c.ndjson").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--instance", "us-01"), "leave --instance out"),
        (("--base-url", "https://a.example"), "leave --base-url out"),
        (("--api-key-file", "key"), "leave --api-key-file out"),
        (("--env-file", ".env"), "leave --env-file out"),
        (("--sandbox",), "leave --sandbox out"),
        (("--segments", "5"), "leave --segments out"),
        (("--output", "-"), "name their directory with --output"),
        (("--output", "workspaces.toml"), "workspaces.toml is a file; "),
        (("--csv-safe",), "--csv-safe is for CSV, and this export is ndjson"),
        (("--dask", "here"), "cannot reach a dask scheduler at here: missing port number"),
        (("--workspaces", "same.toml"), "same.toml: a and b have the same api_key_env: "),
        (("--workspaces", "none.toml"), "cannot read none.toml: No such file"),
        (
            ("--workspaces", "bad.toml"),
            "bad.toml, workspace 1: say where the workspace is: in either instance or base_url",
        ),
    ],
)
def test_wrong_use(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Contradictory arguments exit 2 with one line, before any request."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A", "secret")
    nowhere = {"base_url": "http://127.0.0.1:9", "api_key_env": "A"}
    (tmp_path / "workspaces.toml").write_text(table(name="a", **nowhere))
    (tmp_path / "bad.toml").write_text(table(name="a", api_key_env="A"))
    (tmp_path / "same.toml").write_text(table(name="a", **nowhere) + table(name="b", **nowhere))
    given = {"--workspaces": ("workspaces.toml",), "--output": ("exports",), arguments[0]: arguments[1:]}
    with pytest.raises(SystemExit) as ending:
        app(["export", *("=".join((option, *values)) for option, values in given.items())])
    shown = capsys.readouterr()
    assert (ending.value.code, shown.out) == (2, "")
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


async def test_two_workspaces_with_one_key_are_refused(workspaces: Workspaces) -> None:
    """Two workspaces with one key share a rate limit, so they are refused with exit 2 before any request."""
    workspaces.environment["KEY_OF_B"] = workspaces.environment["KEY_OF_A"]
    code, _, err = await workspaces.run()
    assert (code, err) == (2, ["braze-segments: a and b have the same API key: leave one of them out"])
    assert not any(sandbox.requests for sandbox in workspaces.sandboxes.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--dask", "local"), "it needs --workspaces"), (("--workspaces", "x.toml"), "with --output")],
)
def test_options_that_need_another_option(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dask` needs `--workspaces`, and `--workspaces` needs `--output`."""
    with pytest.raises(SystemExit) as ending:
        app(["export", *arguments])
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


async def test_a_directory_that_cannot_be_created(workspaces: Workspaces) -> None:
    """An output directory whose parent is missing exits 1 with one line."""
    workspaces.output = workspaces.folder / "none" / "exports"
    code, _, err = await workspaces.run()
    assert code == 1
    assert err == [f"braze-segments: cannot write {workspaces.output}: No such file or directory"]


@pytest.mark.parametrize("more", [(), ("--dask", "local")], ids=["", "on dask"])
async def test_ctrl_c_prints_how_to_resume(workspaces: Workspaces, more: tuple[str, ...]) -> None:
    """Ctrl-C stops every export, keeps the journals, and prints how to resume."""
    for sandbox in workspaces.sandboxes.values():
        sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(6, 200))
    process = await workspaces.start(*more)
    sandboxes = workspaces.sandboxes.values()
    await until(lambda: all(sandbox.count("details", 200) == 5 for sandbox in sandboxes))
    await until(lambda: len(inside(workspaces.output)) == 6)  # journals and locks
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out, err.decode().splitlines()) == (130, b"", [RESUME])
    assert {path.suffix for path in inside(workspaces.output)} == {".journal"}


async def test_on_a_dask_cluster_in_the_process(workspaces: Workspaces) -> None:
    """`--dask local` prints the same results and errors as no `--dask`, and nothing from dask."""
    workspaces.environment["KEY_OF_B"] = "wrong-secret"
    code, results, err = await workspaces.run("--dask", "local")
    assert code == 5
    assert [result["outcome"] for result in results.values()] == ["done", "failed", "done"]
    assert len(err) == 1
    assert err[0].startswith("braze-segments: b: GET /segments/list (page=0): 401 after 1 attempt: ")


async def test_verbose_lines_name_the_workspace(workspaces: Workspaces) -> None:
    """With -v each log line begins with the name of the workspace."""
    workspaces.sandboxes["b"].inject(Answer(503), endpoint="details", ordinals=3)
    code, _, err = await workspaces.run("-v")
    assert code == 0
    assert [line.split(": ")[0] for line in err] == ["b"]
    assert "retrying in " in err[0]


async def test_in_a_terminal(workspaces: Workspaces) -> None:
    """A terminal of 80 columns shows progress, then a table of results with the whole cause of a failure."""
    a, b, c = workspaces.sandboxes.values()
    b.inject(Answer(403), endpoint="details", ordinals=30)
    c.inject(Answer(429, headers={"X-RateLimit-Retry-After": "0.5"}), endpoint="details", ordinals=3)
    a.inject(Answer(delay=0.3), endpoint="details", ordinals=range(10, 30))
    controller, terminal = pty.openpty()
    workspaces.environment |= {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80"}
    process = await workspaces.start(stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = asyncio.create_task(asyncio.to_thread(_read_terminal, controller))
    assert await process.wait() == 5
    text = re.sub(r"\x1b\[\??[\d;]*\w", "", (await shown).decode())
    os.close(controller)
    assert " of 30" in text
    assert "paused until " in text
    drawn = text.rpartition("Workspace  Result        Segments")[2].splitlines()[1:]
    rows = [line.split()[:3] for line in drawn if not line.startswith("  ")]
    assert rows == [["a", "done", "30"], ["b", "failed", rows[1][2]], ["c", "done", "7"]]
    cause = " ".join(line.strip() for line in drawn if re.match(r"  \S", line))
    assert cause.startswith("GET /segments/details (segment_id=")
    assert cause.endswith('(Braze says "Access Denied")')
    assert all(len(line) <= 80 for line in drawn)


def _read_terminal(terminal: int) -> bytes:
    """Return all output to a terminal, until the last process that uses it closes it."""
    text = b""
    while True:
        try:
            text += os.read(terminal, 65_536)
        except OSError:
            return text


async def test_in_a_pipe_progress_is_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe, progress is a line for each workspace, and another one after each change."""
    monkeypatch.setattr("braze_segments_async.cli.progress._LINE_EVERY", 0.001)
    configs = [
        WorkspaceConfig(name=name, base_url="https://a.example", path=tmp_path / name, api_key_env="A")
        for name in ("a", "b")
    ]
    overview = Overview(configs)
    async with show_progress(overview, bar=True):
        await asyncio.sleep(0.02)
        overview.finish(WorkspaceResult(name="b", path=tmp_path / "b", rows=3))
        await asyncio.sleep(0.02)
    assert capsys.readouterr().err.splitlines() == ["a: waiting", "b: waiting", "b: done · 3 segments"]


def test_help_needs_neither_dask_nor_the_client() -> None:
    """`--help` shows the options and imports neither dask nor the code for workspaces."""
    program = (
        "import sys\n"
        "from braze_segments_async.cli.app import app\n"
        "try: app(['export', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*('distributed' in sys.modules, 'braze_segments_async.workspaces' in sys.modules))"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment()
    )
    assert "--workspaces" in done.stdout
    assert "--dask" in done.stdout
    assert done.stdout.endswith("False False\n")


async def test_progress_of_a_cluster(tmp_path: Path) -> None:
    """A workspace on a cluster shows its counts, and a cluster without workers a warning."""
    config = WorkspaceConfig(name="a", base_url="https://a.example", path=tmp_path / "a.csv", api_key_env="A")
    overview = Overview([config])
    overview.set_waiting(20.0)
    waiting, warning = overview.lines()
    assert waiting == "a: waiting"
    assert warning.startswith("the dask scheduler has had no worker for 20 s: start one with `dask worker`; ")
    progress = ExportProgress(
        pages=2, listed=200, total=None, done=50, failed=0, archived=0, resumed=0, rate_limit=None
    )
    overview.update_remote(config, progress)
    assert overview.lines() == ["a: 50 of 200 so far"]


def test_a_small_terminal_shows_running_exports_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the workspaces do not fit, those that run and those that failed are shown, and all are counted."""
    monkeypatch.setenv("LINES", "6")
    configs = [
        WorkspaceConfig(
            name=f"w{n}", base_url="https://a.example", path=tmp_path / f"{n}", api_key_env=f"A{n}"
        )
        for n in range(40)
    ]
    overview = Overview(configs)
    overview.finish(WorkspaceResult(name="w0", path=tmp_path / "0", rows=3))
    overview.finish(WorkspaceResult(name="w1", path=tmp_path / "1", error=ServerError("no luck")))
    progress = ExportProgress(
        pages=1, listed=9, total=9, done=5, failed=0, archived=0, resumed=0, rate_limit=None
    )
    overview.update_remote(configs[30], progress)
    console = Console(width=80, height=6, record=True, file=io.StringIO())
    console.print(overview.display()())
    text = console.export_text()
    assert len(text.splitlines()) == 4
    assert "w30" in text
    assert "w1 " in text
    assert "no luck" in text
    assert "w0 " not in text
    assert text.splitlines()[-1] == "1 running · 37 waiting · 1 done · 1 failed"
