"""Resume refuses old journals, and an export that did not fetch everything is not reported as success."""

# ruff: noqa: ASYNC240 - small files

from __future__ import annotations

import json
import math
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from cli_helpers import environment, run_command
from export_helpers import journaled_ids, names_in, requested_ids, sibling
from fastapi_helpers import Brake, events, serving
from workspaces_helpers import keys_in, table, variable, write_file

from braze_segments_async import AuthenticationError, BrazeSegments, ConfigError, ExportError, RetryPolicy
from braze_segments_async import dask as on_dask
from braze_segments_async.dask import export_on_cluster
from braze_segments_async.export import ExportProgress, IncompleteExportError, ResumeError, export_segments
from braze_segments_async.export._journal import show_duration
from braze_segments_async.export._listing import ListingTracker
from braze_segments_async.export._options import parse_duration
from braze_segments_async.sandbox import Answer, Sandbox
from braze_segments_async.workspaces import ExportOptions, export_workspaces, read_workspaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from braze_segments_async.sandbox import LoggedRequest

HOUR = 3_600.0
SEGMENTS = 30
NIGHTLY: dict[str, Any] = {"resume": True, "overwrite": True}
FAST = ExportOptions(retry=RetryPolicy(backoff=0.0))


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A small sandbox, since it is exported many times."""
    async with Sandbox(SEGMENTS) as sandbox:
        yield sandbox


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of the exported file, in an empty directory."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "segments.ndjson"


class Clock:
    """A system clock that a test can move; it does not affect timeouts and sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real, self._moved = time.time, 0.0
        monkeypatch.setattr(time, "time", lambda: self._real() + self._moved)

    def move(self, hours: float) -> None:
        """Move the clock forward, or back by negative hours."""
        self._moved += hours * HOUR


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A system clock that can be moved."""
    return Clock(monkeypatch)


async def interrupt(
    sandbox: Sandbox, client: BrazeSegments, target: Path, *, after: int = 20, **options: Any
) -> list[str]:
    """Stop an export by a 401 after some details; return the ids in its journal."""
    left = after

    def refuse(_: LoggedRequest) -> Answer | None:
        nonlocal left
        left -= 1
        return Answer(status=401) if left == 0 else None

    sandbox.inject(refuse, endpoint="details")
    with pytest.raises(AuthenticationError):
        await export_segments(client, target, concurrency=1, **options)
    sandbox.requests.clear()
    return journaled_ids(target)


def rename(sandbox: Sandbox) -> None:
    """Rename every segment."""
    for segment_id in sandbox.segment_ids:
        sandbox.rename(segment_id, "Edited meanwhile")


def names(target: Path) -> set[str]:
    """Return the names of the segments in a file."""
    return {json.loads(line)["name"] for line in target.read_bytes().splitlines()}


def age(target: Path, hours: float) -> None:
    """Set the age of a journal, for commands in a subprocess, which use the real clock."""
    moment = time.time() - hours * HOUR
    os.utime(sibling(target, ".journal"), (moment, moment))


# --- one command for every night --------------------------------------------------------------------


async def test_night_after_night(sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock) -> None:
    """With `resume` and `overwrite`, retries of the same night resume, and the next night starts afresh."""
    await export_segments(client, target, **NIGHTLY)
    first = target.read_bytes()
    clock.move(hours=24)
    missing = Answer(status=422)
    sandbox.inject(missing, endpoint="details", segment_id=sandbox.segment_ids[7], times=2)
    sandbox.requests.clear()
    for expected in (SEGMENTS, 1):  # a partial night, and a retry that resumes
        with pytest.raises(IncompleteExportError):
            await export_segments(client, target, **NIGHTLY)
        assert sandbox.count("details") == expected
        assert target.read_bytes() == first
        sandbox.requests.clear()
        clock.move(hours=0.25)
    rename(sandbox)
    clock.move(hours=23.5)
    result = await export_segments(client, target, **NIGHTLY)
    assert (result.rows, result.resumed, sandbox.count("details")) == (SEGMENTS, 0, SEGMENTS)
    assert names(target) == {"Edited meanwhile"}
    assert names_in(target) == {target.name}


async def test_a_retry_in_the_same_night(
    sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock
) -> None:
    """A retry of the same night fetches only the missing segments, and replaces the old file at the end."""
    target.write_text("of yesterday")
    done = await interrupt(sandbox, client, target, **NIGHTLY)
    assert target.read_text() == "of yesterday"
    clock.move(hours=11.9)
    result = await export_segments(client, target, **NIGHTLY)
    assert (result.rows, result.resumed) == (SEGMENTS, len(done))
    assert requested_ids(sandbox) == sorted(set(sandbox.segment_ids) - set(done))
    assert len(target.read_bytes().splitlines()) == SEGMENTS


async def test_an_old_journal_is_refused(
    sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock
) -> None:
    """`resume` alone refuses an old journal with its age and advice, sends no request, and keeps it."""
    done = await interrupt(sandbox, client, target)
    clock.move(hours=26)
    message = (
        r"was interrupted for 26 hours, .*; resume_within \(12 hours\) can be longer, overwrite=True starts"
    )
    with pytest.raises(ResumeError, match=message):
        await export_segments(client, target, resume=True)
    assert (sandbox.requests, journaled_ids(target)) == ([], done)
    result = await export_segments(client, target, resume=True, resume_within=30 * HOUR)
    assert result.resumed == len(done)


@pytest.mark.parametrize("copied", [False, True])
async def test_the_older_of_two_times_counts(
    sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock, *, copied: bool
) -> None:
    """The age is that of the file's modification time or of its last row, whichever is older."""
    await interrupt(sandbox, client, target)
    if copied:
        clock.move(hours=13)
    age(target, hours=0 if copied else 13)
    with pytest.raises(ResumeError, match="was interrupted for 13 hours"):
        await export_segments(client, target, resume=True)


