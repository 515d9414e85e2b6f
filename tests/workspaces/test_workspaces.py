"""Many workspaces: what their file may say, and what happens when they are exported at the same time."""

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
from export_helpers import asked, beside, journaled, names_in
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

PASTED = "0a348fd7-bfc5-4712-87ce-8c44d15e9b21"  # as Braze's keys look
EU = {"name": "eu", "instance": "EU-01", "api_key_env": "KEY_OF_EU"}
FAST = ExportOptions(retry=RetryPolicy(backoff=0.0))
INCOMPLETE = ExportResult(
    path=Path("eu"), rows=0, failures=(), archived=0, recovered=0, resumed=0, pages=1, elapsed=0.0
)


# --- the file ---------------------------------------------------------------------------------------


def read(folder: Path, text: str | bytes, **options: Any) -> tuple[WorkspaceConfig, ...]:
    """Read a file of that text."""
    path = folder / "workspaces.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_workspaces(path, output=folder / "exports", **options)


def test_a_workspace_is_what_its_table_says(tmp_path: Path) -> None:
    """An instance by its name or an endpoint by its url; a key in a variable or in a file."""
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
def test_an_instance_is_written_as_one_likes(tmp_path: Path, written: str) -> None:
    """As Braze writes it, as the command does, or as Python does."""
    (config,) = read(tmp_path, table(**{**EU, "instance": written}))
    assert config.base_url == Instance.EU_01


def test_paths_do_not_depend_on_where_the_reader_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has a working directory of its own, so nothing is left relative to the reader's."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "w.toml").write_text(
        table(name="eu", instance="eu-01", api_key_file="eu.key"), encoding="utf-8-sig"
    )
    monkeypatch.chdir(tmp_path)
    (config,) = read_workspaces("conf/w.toml", output="exports")
    assert config.path == tmp_path / "exports" / "eu.ndjson"
    assert config.api_key_file == tmp_path / "conf" / "eu.key"


def test_the_file_on_the_page(tmp_path: Path) -> None:
    """The example of docs/workspaces.md is read as the page says."""
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


