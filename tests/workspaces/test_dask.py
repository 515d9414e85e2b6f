"""Workspaces exported on dask: in this process, and on workers in subprocesses, one of which is killed."""

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
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from attrs import evolve, frozen
from cli_helpers import ROOT, environment, run_command, until
from distributed import Client, KilledWorker
from export_helpers import journaled_ids, requested_ids, sibling
from workspaces_helpers import variable, write_file

from braze_segments_async import BrazeSegments, ConfigError, ExportError, RetryPolicy
from braze_segments_async import dask as on_dask
from braze_segments_async.dask import export_on_cluster
from braze_segments_async.export import ExportProgress, export_segments
from braze_segments_async.sandbox import Answer, LoggedRequest, Sandbox
from braze_segments_async.workspaces import ExportOptions, WorkspaceConfig, WorkspaceResult, read_workspaces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from braze_segments_async._arguments import Format

KEYS = {name: f"secret-of-{name}" for name in "abc"}
CONCURRENCY = 8
OPTIONS = ExportOptions(concurrency=CONCURRENCY, retry=RetryPolicy(backoff=0.0))
# The lock of a killed worker expires after this time instead of half a minute.
LEASE = {"LEASE_TIMEOUT": "1500ms", "LEASE_VALIDATION_INTERVAL": "100ms"}


@frozen
class Cluster:
    """The address of a scheduler, and the pids of its processes."""

    address: str
    scheduler: int
    workers: list[int]


@contextmanager
def cluster(workers: int) -> Generator[Cluster]:
    """Start a cluster in subprocesses whose environment has the keys, unlike that of this process."""
    variables = {f"DASK_DISTRIBUTED__SCHEDULER__LOCKS__{name}": value for name, value in LEASE.items()}
    keys = {variable(name): key for name, key in KEYS.items()}
    with subprocess.Popen(  # noqa: S603 - this interpreter
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
    """A cluster with four workers, one of which is killed by a test."""
    with cluster(4) as found:
        yield found


@pytest.fixture
async def sandboxes() -> AsyncIterator[dict[str, Sandbox]]:
    """Three workspaces with 150 segments each, and slow responses."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(Sandbox(150, seed=seed, api_key=key, latency=0.02))
            for seed, (name, key) in enumerate(KEYS.items())
        }


@pytest.fixture
def configs(sandboxes: dict[str, Sandbox], tmp_path: Path) -> tuple[WorkspaceConfig, ...]:
    """The workspaces as read from their file."""
    (tmp_path / "exports").mkdir()
    file = write_file(tmp_path / "workspaces.toml", sandboxes)
    return read_workspaces(file, output=tmp_path / "exports", options=OPTIONS)


def lock_of(config: WorkspaceConfig) -> Path:
    """Return the lock file, which contains the pid of the process that exports."""
    return sibling(config.path, ".lock")


def is_alive(pid: int) -> bool:
    """Return whether a thread of a process still runs, as it may for a moment after a kill."""
    with suppress(FileNotFoundError, ProcessLookupError):
        states = [
            stat.read_text().rpartition(")")[2].split()[0]
            for stat in Path("/proc").glob(f"{pid}/task/*/stat")
        ]
        return any(state not in "ZX" for state in states)
    return is_alive(pid)  # a thread ended before its state was read


async def export_alone(sandbox: Sandbox, path: Path) -> bytes:
    """Return the bytes that a single export of a workspace writes."""
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        return (await export_segments(client, path, format="ndjson")).path.read_bytes()


async def test_a_worker_is_killed_during_an_export(
    shared: Cluster, sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...], tmp_path: Path
) -> None:
    """Another worker resumes the export, and requests again only the segments that were in flight."""
    killed: list[int] = []
    in_journal: list[str] = []
    # The last response may not be in the journal yet when the next request is sent.
    in_flight = CONCURRENCY + 1

    def kill(request: LoggedRequest) -> None:
        if request.ordinal == 70:
            killed.append(int(lock_of(configs[1]).read_text()))
            os.kill(killed[0], signal.SIGKILL)
            while is_alive(killed[0]):
                pass
            in_journal.extend(journaled_ids(configs[1].path))

    sandboxes["b"].inject(kill, endpoint="details")
    reported: list[WorkspaceResult] = []
    results = await export_on_cluster(configs, address=shared.address, on_result=reported.append)
    assert killed[0] in shared.workers
    assert [(r.name, r.outcome, r.rows, r.resumed) for r in results] == [
        ("a", "done", 150, 0),
        ("b", "done", 150, len(in_journal)),
        ("c", "done", 150, 0),
    ]
    assert {result.name for result in reported} == {"a", "b", "c"}
    assert 70 - in_flight <= len(in_journal) < 70
    for name in "abc":
        times = Counter(requested_ids(sandboxes[name]))
        assert set(times) == set(sandboxes[name].segment_ids)
        twice = {segment_id for segment_id, number in times.items() if number > 1}
        assert len(twice) <= (in_flight if name == "b" else 0)
        assert not twice & set(in_journal)
        assert max(times.values()) <= 2
    files = [result.path.read_bytes() for result in results]
    assert files == await asyncio.gather(*(export_alone(sandboxes[name], tmp_path / name) for name in "abc"))
    assert {path.name for path in configs[0].path.parent.iterdir()} == {"a.ndjson", "b.ndjson", "c.ndjson"}
    # This process never has a key.
    assert not {variable(name) for name in KEYS} & set(os.environ)
    assert "secret" not in str(pickle.dumps((configs, results)))


async def test_the_caller_is_cancelled(
    shared: Cluster, sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """Cancelling the caller stops its exports on the workers, and keeps their journals."""
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
    """A second export of a workspace waits for the first, even if it writes another file."""
    other = evolve(configs[0], path=configs[0].path.with_name("other.ndjson"))
    results = await asyncio.gather(
        *(export_on_cluster([config], address=shared.address) for config in (configs[0], other))
    )
    assert [result.outcome for (result,) in results] == ["done", "done"]
    assert sandboxes["a"].max_details_in_flight <= CONCURRENCY
    first = [r.query["segment_id"] for r in sandboxes["a"].requests if r.endpoint == "details"][:150]
    assert set(first) == set(sandboxes["a"].segment_ids)


async def test_the_scheduler_is_killed(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """If the scheduler dies, every workspace fails with an error that says so, and keeps its journal."""
    sandboxes["a"].inject(Answer(delay=30), endpoint="details", ordinals=range(40, 60))
    with cluster(1) as found:
        exporting = asyncio.create_task(export_on_cluster(configs[:1], address=found.address))
        await until(lambda: sandboxes["a"].count("details") >= 40)
        os.kill(found.scheduler, signal.SIGKILL)
        (result,) = await exporting
    assert (result.outcome, type(result.error)) == ("failed", ExportError)
    assert "the dask scheduler has stopped" in str(result.error)
    assert journaled_ids(configs[0].path)


@pytest.fixture
def keys_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the keys into the environment of this process."""
    for name, key in KEYS.items():
        monkeypatch.setenv(variable(name), key)


@pytest.mark.usefixtures("keys_in_this_process")
async def test_in_this_process(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...], tmp_path: Path
) -> None:
    """Without an address, workspaces are exported concurrently in this process; failures are separate."""
    os.environ[variable("b")] = "wrong"
    a, b, c = await export_on_cluster(configs)
    assert [result.outcome for result in (a, b, c)] == ["done", "failed", "done"]
    assert "401 after 1 attempt" in str(b.error)
    assert a.path.read_bytes() == await export_alone(sandboxes["a"], tmp_path / "alone")
    assert abs(sandboxes["a"].requests[0].at - sandboxes["c"].requests[0].at) < a.elapsed