async def test_pauses_add_up(sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock) -> None:
    """Pauses between resumed runs add up, so that frequent runs do not keep old rows."""
    await interrupt(sandbox, client, target, after=5)
    clock.move(hours=8)
    done = await interrupt(sandbox, client, target, after=5, resume=True)
    assert len(done) > 5
    clock.move(hours=8)
    with pytest.raises(ResumeError, match="was interrupted for 16 hours"):
        await export_segments(client, target, resume=True)
    assert (await export_segments(client, target, **NIGHTLY)).resumed == 0


async def test_the_duration_of_a_run_is_ignored(
    sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock
) -> None:
    """An export that ran longer than `resume_within` is resumed if its interruption is recent."""
    sandbox.inject(lambda _: clock.move(hours=1), endpoint="details")
    done = await interrupt(sandbox, client, target)
    age(target, hours=0)
    result = await export_segments(client, target, resume=True)
    assert (result.resumed, len(done) > 12) == (len(done), True)


async def test_an_old_journal_without_rows(client: BrazeSegments, target: Path) -> None:
    """An old journal without rows is not refused, and the export starts afresh."""
    await export_segments(client, target)
    whole = target.read_bytes()
    target.unlink()
    header = {
        "workspace": "127.0.0.1",
        "format": "ndjson",
        "csv_safe": False,
        "sizes": None,
        "sizes_until": "2020-01-01T00:00:00+00:00",
        "journal": 2,
    }
    for content in (b"", (json.dumps(header) + "\n").encode(), (json.dumps(header) + '\n{"id":"a').encode()):
        sibling(target, ".journal").write_bytes(content)
        age(target, hours=1_000)
        result = await export_segments(client, target, resume=True)
        assert (result.rows, result.resumed) == (SEGMENTS, 0)
        assert target.read_bytes() == whole
        target.unlink()


