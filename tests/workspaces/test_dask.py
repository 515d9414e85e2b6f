"""Many workspaces on dask: in this process, and on workers in processes of their own, one of them killed."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from attrs import evolve, frozen
from cli_helpers import ROOT, environment, run_command, until
from distributed import KilledWorker
from export_helpers import asked, beside, journaled
from workspaces_helpers import variable, write_file

from braze_segments_async import BrazeSegments, ConfigError, ExportError, RetryPolicy
from braze_segments_async import dask as on_dask
from braze_segments_async.dask import export_on_cluster
from braze_segments_async.export import export_segments
from braze_segments_async.sandbox import Answer, LoggedRequest, Sandbox
from braze_segments_async.workspaces import ExportOptions, WorkspaceConfig, WorkspaceResult, read_workspaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

KEYS = {name: f"secret-of-{name}" for name in "abc"}
CONCURRENCY = 8
OPTIONS = ExportOptions(concurrency=CONCURRENCY, retry=RetryPolicy(backoff=0.0))
# A dead worker's lock is free after this long, and not after half a minute.
LEASE = {"LEASE_TIMEOUT": "1500ms", "LEASE_VALIDATION_INTERVAL": "100ms"}


@frozen
class Cluster:
    """Where the scheduler is, and the pids."""

    address: str
    scheduler: int
    workers: list[int]


@contextmanager
def cluster(workers: int) -> Generator[Cluster]:
    """Separate processes, whose environment has the keys; that of this process has none."""
    variables = {f"DASK_DISTRIBUTED__SCHEDULER__LOCKS__{name}": value for name, value in LEASE.items()}
    keys = {variable(name): key for name, key in KEYS.items()}
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, str(Path(__file__).parents[1] / "support" / "dask_process.py"), str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **variables, **keys, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        yield Cluster(**json.loads(process.stdout.readline()))
        # Leaving the block closes its standard input, which ends all of them.


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """Four workers; one of the tests kills one of them."""
    with cluster(4) as found:
        yield found


@pytest.fixture
async def sandboxes() -> AsyncIterator[dict[str, Sandbox]]:
    """Three workspaces of 150 segments, which take their time."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(Sandbox(150, seed=seed, api_key=key, latency=0.02))
            for seed, (name, key) in enumerate(KEYS.items())
        }


@pytest.fixture
def configs(sandboxes: dict[str, Sandbox], tmp_path: Path) -> tuple[WorkspaceConfig, ...]:
    """As their file names them."""
    (tmp_path / "exports").mkdir()
    file = write_file(tmp_path / "workspaces.toml", sandboxes)
    return read_workspaces(file, output=tmp_path / "exports", options=OPTIONS)


def lock_of(config: WorkspaceConfig) -> Path:
    """The file with the pid of the process that exports."""
    return beside(config.path, ".lock")


def is_alive(pid: int) -> bool:
    """Whether a thread of a process still does anything; what was killed goes on for a moment."""
    with suppress(FileNotFoundError, ProcessLookupError):
        states = [
            stat.read_text().rpartition(")")[2].split()[0]
            for stat in Path("/proc").glob(f"{pid}/task/*/stat")
        ]
        return any(state not in "ZX" for state in states)
    return is_alive(pid)  # one was gone before it was read


async def undisturbed(sandbox: Sandbox, path: Path) -> bytes:
    """What one export alone writes."""
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        return (await export_segments(client, path, format="ndjson")).path.read_bytes()


async def test_a_worker_killed_in_mid_export(
    shared: Cluster, sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...], tmp_path: Path
) -> None:
    """Everything arrives, and nothing twice: another worker asks for what was in flight, and what is left."""
    dead: list[int] = []
    kept: list[str] = []
    # What came last may not be in the journal yet when the next request goes out.
    in_flight = CONCURRENCY + 1

    def kill(request: LoggedRequest) -> None:
        if request.ordinal == 70:
            dead.append(int(lock_of(configs[1]).read_text()))
            os.kill(dead[0], signal.SIGKILL)
            while is_alive(dead[0]):
                pass
            kept.extend(journaled(configs[1].path))

    sandboxes["b"].inject(kill, endpoint="details")
    told: list[WorkspaceResult] = []
    results = await export_on_cluster(configs, address=shared.address, on_result=told.append)
    assert dead[0] in shared.workers
    assert [(r.name, r.outcome, r.rows, r.resumed) for r in results] == [
        ("a", "done", 150, 0),
        ("b", "done", 150, len(kept)),
        ("c", "done", 150, 0),
    ]
    assert {result.name for result in told} == {"a", "b", "c"}
    assert 70 - in_flight <= len(kept) < 70
    for name in "abc":
        times = Counter(asked(sandboxes[name]))
        assert set(times) == set(sandboxes[name].segment_ids)
        twice = {segment_id for segment_id, number in times.items() if number > 1}
        assert len(twice) <= (in_flight if name == "b" else 0)
        assert not twice & set(kept)
        assert max(times.values()) <= 2
    files = [result.path.read_bytes() for result in results]
    assert files == await asyncio.gather(*(undisturbed(sandboxes[name], tmp_path / name) for name in "abc"))
    assert {path.name for path in configs[0].path.parent.iterdir()} == {"a.ndjson", "b.ndjson", "c.ndjson"}
    # No key was here, and none came here.
    assert not {variable(name) for name in KEYS} & set(os.environ)
    assert "secret" not in str(pickle.dumps((configs, results)))