@pytest.mark.usefixtures("keys_in_this_process")
async def test_overwrite_starts_afresh(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """`overwrite` ignores the journal of an earlier run."""
    a = sandboxes["a"]
    a.inject(Answer(400), endpoint="details", segment_id=a.segment_ids[0], times=1)
    (first,) = await export_on_cluster(configs[:1])
    assert first.outcome == "partial"
    config = evolve(configs[0], options=evolve(OPTIONS, overwrite=True))
    (second,) = await export_on_cluster([config])
    assert (second.outcome, second.rows, second.resumed) == ("done", 150, 0)


@pytest.mark.usefixtures("keys_in_this_process")
@pytest.mark.parametrize("format_", ["ndjson", "csv", "parquet", "sqlite"])
async def test_a_worker_died_after_the_export(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...], format_: Format
) -> None:
    """If dask repeats a task whose worker died after the export, the result is the same, without requests."""
    path = configs[0].path.with_suffix(f".{format_}")
    config = evolve(configs[0], path=path, options=evolve(OPTIONS, format=format_, concurrency=64))
    async with on_dask._connected(None, 1) as client:
        for _ in range(2):
            result = await client.submit(on_dask._export, config, "one run", pure=False)
            assert (result.outcome, result.rows) == ("done", 150)
        # A new run finds a finished file, and is refused; with `resume` it has nothing to do.
        skipping = evolve(config, options=evolve(config.options, resume=True))
        for expected in ("skipped", "skipped"):
            result = await client.submit(on_dask._export, skipping, "another run", pure=False)
            assert result.outcome == expected
    assert sandboxes["a"].count("details") == 150


async def test_progress(shared: Cluster, configs: tuple[WorkspaceConfig, ...]) -> None:
    """`on_progress` gets the counts of each workspace from its worker."""
    reported: dict[str, list[ExportProgress]] = {}
    await export_on_cluster(
        configs,
        address=shared.address,
        on_progress=lambda config, progress: reported.setdefault(config.name, []).append(progress),
    )
    assert set(reported) == {"a", "b", "c"}
    assert all(each.done <= each.listed <= 150 for progress in reported.values() for each in progress)