async def test_rows_from_the_future(
    sandbox: Sandbox, client: BrazeSegments, target: Path, clock: Clock
) -> None:
    """A row from the future is refused, or discarded with `overwrite`; one minute is accepted."""
    done = await interrupt(sandbox, client, target)
    clock.move(hours=-1 / 60)
    done = await interrupt(sandbox, client, target, after=2, resume=True)
    clock.move(hours=-3)
    with pytest.raises(
        ResumeError, match="a clock was wrong: its last row was written 3 hours in the future"
    ):
        await export_segments(client, target, resume=True)
    assert journaled_ids(target) == done
    assert (await export_segments(client, target, **NIGHTLY)).resumed == 0


async def test_an_old_journal_of_another_version(client: BrazeSegments, target: Path) -> None:
    """`resume` with `overwrite` discards an old journal, even one of another version."""
    sibling(target, ".journal").write_text('{"journal": 1}\n{"id": "of an earlier version"}\n')
    with pytest.raises(ResumeError):
        await export_segments(client, target, **NIGHTLY)
    age(target, hours=24)
    assert (await export_segments(client, target, **NIGHTLY)).rows == SEGMENTS


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, True, "12h", None])
async def test_wrong_limits(sandbox: Sandbox, client: BrazeSegments, target: Path, wrong: Any) -> None:
    """A wrong `resume_within` is refused by an export and by `ExportOptions`, before any request."""
    with pytest.raises(ConfigError, match="resume_within must be"):
        await export_segments(client, target, resume_within=wrong)
    with pytest.raises(ConfigError, match="resume_within must be"):
        ExportOptions(resume_within=wrong)
    assert not sandbox.requests


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1_800), ("12h", 43_200), ("1.5d", 129_600)]
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is a number of seconds, or a number with a unit."""
    assert parse_duration("it", text) == seconds


@pytest.mark.parametrize("text", ["", "h", "12 h", "-1h", "1h30m", "1e3", "\u0661h", "12H", "soon"])
def test_wrong_durations(text: str) -> None:
    """Any other text is refused; the error does not contain it, since it may be a key."""
    with pytest.raises(ConfigError, match=r"^it must be a number of seconds, or .* such as 12h$"):
        parse_duration("it", text)


def test_durations_in_messages() -> None:
    """Messages show a duration in the largest unit of which there are at least two, or in seconds."""
    shown = [show_duration(seconds) for seconds in (0.5, 119, 120, 7_199, 7_200, 95_000, 172_800)]
    assert shown == [
        "0.5 seconds",
        "119 seconds",
        "2 minutes",
        "120 minutes",
        "2 hours",
        "26.4 hours",
        "2 days",
    ]


# --- the commands -----------------------------------------------------------------------------------


@pytest.fixture(params=["one", "many"])
def command(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> tuple[str, ...]:
    """The arguments that export one workspace, or a file of workspaces."""
    if request.param == "one":
        return ("export", "--output", str(tmp_path / "one.ndjson"))
    file = write_file(tmp_path / "workspaces.toml", {"a": sandbox})
    return ("export", "--workspaces", str(file), "--output", str(tmp_path / "many"))


async def test_resume_of_a_finished_export(sandbox: Sandbox, command: tuple[str, ...]) -> None:
    """`--resume` on a finished export exits 0 without requests, for one workspace and for a file."""
    keys = environment(sandbox, **keys_in({"a": sandbox}))
    assert (await run_command(sandbox, *command, env=keys))[0] == 0
    sandbox.requests.clear()
    code, _, err = await run_command(sandbox, *command, "--resume", env=keys)
    assert (code, sandbox.requests) == (0, [])
    assert err.endswith("ndjson is finished, nothing to do; --overwrite replaces it\n")


async def test_resume_of_a_partial_file(sandbox: Sandbox, command: tuple[str, ...]) -> None:
    """`--resume` on a partial file exits 3 with the list of failures, for one workspace and for a file."""
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[7])
    keys = environment(sandbox, **keys_in({"a": sandbox}))
    assert (await run_command(sandbox, *command, "--allow-partial", env=keys))[0] == 3
    code, _, err = await run_command(sandbox, *command, "--resume", "--quiet", env=keys)
    assert (code, "1 segment" in err, ".ndjson.failures.ndjson" in err) == (3, True, True)


async def test_the_command_with_an_old_journal(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """The command refuses an old journal with advice that names options; --resume-within accepts it."""
    done = await interrupt(sandbox, client, target)
    age(target, hours=13)
    command = ("export", "--output", str(target), "--resume")
    code, _, err = await run_command(sandbox, *command)
    assert (code, sandbox.requests) == (1, [])
    assert err == (
        f"braze-segments: cannot resume from {target}.journal: it was interrupted for 13 hours, and its "
        "details are old; --resume-within (12 hours) can be longer, --overwrite starts afresh\n"
    )
    code, _, err = await run_command(sandbox, *command, "--resume-within", "soon")
    assert (code, "--resume-within must be a number of seconds, or " in err) == (2, True)
    code, _, err = await run_command(sandbox, *command, "--resume-within", "1d")
    assert (code, f"; {len(done)} resumed" in err) == (0, True)


async def test_the_nightly_command(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """`--resume --overwrite` with an old journal fetches every segment again."""
    await interrupt(sandbox, client, target)
    age(target, hours=24)
    rename(sandbox)
    code, _, err = await run_command(sandbox, "export", "--output", str(target), "--resume", "--overwrite")
    assert (code, "resumed" in err) == (0, False)
    assert names(target) == {"Edited meanwhile"}


# --- many workspaces, dask, FastAPI -----------------------------------------------------------------


@pytest.mark.parametrize("where", ["here", "cluster"])
async def test_many_workspaces(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Workspaces refuse an old journal with `resume`, and discard it with `resume` and `overwrite`."""
    monkeypatch.setenv(variable("a"), sandbox.api_key)
    file, output = write_file(tmp_path / "workspaces.toml", {"a": sandbox}), tmp_path / "to"
    output.mkdir()
    export = export_workspaces if where == "here" else export_on_cluster
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=20)
    (result,) = await export(read_workspaces(file, output=output, options=FAST))
    assert result.outcome == "failed"
    assert journaled_ids(result.path)
    age(result.path, hours=13)
    resuming = evolve(FAST, resume=True)
    (result,) = await export(read_workspaces(file, output=output, options=resuming))
    assert "was interrupted for 13 hours" in str(result.error)
    rename(sandbox)
    (result,) = await export(read_workspaces(file, output=output, options=evolve(resuming, overwrite=True)))
    assert (result.outcome, result.resumed, names(result.path)) == ("done", 0, {"Edited meanwhile"})


