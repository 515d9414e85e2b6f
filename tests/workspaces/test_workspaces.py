"""Workspaces: the file that configures them, and their export at the same time."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import tempfile
import threading
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve
from cli_helpers import ROOT, until
from export_helpers import journaled_ids, names_in, requested_ids, sibling
from hypothesis import example, given
from hypothesis import strategies as st
from workspaces_helpers import keys_in, table, variable, write_file

from braze_segments_async import (
    AuthenticationError,
    BrazeSegments,
    ConfigError,
    Instance,
    RateLimitedError,
    RetryPolicy,
    ServerError,
)
from braze_segments_async.export import ExportProgress, ExportResult, IncompleteExportError, export_segments
from braze_segments_async.sandbox import Answer, Sandbox
from braze_segments_async.workspaces import (
    ExportOptions,
    WorkspaceConfig,
    WorkspaceResult,
    export_workspace,
    export_workspaces,
    read_workspaces,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PASTED = "0a348fd7-bfc5-4712-87ce-8c44d15e9b21"  # has the form of a key of Braze
EU = {"name": "eu", "instance": "EU-01", "api_key_env": "KEY_OF_EU"}
FAST = ExportOptions(retry=RetryPolicy(backoff=0.0))
INCOMPLETE = ExportResult(
    path=Path("eu"), rows=0, failures=(), archived=0, recovered=0, resumed=0, pages=1, elapsed=0.0
)


# --- the file ---------------------------------------------------------------------------------------


def read(folder: Path, text: str | bytes, **options: Any) -> tuple[WorkspaceConfig, ...]:
    """Write a file with the text, and return the workspaces read from it."""
    path = folder / "workspaces.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_workspaces(path, output=folder / "exports", **options)


def test_a_table_configures_a_workspace(tmp_path: Path) -> None:
    """A table names an instance or a URL, and an environment variable or a file with the key."""
    options = ExportOptions(format="csv", csv_safe=True)
    text = table(**EU) + table(name="Test_2", base_url="127.0.0.1/", api_key_file="keys/test")
    eu, other = read(tmp_path, text, options=options)
    assert eu == WorkspaceConfig(
        name="eu",
        base_url=Instance.EU_01,
        path=tmp_path / "exports" / "eu.csv",
        api_key_env="KEY_OF_EU",
        options=options,
    )
    assert (other.base_url, other.api_key_env) == ("https://127.0.0.1", None)
    assert (other.path, other.api_key_file) == (
        tmp_path / "exports" / "Test_2.csv",
        tmp_path / "keys" / "test",
    )


@pytest.mark.parametrize("written", ["EU-01", "eu-01", "eu_01", "EU_01"])
def test_spellings_of_an_instance(tmp_path: Path, written: str) -> None:
    """The name of an instance may be written as Braze, the command, or Python writes it."""
    (config,) = read(tmp_path, table(**{**EU, "instance": written}))
    assert config.base_url == Instance.EU_01


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All paths are absolute, because a worker has another working directory than the caller."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "w.toml").write_text(
        table(name="eu", instance="eu-01", api_key_file="eu.key"), encoding="utf-8-sig"
    )
    monkeypatch.chdir(tmp_path)
    (config,) = read_workspaces("conf/w.toml", output="exports")
    assert config.path == tmp_path / "exports" / "eu.ndjson"
    assert config.api_key_file == tmp_path / "conf" / "eu.key"


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    """The example of docs/workspaces.md has the meaning that the page describes."""
    page = (ROOT / "docs" / "workspaces.md").read_text()
    configs = read(tmp_path, page.split("```toml\n", 1)[1].split("```", 1)[0])
    assert [(config.name, config.base_url) for config in configs] == [
        ("us", Instance.US_01),
        ("eu", Instance.EU_01),
        ("through-a-gateway", "https://braze.example.com/api"),
    ]
    assert configs[1].api_key_file == tmp_path / "keys" / "eu"


WRONG = {
    "not TOML": ("name = eu", "not TOML"),
    "not UTF-8": (b"\xff", "not text in UTF-8"),
    "bottomless": ("a = " + "[" * 100_000, "not TOML"),
    "empty": ("", "names no workspace"),
    "one bracket": (table(**EU).replace("[[workspace]]", "[workspace]"), "[[workspace]]"),
    "no table": ("workspace = [1, 2]", "[[workspace]]"),
    "unknown beside": ("worksapce = 1\n" + table(**EU), "unknown 'worksapce'"),
    "unknown inside": (table(**EU, formt="csv"), "workspace 1: unknown 'formt'"),
    "no name": (table(instance="EU-01", api_key_env="A"), "workspace 1: name must"),
    "name twice": (table(**EU) * 2, "eu and eu have the same name"),
    "name twice on a Mac": (table(**EU) + table(**{**EU, "name": "EU"}), "eu and EU have the same name"),
    "no endpoint": (table(name="eu", api_key_env="A"), "either instance or base_url"),
    "two endpoints": (table(**EU, base_url="https://a.example"), "either instance or base_url"),
    "no such instance": (table(**{**EU, "instance": "EU-99"}), "US-01, "),
    "http": (table(name="eu", base_url="http://a.example", api_key_env="A"), "must be https"),
    "no key": (table(name="eu", instance="EU-01"), "either api_key_env or api_key_file"),
    "two keys": (table(**EU, api_key_file="a"), "either api_key_env or api_key_file"),
    "no text": ("[[workspace]]\nname = 5\n", "name must be text"),
    "the same variable": (table(**EU) + table(**{**EU, "name": "b"}), "eu and b have the same api_key_env"),
    "the second": (table(**EU) + table(**{**EU, "name": "a b"}), "workspace 2: name must"),
    "a key": (table(**EU, api_key=PASTED), "no API key goes into this file"),
    "a key alone": (table(name="eu", instance="EU-01", api_key=PASTED), "api_key_env"),
    "a key by another name": (table(**EU, token=PASTED), "unknown 'token'"),
    "a key for a variable": (table(name="eu", instance="EU-01", api_key_env=PASTED), "is not shown"),
    "a key for a variable, bare": (
        table(name="eu", instance="EU-01", api_key_env=PASTED.replace("-", "")),
        "is not shown",
    ),
    "a key for a file": (table(name="eu", instance="EU-01", api_key_file=PASTED), "looks like a key"),
    "a key without quotes": (f"[[workspace]]\napi_key = {PASTED}\n", "line 2"),
    "a key beside": (f'api_key = "{PASTED}"\n{table(**EU)}', "unknown 'api_key'"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_errors_name_their_place_and_no_key(tmp_path: Path, text: str | bytes, message: str) -> None:
    """The error names the file and the workspace; neither it nor its traceback contains a possible key."""
    with pytest.raises(ConfigError, match=r"workspaces\.toml") as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    package_locals = [str(frame.locals) for frame in frames if "braze_segments_async" in frame.filename]
    assert package_locals
    for shown in (str(caught.value), repr(caught.value.__context__), *package_locals):
        assert PASTED not in shown
        assert PASTED.replace("-", "") not in shown


def test_a_missing_file(tmp_path: Path) -> None:
    """The error names the missing file."""
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        read_workspaces(tmp_path / "none.toml", output=tmp_path)


@given(text=st.text() | st.binary() | st.text(alphabet='[]workspace="\n.na#{}'))
def test_any_other_text_is_refused(text: str | bytes) -> None:
    """Any file without workspaces raises `ConfigError`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.toml")
        path.write_bytes(text if isinstance(text, bytes) else text.encode(errors="surrogatepass"))
        with pytest.raises(ConfigError, match=r"w\.toml"):
            read_workspaces(path, output=folder)