async def test_no_worker(
    configs: tuple[WorkspaceConfig, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a worker, warnings are logged and reported, and every workspace fails after the timeout."""
    monkeypatch.setattr(on_dask, "_WARN_EVERY", 0.1)
    monkeypatch.setattr(on_dask, "_WORKER_POLL_INTERVAL", 0.01)
    waited: list[float] = []
    with cluster(0) as found:
        results = await export_on_cluster(
            configs, address=found.address, worker_timeout=0.4, on_waiting=waited.append
        )
    assert [result.outcome for result in results] == ["failed"] * 3
    assert "has had no worker for 0.4 s: start one with `dask worker`; worker_timeout can be longer" in str(
        results[0].error
    )
    assert len(waited) >= 2
    assert waited == sorted(waited)
    warnings = [record.getMessage() for record in caplog.records if record.name == "braze_segments_async"]
    assert len(warnings) == len(waited)
    assert "the dask scheduler has had no worker" in warnings[0]


async def test_few_threads(
    shared: Cluster, configs: tuple[WorkspaceConfig, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """If the workers have fewer threads than there are workspaces, a log record advises `--nthreads`."""
    (a, *_) = configs
    many = [
        evolve(
            a, name=f"a{number}", path=a.path.with_name(f"{number}.ndjson"), api_key_env=f"NO_KEY_{number}"
        )
        for number in range(9)
    ]
    with caplog.at_level("INFO", logger="braze_segments_async"):
        results = await export_on_cluster(many, address=shared.address)
    assert [result.outcome for result in results] == ["failed"] * 9
    assert (
        "of 9 workspaces at a time, one a thread; for more, start its workers with --nthreads" in caplog.text
    )


async def test_nothing_is_left_on_the_scheduler(
    shared: Cluster, configs: tuple[WorkspaceConfig, ...]
) -> None:
    """After a success and after a failure, the scheduler keeps no event and no task of the run."""
    no_key = evolve(configs[1], api_key_env="NOT_SET")
    results = await export_on_cluster([configs[0], no_key], address=shared.address)
    assert [result.outcome for result in results] == ["done", "failed"]

    def left(dask_scheduler: Any) -> list[str]:
        names = [*dask_scheduler.extensions["events"]._events, *dask_scheduler.tasks]
        return [str(name) for name in names if str(name).startswith(("a-", "b-"))]

    connect: Any = Client  # has no types
    async with connect(shared.address, asynchronous=True, set_as_default=False) as client:
        assert await client.run_on_scheduler(left) == []


async def test_parallel_is_for_one_process(configs: tuple[WorkspaceConfig, ...]) -> None:
    """On a cluster the threads of the workers decide, so `parallel` is refused."""
    with pytest.raises(ConfigError, match="parallel is for one process"):
        await export_on_cluster(configs, address="tcp://127.0.0.1:9", parallel=3)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KilledWorker("a", Mock(), 3), "4 workers died while they exported it; resume=True"),
        (CancelledError(), "the dask scheduler has stopped, or has dropped the export; resume=True"),
        (ModuleNotFoundError("No module named 'braze_segments_async'"), "the same version of this package"),
    ],
)
def test_errors_of_dask(error: Exception, message: str) -> None:
    """Errors of dask become an `ExportError` that says what to do."""
    assert message in str(on_dask._to_export_error(error))


@pytest.mark.usefixtures("keys_in_this_process")
async def test_two_workspaces_with_one_key_are_refused(
    sandboxes: dict[str, Sandbox], configs: tuple[WorkspaceConfig, ...]
) -> None:
    """Two workspaces with one key are refused before a cluster is started."""
    os.environ[variable("b")] = os.environ[variable("a")]
    with pytest.raises(ConfigError, match="a and b have the same API key"):
        await export_on_cluster(configs)
    assert not any(sandbox.requests for sandbox in sandboxes.values())


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("127.0.0.1", ConfigError, "missing port number"),
        ("tcp://127.0.0.1:9", ExportError, "cannot reach a dask scheduler at tcp://127.0.0.1:9: "),
        ("", ExportError, "no answer"),
    ],
)
async def test_no_scheduler_at_the_address(
    configs: tuple[WorkspaceConfig, ...],
    address: str,
    kind: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing port, a closed port and a server that is no scheduler raise an error in time."""
    monkeypatch.setattr(on_dask, "_CONNECT", 0.3)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(kind, match=message):
            await export_on_cluster(configs, address=address or f"127.0.0.1:{port}")


async def test_without_the_extra(
    configs: tuple[WorkspaceConfig, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without dask, the error says what to install."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r'pip install "braze-segments-async\[dask\]"'):
        await export_on_cluster(configs)