@pytest.mark.parametrize(("value", "seconds"), [('"30m"', 1_800), ("60", 60), ("1.5", 1.5), (None, 7_200)])
def test_the_file_of_the_workspaces(tmp_path: Path, value: str | None, seconds: float) -> None:
    """`resume_within` of a workspace in the file overrides that of the options."""
    path = tmp_path / "workspaces.toml"
    eu = table(name="eu", instance="EU-01", api_key_env="A")
    path.write_text(eu if value is None else f"{eu}resume_within = {value}\n")
    options = evolve(FAST, resume_within=7_200)
    (config,) = read_workspaces(path, output=tmp_path, options=options)
    assert config.options == evolve(options, resume_within=seconds)


@pytest.mark.parametrize("value", ['"0a348fd7-bfc5-4712-87ce-8c44d15e9b21"', "0", "true", "[]"])
def test_a_wrong_limit_in_the_file(tmp_path: Path, value: str) -> None:
    """A wrong `resume_within` in the file is refused with its place, and is not in the error."""
    path = tmp_path / "workspaces.toml"
    path.write_text(table(name="eu", instance="EU-01", api_key_env="A") + f"resume_within = {value}\n")
    with pytest.raises(ConfigError, match="workspace 1: resume_within must be") as caught:
        read_workspaces(path, output=tmp_path)
    assert "0a348fd7" not in str(caught.value)