@given(name=st.text() | st.text(alphabet="ab-_./\\\0\n: ~", max_size=4))
@example("../x")
@example("/etc/passwd")
@example("..")
@example("")
@example("a\n")
@example("-rf")
@example("eu.ndjson")
@example("a" * 101)
@example("naïve")
def test_a_name_is_a_plain_file_name(name: str) -> None:
    """Only plain file names are accepted: no paths, dots, options or control characters."""
    folder = Path("/exports")
    try:
        WorkspaceConfig(name=name, base_url=Instance.US_01, path=folder / f"{name}.csv", api_key_env="A")
    except ConfigError as error:
        assert "name must be" in str(error)  # noqa: PT017 - or it is accepted
    else:
        assert name.isascii()
        assert name.replace("-", "").replace("_", "").isalnum()
        assert name[0].isalnum()
        assert len(name) <= 100
        assert Path(os.path.normpath(folder / f"{name}.csv")).parent == folder


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "format must be"),
        ({"consistency": "lax"}, "consistency must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"sizes": 0}, "sizes must be"),
        ({"csv_safe": True}, "csv_safe is for CSV"),
        ({"retry": 3}, "retry must be"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """Wrong options are refused when `ExportOptions` is created."""
    with pytest.raises(ConfigError, match=message):
        ExportOptions(**options)


# --- the export -------------------------------------------------------------------------------------


class Configuration:
    """The configuration of sandboxes as workspaces, and the directory of their files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output = folder / "exports"
        self.output.mkdir()
        self._file = folder / "workspaces.toml"
        self._monkeypatch = monkeypatch

    def configs(self, options: ExportOptions = FAST, **sandboxes: Sandbox) -> tuple[WorkspaceConfig, ...]:
        """Return the configuration of sandboxes, and put their keys into the environment."""
        for name, key in keys_in(sandboxes).items():
            self._monkeypatch.setenv(name, key)
        return read_workspaces(write_file(self._file, sandboxes), output=self.output, options=options)


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """The configuration of the sandboxes of a test."""
    return Configuration(tmp_path, monkeypatch)


@pytest.fixture
async def sandboxes() -> AsyncIterator[tuple[Sandbox, ...]]:
    """Three workspaces with different keys."""
    async with AsyncExitStack() as stack:
        yield tuple(
            [
                await stack.enter_async_context(Sandbox(size, seed=size, api_key=f"key-of-{size}"))
                for size in (30, 120, 7)
            ]
        )


async def test_every_workspace_gets_its_own_file(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """Each workspace is requested with its own key; each file equals that of a single export."""
    a, b, c = sandboxes
    results = await export_workspaces(configuration.configs(a=a, b=b, c=c))
    assert [(r.name, r.outcome, r.rows, r.error) for r in results] == [
        ("a", "done", 30, None),
        ("b", "done", 120, None),
        ("c", "done", 7, None),
    ]
    for sandbox, result in zip(sandboxes, results, strict=True):
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
            await export_segments(client, alone := configuration.output / "alone.ndjson", overwrite=True)
        assert result.path.read_bytes() == alone.read_bytes()
        assert {request.key for request in sandbox.requests} == {sandbox.api_key}


async def test_workspaces_are_exported_concurrently(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """Workspaces are exported concurrently: no sandbox responds before all have received a request."""
    for sandbox in sandboxes:
        sandbox.inject(lambda _: None if all(each.requests for each in sandboxes) else Answer(503))
    patient = evolve(FAST, retry=RetryPolicy(backoff=0.05, attempts=10))
    results = await export_workspaces(
        configuration.configs(patient, a=sandboxes[0], b=sandboxes[1], c=sandboxes[2])
    )
    assert [result.outcome for result in results] == ["done"] * 3


async def test_failures_do_not_affect_other_workspaces(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """A wrong key, an existing file and a failed segment affect only the results of their workspaces."""
    async with Sandbox(5, api_key="right") as locked:
        configs = configuration.configs(a=sandboxes[0], locked=locked, b=sandboxes[1], c=sandboxes[2])
        os.environ[variable("locked")] = "wrong"
        (configuration.output / "a.ndjson").write_text("of yesterday")
        bad = sandboxes[1].segment_ids[3]
        sandboxes[1].inject(Answer(400), endpoint="details", segment_id=bad)
        reported: list[WorkspaceResult] = []
        a, locked_out, b, c = results = await export_workspaces(configs, on_result=reported.append)
    assert [result.outcome for result in results] == ["failed", "failed", "partial", "done"]
    assert isinstance(a.error, ConfigError)
    assert "exists" in str(a.error)
    assert sandboxes[0].requests == []
    assert isinstance(locked_out.error, AuthenticationError)
    assert isinstance(b.error, IncompleteExportError)
    assert (b.rows, b.failures) == (119, 1)
    assert sorted(reported, key=lambda r: r.name) == sorted(results, key=lambda r: r.name)
    assert {path.name for path in configuration.output.iterdir()} == {
        "a.ndjson",
        "b.ndjson.journal",
        "c.ndjson",
    }
    assert (configuration.output / "a.ndjson").read_text() == "of yesterday"
    assert "wrong" not in repr(results) + str(pickle.dumps(results))
    assert c.elapsed > 0


async def test_each_waits_for_its_own_rate_limit(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """A 429 of one workspace does not pause the others."""
    limited = Answer(429, headers={"X-RateLimit-Retry-After": "1"})
    sandboxes[0].inject(limited, endpoint="list", ordinals=1)
    reported: list[str] = []
    results = await export_workspaces(
        configuration.configs(a=sandboxes[0], b=sandboxes[1], c=sandboxes[2]),
        on_result=lambda result: reported.append(result.name),
    )
    assert {result.outcome for result in results} == {"done"}
    assert reported[-1] == "a"
    assert results[0].elapsed >= 1.0


async def test_a_rate_limit_that_lasts_too_long(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """A rate limit that lasts too long has its own outcome, and the journal is kept."""
    limited = Answer(429, headers={"X-RateLimit-Retry-After": "600"})
    sandboxes[1].inject(limited, endpoint="details", ordinals=40)
    (result,) = await export_workspaces(configuration.configs(b=sandboxes[1]))
    assert result.outcome == "rate-limited"
    assert isinstance(result.error, RateLimitedError)
    assert journaled_ids(result.path)


async def test_two_workspaces_with_one_key_are_refused(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """Two workspaces with one key share a rate limit, so they are refused before any request."""
    configs = configuration.configs(a=sandboxes[0], b=sandboxes[1])
    os.environ[variable("b")] = sandboxes[0].api_key
    with pytest.raises(ConfigError, match="a and b have the same API key") as caught:
        await export_workspaces(configs)
    assert sandboxes[0].requests == sandboxes[1].requests == []
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    inner_frames = shown.split("await export_workspaces(configs)", 1)[1]
    assert sandboxes[0].api_key not in inner_frames


@pytest.mark.parametrize("change", [{"name": "a"}, {"path": Path("a")}])
async def test_two_workspaces_with_one_name_or_file_are_refused(change: dict[str, Any]) -> None:
    """Two workspaces with the same name or file are refused, also if configured in Python."""
    one = WorkspaceConfig(name="a", base_url=Instance.US_01, path=Path("a"), api_key_env="A")
    two = evolve(evolve(one, name="b", path=Path("b"), api_key_env="B"), **change)
    with pytest.raises(ConfigError, match="have the same"):
        await export_workspaces([one, two])


@pytest.mark.parametrize("there", ["", "\n"])
async def test_no_key(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...], tmp_path: Path, there: str
) -> None:
    """An unset variable or an empty key file fails only its workspace."""
    (a, b) = configuration.configs(a=sandboxes[0], b=sandboxes[1])
    os.environ[variable("a")] = ""
    (empty := tmp_path / "empty").write_text(there)
    c = WorkspaceConfig(name="c", base_url=b.base_url, path=tmp_path / "c.csv", api_key_file=empty)
    results = await export_workspaces([a, b, c])
    assert [result.outcome for result in results] == ["failed", "done", "failed"]
    assert str(results[0].error) == "no API key: the environment variable KEY_OF_A is not set"
    assert str(results[2].error) == f"{empty} is empty: put the API key into it"


async def test_a_key_in_a_pipe(sandboxes: tuple[Sandbox, ...], tmp_path: Path) -> None:
    """A key file may be a pipe, as of a password manager, which can be read only once."""
    os.mkfifo(pipe := tmp_path / "key")
    config = WorkspaceConfig(
        name="a",
        base_url=sandboxes[0].base_url,
        path=tmp_path / "a.ndjson",
        api_key_file=pipe,
    )
    threading.Thread(target=pipe.write_text, args=(f"{sandboxes[0].api_key}\n",), daemon=True).start()
    (result,) = await export_workspaces([config])
    assert result.outcome == "done"


async def test_resume_exports_only_unfinished_workspaces(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """`resume` skips finished exports, resumes interrupted ones, and starts the others."""
    a, b, c = sandboxes
    b.inject(Answer(400), endpoint="details", segment_id=b.segment_ids[0], times=1)
    first = await export_workspaces(configuration.configs(a=a, b=b))
    assert [result.outcome for result in first] == ["done", "partial"]
    whole, done = first[0].path.read_bytes(), journaled_ids(first[1].path)
    again = await export_workspaces(configuration.configs(b=b))
    assert "resume=True continues it" in str(again[0].error)
    for sandbox in sandboxes:
        sandbox.requests.clear()
    results = await export_workspaces(configuration.configs(evolve(FAST, resume=True), a=a, b=b, c=c))
    assert [(result.outcome, result.resumed) for result in results] == [
        ("skipped", 0),
        ("done", 119),
        ("done", 0),
    ]
    assert results[0].path.read_bytes() == whole
    assert a.requests == []
    assert requested_ids(b) == sorted(set(b.segment_ids) - set(done))


async def test_overwrite_replaces_finished_files(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...]
) -> None:
    """`overwrite` replaces a finished file, also together with `resume`, as in a nightly run."""
    (first,) = await export_workspaces(configuration.configs(a=sandboxes[0]))
    renamed = sandboxes[0].segment_ids[0]
    sandboxes[0].rename(renamed, "Another")
    options = evolve(FAST, resume=True, overwrite=True)
    (result,) = await export_workspaces(configuration.configs(options, a=sandboxes[0]))
    rows = {row["id"]: row["name"] for row in map(json.loads, first.path.read_text().splitlines())}
    assert (result.outcome, rows[renamed]) == ("done", "Another")


async def test_partial_files(configuration: Configuration, sandboxes: tuple[Sandbox, ...]) -> None:
    """`allow_partial` writes the file without an error, and the failed segments beside it."""
    sandboxes[0].inject(Answer(400), endpoint="details", segment_id=sandboxes[0].segment_ids[0])
    (result,) = await export_workspaces(
        configuration.configs(evolve(FAST, allow_partial=True), a=sandboxes[0])
    )
    assert (result.outcome, result.error, result.rows, result.failures) == ("partial", None, 29, 1)
    assert names_in(result.path) == {"a.ndjson", "a.ndjson.failures.ndjson"}


async def test_progress(configuration: Configuration, sandboxes: tuple[Sandbox, ...]) -> None:
    """`on_progress` gets the workspace, its client and the progress, from 0 to all segments."""
    reported: dict[str, list[ExportProgress]] = {"a": [], "b": []}

    def note(config: WorkspaceConfig, client: BrazeSegments, progress: ExportProgress) -> None:
        assert client.base_url == config.base_url
        assert client.stats.paused_until is None
        reported[config.name].append(progress)

    await export_workspaces(configuration.configs(a=sandboxes[0], b=sandboxes[1]), on_progress=note)
    for each, size in zip(reported.values(), (30, 120), strict=True):
        assert (each[0].listed, each[0].done, each[-1].done, each[-1].total) == (0, 0, size, size)


@pytest.mark.parametrize("where", ["progress", "result"])
async def test_an_error_of_a_callback(
    configuration: Configuration, sandboxes: tuple[Sandbox, ...], where: str
) -> None:
    """An error of a callback stops all exports, reaches the caller unchanged, and releases the locks."""

    def fail(*of: Any) -> None:
        if where == "result" or of[2].done:
            raise LookupError

    sandboxes[1].inject(Answer(delay=30), endpoint="details", ordinals=50)
    callback: dict[str, Any] = {f"on_{where}": fail}
    with pytest.raises(LookupError):
        await export_workspaces(configuration.configs(a=sandboxes[0], b=sandboxes[1]), **callback)
    assert not sibling(configuration.output / "b.ndjson", ".lock").exists()


async def test_cancelled(configuration: Configuration, sandboxes: tuple[Sandbox, ...]) -> None:
    """Cancellation stops all exports, and keeps their journals."""
    for sandbox in sandboxes[:2]:
        sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(6, 200))
    configs = configuration.configs(a=sandboxes[0], b=sandboxes[1])
    exporting = asyncio.create_task(export_workspaces(configs))
    await until(lambda: all(len(journaled_ids(config.path)) == 5 for config in configs))
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting
    assert {path.suffix for path in configuration.output.iterdir()} == {".journal"}


async def test_export_workspace(configuration: Configuration, sandboxes: tuple[Sandbox, ...]) -> None:
    """`export_workspace` exports one workspace, and reports errors in its result."""
    (config,) = configuration.configs(a=sandboxes[0])
    assert (await export_workspace(config)).outcome == "done"
    assert (await export_workspace(config)).outcome == "failed"


async def test_a_missing_directory(configuration: Configuration, sandboxes: tuple[Sandbox, ...]) -> None:
    """A missing directory is reported in the result, before any request."""
    (config,) = configuration.configs(a=sandboxes[0])
    config = evolve(config, path=configuration.output / "none" / "a.ndjson")
    result = await export_workspace(config)
    assert "No such file or directory" in str(result.error)
    assert sandboxes[0].requests == []


# --- the values -------------------------------------------------------------------------------------


def test_a_pickled_configuration_contains_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickled configuration contains no key; the process that unpickles it reads the key."""
    config = WorkspaceConfig(name="eu", base_url=Instance.EU_01, path=Path("eu"), api_key_env="KEY_OF_EU")
    monkeypatch.setenv("KEY_OF_EU", PASTED)
    assert config.read_key() == PASTED
    sent = pickle.dumps(config)
    assert PASTED not in repr(config) + str(sent) + repr(config.read_key())
    assert pickle.loads(sent) == config  # noqa: S301 - pickled here
    monkeypatch.setenv("KEY_OF_EU", "another")
    assert pickle.loads(sent).read_key() == "another"  # noqa: S301


def test_a_key_as_the_name_of_a_variable() -> None:
    """A key in place of the name of a variable is refused, also in Python, and is in no message."""
    with pytest.raises(ConfigError) as caught:
        WorkspaceConfig(name="eu", base_url=Instance.EU_01, path=Path("eu"), api_key_env=PASTED)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
    assert PASTED not in str(caught.value)
    assert not [
        frame for frame in frames if "workspaces/config" in frame.filename and PASTED in str(frame.locals)
    ]


@pytest.mark.parametrize(
    ("of", "outcome"),
    [
        ({}, "done"),
        ({"skipped": True}, "skipped"),
        ({"failures": 1}, "partial"),
        ({"failures": 1, "error": IncompleteExportError("", INCOMPLETE)}, "partial"),
        ({"error": RateLimitedError()}, "rate-limited"),
        ({"error": ServerError()}, "failed"),
    ],
)
def test_outcomes(of: dict[str, Any], outcome: str) -> None:
    """A result has one outcome, which is the same after pickling."""
    result = WorkspaceResult(name="eu", path=Path("eu"), **of)
    assert result.outcome == outcome
    assert pickle.loads(pickle.dumps(result)).outcome == outcome  # noqa: S301