async def test_nobody_wants_it_any_more(
    shared: Cluster, sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """A caller that is cancelled ends its exports on the workers, and their journals are kept."""
    for sandbox in sandboxes.values():
        sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(40, 40 + CONCURRENCY))
    exporting = asyncio.create_task(export_on_cluster(configs, address=shared.address))
    await until(lambda: all(s.count("details") == 39 + CONCURRENCY for s in sandboxes.values()))
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting
    await until(lambda: not any(lock_of(config).exists() for config in configs))
    file, output = configs[0].path.parents[1] / "workspaces.toml", configs[0].path.parent
    where = ("--workspaces", str(file), "--output", str(output), "--dask", shared.address)
    code, out, err = await run_command(sandboxes["a"], "export", *where, env=environment())
    assert (code, [json.loads(line)["outcome"] for line in out.splitlines()]) == (1, ["failed"] * 3)
    assert err.count("--resume continues it, --overwrite starts afresh") == 3
    resuming = [evolve(config, options=evolve(OPTIONS, resume=True)) for config in configs]
    results = await export_on_cluster(resuming, address=shared.address)
    assert [(result.outcome, result.resumed) for result in results] == [("done", 39)] * 3
    again = await export_on_cluster(resuming, address=shared.address)
    assert [result.outcome for result in again] == ["skipped"] * 3


async def test_one_worker_at_a_time(
    shared: Cluster, sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """A second run of a workspace waits for the first, though it writes another file."""
    other = evolve(configs[0], path=configs[0].path.with_name("other.ndjson"))
    results = await asyncio.gather(
        *(export_on_cluster([config], address=shared.address) for config in (configs[0], other))
    )
    assert [result.outcome for (result,) in results] == ["done", "done"]
    assert sandboxes["a"].max_details_in_flight <= CONCURRENCY
    first = [r.query["segment_id"] for r in sandboxes["a"].requests if r.endpoint == "details"][:150]
    assert set(first) == set(sandboxes["a"].segment_ids)


async def test_the_scheduler_killed(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """That is told of each workspace, and what was done is kept."""
    sandboxes["a"].inject(Answer(delay=30), endpoint="details", ordinals=range(40, 60))
    with cluster(1) as found:
        exporting = asyncio.create_task(export_on_cluster(configs[:1], address=found.address))
        await until(lambda: sandboxes["a"].count("details") >= 40)
        os.kill(found.scheduler, signal.SIGKILL)
        (result,) = await exporting
    assert (result.outcome, type(result.error)) == ("failed", ExportError)
    assert "the dask scheduler has stopped" in str(result.error)
    assert journaled(configs[0].path)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are in this process."""
    for name, key in KEYS.items():
        monkeypatch.setenv(variable(name), key)


@pytest.mark.usefixtures("here")
async def test_in_this_process(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...], tmp_path: Path
) -> None:
    """Without an address, with the same results: all at the same time, one that fails fails alone."""
    os.environ[variable("b")] = "wrong"
    a, b, c = await export_on_cluster(configs)
    assert [result.outcome for result in (a, b, c)] == ["done", "failed", "done"]
    assert "401 after 1 attempt" in str(b.error)
    assert a.path.read_bytes() == await undisturbed(sandboxes["a"], tmp_path / "alone")
    assert abs(sandboxes["a"].requests[0].at - sandboxes["c"].requests[0].at) < a.elapsed


@pytest.mark.usefixtures("here")
async def test_overwrite_starts_afresh(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """Where a journal of an earlier run is, too: none of it is used."""
    a = sandboxes["a"]
    a.inject(Answer(400), endpoint="details", segment_id=a.segment_ids[0], times=1)
    (first,) = await export_on_cluster(configs[:1])
    assert first.outcome == "partial"
    config = evolve(configs[0], options=evolve(OPTIONS, overwrite=True))
    (second,) = await export_on_cluster([config])
    assert (second.outcome, second.rows, second.resumed) == ("done", 150, 0)


@pytest.mark.usefixtures("here")
async def test_a_worker_that_died_with_its_work_done(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """The same run of it, begun again as dask does then: the file is there, so nothing is asked twice."""
    async with on_dask._connected(None, 1) as client:
        for expected in ("done", "skipped"):
            result = await client.submit(on_dask._export, configs[0], "one run", pure=False)
            assert result.outcome == expected
    assert sandboxes["a"].count("details") == 150


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KilledWorker("a", Mock(), 3), "4 workers died while they exported it; resume=True"),
        (CancelledError(), "the dask scheduler has stopped, or has dropped the export; resume=True"),
        (ModuleNotFoundError("No module named 'braze_segments_async'"), "the same version of this package"),
    ],
)
def test_what_a_cluster_may_raise(error: Exception, told: str) -> None:
    """It becomes an error of ours, which says what to do."""
    assert told in str(on_dask._to_export_error(error))


@pytest.mark.usefixtures("here")
async def test_the_same_key_twice(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """It is refused where the caller can see it, before there is a cluster."""
    os.environ[variable("b")] = os.environ[variable("a")]
    with pytest.raises(ConfigError, match="a and b have the same API key"):
        await export_on_cluster(configs)
    assert not any(sandbox.requests for sandbox in sandboxes.values())


@pytest.mark.parametrize(
    ("address", "kind", "told"),
    [
        ("127.0.0.1", ConfigError, "missing port number"),
        ("tcp://127.0.0.1:9", ExportError, "cannot reach a dask scheduler at tcp://127.0.0.1:9: "),
        ("", ExportError, "no answer"),
    ],
)
async def test_no_scheduler_there(
    configs: tuple[WorkspaceConfig, ...],
    address: str,
    kind: type[Exception],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No port, nobody there, or somebody else: told in time, with the address."""
    monkeypatch.setattr(on_dask, "_CONNECT", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(kind, match=told):
            await export_on_cluster(configs, address=address or f"127.0.0.1:{port}")


async def test_without_the_extra(
    configs: tuple[WorkspaceConfig, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r'pip install "braze-segments-async\[dask\]"'):
        await export_on_cluster(configs)