@pytest.mark.parametrize(("within", "resumed"), [({}, False), ({"resume_within": 86_400}, True)])
async def test_fastapi(sandbox: Sandbox, tmp_path: Path, within: dict[str, float], *, resumed: bool) -> None:
    """An old cancelled export starts afresh on resume, unless its `resume_within` is longer."""
    brake = Brake(sandbox, after=10)
    async with serving(sandbox, tmp_path) as api:
        export = (await api.post("/exports", json=within)).json()
        await brake.reached.wait()
        await api.delete(f"/exports/{export['id']}")
        brake.release()
        age(tmp_path / f"{export['id']}.ndjson", hours=13)
        await api.post("/exports", json={"resume": True})
        *_, last = events((await api.get(f"/exports/{export['id']}/events")).text)
    assert (last["state"], last["resumed"] > 0) == ("done", resumed)


# --- every exception reaches the caller -------------------------------------------------------------


class Termination(BaseException):
    """An error that is neither an `Exception` nor known to asyncio, as in Prefect and Dagster."""


@pytest.mark.parametrize("call", range(1, 7))
async def test_raised_by_on_progress(client: BrazeSegments, target: Path, call: int) -> None:
    """An error of any call of `on_progress` reaches the caller, from the task of the listing as well."""
    calls = 0

    def hook(_: ExportProgress) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise Termination

    every = {"consistency": "strict", "concurrency": 1}
    try:
        await export_segments(client, target, on_progress=hook, **every)  # type: ignore[arg-type]
    except Termination:
        assert calls == call
    else:
        assert calls < call
        assert len(target.read_bytes().splitlines()) == SEGMENTS


async def test_raised_by_on_retry(sandbox: Sandbox, target: Path) -> None:
    """An error of `on_retry` in a worker ends the export, which can be resumed."""

    def hook(_: object) -> None:
        raise Termination

    sandbox.inject(Answer(status=500), endpoint="details", ordinals=10)
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=RetryPolicy(backoff=0.0), on_retry=hook
    ) as client:
        with pytest.raises(Termination):
            await export_segments(client, target)
        assert not target.exists()
        assert (await export_segments(client, target, resume=True)).rows == SEGMENTS


async def test_a_stream_that_ends_early(
    client: BrazeSegments, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export with fewer segments than the list raises `ExportError` and writes no file."""
    missing = ListingTracker.pending_segments

    async def lossy(self: ListingTracker) -> AsyncIterator[Any]:
        number = 0
        async for segment in missing(self):
            number += 1
            if number != 7:
                yield segment

    monkeypatch.setattr(ListingTracker, "pending_segments", lossy)
    with pytest.raises(ExportError, match="ended early: 29 of at least 30 segments"):
        await export_segments(client, target)
    assert not target.exists()
    assert len(journaled_ids(target)) == SEGMENTS - 1


@pytest.mark.parametrize("hook", ["on_progress", "on_result"])
async def test_raised_by_a_callback_for_workspaces(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    """An error of a callback stops the exports of all workspaces, and reaches the caller unchanged."""
    monkeypatch.setenv(variable("a"), sandbox.api_key)
    file = write_file(tmp_path / "workspaces.toml", {"a": sandbox})

    def terminate(*_: object) -> None:
        raise Termination

    callback: dict[str, Any] = {hook: terminate}
    with pytest.raises(Termination):
        await export_workspaces(read_workspaces(file, output=tmp_path, options=FAST), **callback)


@pytest.mark.parametrize("where", ["a worker", "on_result"])
async def test_raised_on_a_cluster(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """An error in a dask worker or in a callback reaches the caller, and gives no successful result."""
    monkeypatch.setenv(variable("a"), sandbox.api_key)
    file = write_file(tmp_path / "workspaces.toml", {"a": sandbox})

    def terminate(*_: object) -> None:
        raise Termination

    async def terminated(_: object) -> None:
        raise Termination

    if where == "a worker":
        monkeypatch.setattr(on_dask, "export_workspace", terminated)
    with pytest.raises(Termination):
        await export_on_cluster(read_workspaces(file, output=tmp_path, options=FAST), on_result=terminate)