@pytest.mark.parametrize(("text", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_by_its_place(tmp_path: Path, text: str | bytes, told: str) -> None:
    """The file and the workspace are named; what could be a key is in no message and no traceback."""
    with pytest.raises(ConfigError, match=r"workspaces\.toml") as caught:
        read(tmp_path, text)
    assert told in str(caught.value)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    ours = [str(frame.locals) for frame in frames if "braze_segments_async" in frame.filename]
    assert ours
    for shown in (str(caught.value), repr(caught.value.__context__), *ours):
        assert PASTED not in shown
        assert PASTED.replace("-", "") not in shown


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        read_workspaces(tmp_path / "none.toml", output=tmp_path)


@given(text=st.text() | st.binary() | st.text(alphabet='[]workspace="\n.na#{}'))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    """Whatever stands in the file: workspaces, or a `ConfigError`."""
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
def test_a_name_is_a_plain_file_name_or_refused(name: str) -> None:
    """Nothing that leaves the directory, hides, is another's by suffix, an option, or a control character."""
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
    ("options", "told"),
    [
        ({"format": "xml"}, "format must be"),
        ({"consistency": "lax"}, "consistency must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"sizes": 0}, "sizes must be"),
        ({"csv_safe": True}, "csv_safe is for CSV"),
        ({"retry": 3}, "retry must be"),
    ],
)
def test_wrong_options(options: dict[str, Any], told: str) -> None:
    """They are refused when they are made, not once for each workspace."""
    with pytest.raises(ConfigError, match=told):
        ExportOptions(**options)


# --- the export -------------------------------------------------------------------------------------


class Several:
    """Sandboxes as workspaces: what they are configured as, and where their files go."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.output = folder / "exports"
        self.output.mkdir()
        self._file = folder / "workspaces.toml"
        self._monkeypatch = monkeypatch

    def configs(self, options: ExportOptions = FAST, **sandboxes: Sandbox) -> tuple[WorkspaceConfig, ...]:
        """As the file would name them; their keys are in the environment."""
        for name, key in keys_in(sandboxes).items():
            self._monkeypatch.setenv(name, key)
        return read_workspaces(write_file(self._file, sandboxes), output=self.output, options=options)


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Several:
    """Workspaces of a test."""
    return Several(tmp_path, monkeypatch)


@pytest.fixture
async def three() -> AsyncIterator[tuple[Sandbox, ...]]:
    """Three workspaces, each with a key of its own."""
    async with AsyncExitStack() as stack:
        yield tuple(
            [
                await stack.enter_async_context(Sandbox(size, seed=size, api_key=f"key-of-{size}"))
                for size in (30, 120, 7)
            ]
        )


async def test_every_workspace_gets_its_own_file(several: Several, three: tuple[Sandbox, ...]) -> None:
    """Each asked with its own key; each file is what one export alone would have written."""
    a, b, c = three
    results = await export_workspaces(several.configs(a=a, b=b, c=c))
    assert [(r.name, r.outcome, r.rows, r.error) for r in results] == [
        ("a", "done", 30, None),
        ("b", "done", 120, None),
        ("c", "done", 7, None),
    ]
    for sandbox, result in zip(three, results, strict=True):
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
            await export_segments(client, alone := several.output / "alone.ndjson", overwrite=True)
        assert result.path.read_bytes() == alone.read_bytes()
        assert {request.key for request in sandbox.requests} == {sandbox.api_key}


async def test_all_at_the_same_time(several: Several, three: tuple[Sandbox, ...]) -> None:
    """None waits for another: none would get an answer before all have been asked."""
    for sandbox in three:
        sandbox.inject(lambda _: None if all(each.requests for each in three) else Answer(503))
    patient = evolve(FAST, retry=RetryPolicy(backoff=0.05, attempts=10))
    results = await export_workspaces(several.configs(patient, a=three[0], b=three[1], c=three[2]))
    assert [result.outcome for result in results] == ["done"] * 3


async def test_one_that_fails_fails_alone(several: Several, three: tuple[Sandbox, ...]) -> None:
    """A wrong key, a file that is there, segments that cannot be had: each is told in its own result."""
    async with Sandbox(5, api_key="right") as locked:
        configs = several.configs(a=three[0], locked=locked, b=three[1], c=three[2])
        os.environ[variable("locked")] = "wrong"
        (several.output / "a.ndjson").write_text("of yesterday")
        bad = three[1].segment_ids[3]
        three[1].inject(Answer(400), endpoint="details", segment_id=bad)
        told: list[WorkspaceResult] = []
        a, locked_out, b, c = results = await export_workspaces(configs, on_result=told.append)
    assert [result.outcome for result in results] == ["failed", "failed", "partial", "done"]
    assert isinstance(a.error, ConfigError)
    assert "exists" in str(a.error)
    assert three[0].requests == []
    assert isinstance(locked_out.error, AuthenticationError)
    assert isinstance(b.error, IncompleteExportError)
    assert (b.rows, b.failures) == (119, 1)
    assert sorted(told, key=lambda r: r.name) == sorted(results, key=lambda r: r.name)
    assert {path.name for path in several.output.iterdir()} == {"a.ndjson", "b.ndjson.journal", "c.ndjson"}
    assert (several.output / "a.ndjson").read_text() == "of yesterday"
    assert "wrong" not in repr(results) + str(pickle.dumps(results))
    assert c.elapsed > 0


async def test_each_waits_for_its_own_rate_limit(several: Several, three: tuple[Sandbox, ...]) -> None:
    """A 429 of one workspace stops no other."""
    limited = Answer(429, headers={"X-RateLimit-Retry-After": "1"})
    three[0].inject(limited, endpoint="list", ordinals=1)
    told: list[str] = []
    results = await export_workspaces(
        several.configs(a=three[0], b=three[1], c=three[2]), on_result=lambda result: told.append(result.name)
    )
    assert {result.outcome for result in results} == {"done"}
    assert told[-1] == "a"
    assert results[0].elapsed >= 1.0


async def test_a_wait_that_is_too_long(several: Several, three: tuple[Sandbox, ...]) -> None:
    """It is told as such, and what had come is kept."""
    limited = Answer(429, headers={"X-RateLimit-Retry-After": "600"})
    three[1].inject(limited, endpoint="details", ordinals=40)
    (result,) = await export_workspaces(several.configs(b=three[1]))
    assert result.outcome == "rate-limited"
    assert isinstance(result.error, RateLimitedError)
    assert journaled(result.path)


async def test_the_same_key_twice(several: Several, three: tuple[Sandbox, ...]) -> None:
    """Whichever variables it is in: it would spend one allowance twice. Nothing is sent; no key is shown."""
    configs = several.configs(a=three[0], b=three[1])
    os.environ[variable("b")] = three[0].api_key
    with pytest.raises(ConfigError, match="a and b have the same API key") as caught:
        await export_workspaces(configs)
    assert three[0].requests == three[1].requests == []
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = shown.split("await export_workspaces(configs)", 1)[1]
    assert three[0].api_key not in ours


@pytest.mark.parametrize("change", [{"name": "a"}, {"path": Path("a")}])
async def test_the_same_name_or_file_twice(change: dict[str, Any]) -> None:
    """Configured by hand, too."""
    one = WorkspaceConfig(name="a", base_url=Instance.US_01, path=Path("a"), api_key_env="A")
    two = evolve(evolve(one, name="b", path=Path("b"), api_key_env="B"), **change)
    with pytest.raises(ConfigError, match="have the same"):
        await export_workspaces([one, two])


@pytest.mark.parametrize("there", ["", "\n"])
async def test_no_key(several: Several, three: tuple[Sandbox, ...], tmp_path: Path, there: str) -> None:
    """A variable that is not set, or a file without a key, is the failure of that workspace."""
    (a, b) = several.configs(a=three[0], b=three[1])
    os.environ[variable("a")] = ""
    (empty := tmp_path / "empty").write_text(there)
    c = WorkspaceConfig(name="c", base_url=b.base_url, path=tmp_path / "c.csv", api_key_file=empty)
    results = await export_workspaces([a, b, c])
    assert [result.outcome for result in results] == ["failed", "done", "failed"]
    assert str(results[0].error) == "no API key: the environment variable KEY_OF_A is not set"
    assert str(results[2].error) == f"{empty} is empty: put the API key into it"


async def test_a_key_that_can_be_read_once(three: tuple[Sandbox, ...], tmp_path: Path) -> None:
    """As from a password manager, through a pipe."""
    os.mkfifo(pipe := tmp_path / "key")
    config = WorkspaceConfig(
        name="a",
        base_url=three[0].base_url,
        path=tmp_path / "a.ndjson",
        api_key_file=pipe,
    )
    threading.Thread(target=pipe.write_text, args=(f"{three[0].api_key}\n",), daemon=True).start()
    (result,) = await export_workspaces([config])
    assert result.outcome == "done"


async def test_resume_goes_on_where_there_is_something_to_do(
    several: Several, three: tuple[Sandbox, ...]
) -> None:
    """Finished files are left alone, what was interrupted goes on, what never began begins."""
    a, b, c = three
    b.inject(Answer(400), endpoint="details", segment_id=b.segment_ids[0], times=1)
    first = await export_workspaces(several.configs(a=a, b=b))
    assert [result.outcome for result in first] == ["done", "partial"]
    whole, done = first[0].path.read_bytes(), journaled(first[1].path)
    again = await export_workspaces(several.configs(b=b))
    assert "resume=True continues it" in str(again[0].error)
    for sandbox in three:
        sandbox.requests.clear()
    results = await export_workspaces(several.configs(evolve(FAST, resume=True), a=a, b=b, c=c))
    assert [(result.outcome, result.resumed) for result in results] == [
        ("skipped", 0),
        ("done", 119),
        ("done", 0),
    ]
    assert results[0].path.read_bytes() == whole
    assert a.requests == []
    assert asked(b) == sorted(set(b.segment_ids) - set(done))


async def test_overwrite_replaces_finished_files(several: Several, three: tuple[Sandbox, ...]) -> None:
    """With resume, too: a nightly run goes on if it was interrupted, and else starts anew."""
    (first,) = await export_workspaces(several.configs(a=three[0]))
    renamed = three[0].segment_ids[0]
    three[0].rename(renamed, "Another")
    options = evolve(FAST, resume=True, overwrite=True)
    (result,) = await export_workspaces(several.configs(options, a=three[0]))
    rows = {row["id"]: row["name"] for row in map(json.loads, first.path.read_text().splitlines())}
    assert (result.outcome, rows[renamed]) == ("done", "Another")


async def test_partial_files(several: Several, three: tuple[Sandbox, ...]) -> None:
    """With `allow_partial` the file is there, what it lacks beside it, and no error."""
    three[0].inject(Answer(400), endpoint="details", segment_id=three[0].segment_ids[0])
    (result,) = await export_workspaces(several.configs(evolve(FAST, allow_partial=True), a=three[0]))
    assert (result.outcome, result.error, result.rows, result.failures) == ("partial", None, 29, 1)
    assert names_in(result.path) == {"a.ndjson", "a.ndjson.failures.ndjson"}


async def test_progress(several: Several, three: tuple[Sandbox, ...]) -> None:
    """It is told with the workspace and its client, from the opening to the end."""
    told: dict[str, list[ExportProgress]] = {"a": [], "b": []}

    def hear(config: WorkspaceConfig, client: BrazeSegments, progress: ExportProgress) -> None:
        assert client.base_url == config.base_url
        assert client.stats.paused_until is None
        told[config.name].append(progress)

    await export_workspaces(several.configs(a=three[0], b=three[1]), on_progress=hear)
    for each, size in zip(told.values(), (30, 120), strict=True):
        assert (each[0].listed, each[0].done, each[-1].done, each[-1].total) == (0, 0, size, size)


@pytest.mark.parametrize("where", ["progress", "result"])
async def test_an_error_of_the_callers_own(several: Several, three: tuple[Sandbox, ...], where: str) -> None:
    """It ends all of them, and comes out as it is; what had been exported is kept."""

    def fail(*of: Any) -> None:
        if where == "result" or of[2].done:
            raise LookupError

    three[1].inject(Answer(delay=30), endpoint="details", ordinals=50)
    with pytest.raises(LookupError):
        await export_workspaces(several.configs(a=three[0], b=three[1]), **{f"on_{where}": fail})
    assert not beside(several.output / "b.ndjson", ".lock").exists()


async def test_cancelled(several: Several, three: tuple[Sandbox, ...]) -> None:
    """All end at once, and keep their journals."""
    for sandbox in three[:2]:
        sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(6, 200))
    configs = several.configs(a=three[0], b=three[1])
    exporting = asyncio.create_task(export_workspaces(configs))
    await until(lambda: all(len(journaled(config.path)) == 5 for config in configs))
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exporting
    assert {path.suffix for path in several.output.iterdir()} == {".journal"}


async def test_one_alone(several: Several, three: tuple[Sandbox, ...]) -> None:
    """`export_workspace` is the export of one: what goes wrong is in its result, too."""
    (config,) = several.configs(a=three[0])
    assert (await export_workspace(config)).outcome == "done"
    assert (await export_workspace(config)).outcome == "failed"


async def test_what_cannot_be_looked_at(several: Several, three: tuple[Sandbox, ...]) -> None:
    """A directory that is not there is told in the result."""
    (config,) = several.configs(a=three[0])
    config = evolve(config, path=several.output / "none" / "a.ndjson")
    result = await export_workspace(config)
    assert "No such file or directory" in str(result.error)
    assert three[0].requests == []


# --- the values -------------------------------------------------------------------------------------


def test_no_key_in_what_stands_for_a_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured and pickled, it says where the key is; who unpickles it reads it in his own place."""
    config = WorkspaceConfig(name="eu", base_url=Instance.EU_01, path=Path("eu"), api_key_env="KEY_OF_EU")
    monkeypatch.setenv("KEY_OF_EU", PASTED)
    assert config.read_key() == PASTED
    sent = pickle.dumps(config)
    assert PASTED not in repr(config) + str(sent) + repr(config.read_key())
    assert pickle.loads(sent) == config  # noqa: S301 - our own
    monkeypatch.setenv("KEY_OF_EU", "another")
    assert pickle.loads(sent).read_key() == "another"  # noqa: S301


def test_a_key_for_the_name_of_a_variable() -> None:
    """By hand, too: it is refused, and not shown."""
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
    """One word for each way to end, and it survives the way to another process."""
    result = WorkspaceResult(name="eu", path=Path("eu"), **of)
    assert result.outcome == outcome
    assert pickle.loads(pickle.dumps(result)).outcome == outcome  # noqa: S301
