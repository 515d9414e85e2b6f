"""The command does what its help says, ends with the exit code it promises, and never shows the key."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import braze_segments_async
from braze_segments_async import BrazeSegments, PermissionDeniedError, RateLimit, SegmentDetails, SegmentPage
from braze_segments_async.cli import progress
from braze_segments_async.cli.app import app
from braze_segments_async.cli.progress import Watch, watching
from braze_segments_async.cli.work import _found
from braze_segments_async.export import to_json_line
from braze_segments_async.models import Segment, Stats
from braze_segments_async.sandbox import Answer, Sandbox

ROOT = Path(braze_segments_async.__file__).parents[1]
COMMAND = (sys.executable, "-m", "braze_segments_async")
KEY = "a-key-that-nobody-may-see"
DAY = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)


def _environment(sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BRAZE_")}
    ours |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    if sandbox is not None:
        ours |= {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
    return ours | more


async def _start(sandbox: Sandbox, *arguments: str, **options: Any) -> Process:
    options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, "env": _environment(sandbox), **options}
    return await asyncio.create_subprocess_exec(*COMMAND, *arguments, **options)


async def _run(sandbox: Sandbox, *arguments: str, **options: Any) -> tuple[int | None, str, str]:
    process = await _start(sandbox, *arguments, **options)
    out, err = await process.communicate()
    assert KEY.encode() not in (out or b"") + (err or b"")
    return process.returncode, (out or b"").decode(), (err or b"").decode()


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - the sandbox announces nothing
        await asyncio.sleep(0.01)


def _in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        app(list(arguments))
    assert isinstance(ending.value.code, int)
    return ending.value.code


# --- pure pieces --------------------------------------------------------------------------------------


def test_line_has_every_field_in_order() -> None:
    """A line holds the fields in the order of the model, ISO times, and characters as they are."""
    details = SegmentDetails(
        id="1",
        name='Käufer, "neu"\n🔥 שלום',
        tags=("a", "b"),
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))),
        extra={"id": "x", "nested": {"deep": [1, None]}},
    )
    line = to_json_line(details)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert "Käufer" in line.decode()
    assert "🔥 שלום" in line.decode()
    value = json.loads(line)
    assert list(value) == list(SegmentDetails.__annotations__)
    assert value["name"] == details.name
    assert value["tags"] == ["a", "b"]
    assert value["created_at"] == "2026-01-02T03:04:05+02:00"
    assert value["extra"] == {"id": "x", "nested": {"deep": [1, None]}}


def test_line_with_a_lone_surrogate_is_escaped() -> None:
    """A text that UTF-8 cannot say is written with escapes, and reads back the same."""
    line = to_json_line(SegmentDetails(id="1", name="ü \ud83d"))
    assert line.isascii()
    assert json.loads(line)["name"] == "ü \ud83d"


def _page(number: int, size: int) -> SegmentPage:
    return SegmentPage(number, tuple(Segment(f"{number}-{i}", "") for i in range(size)))


class _Client:
    """What the watch reads of a client."""

    def __init__(self, stats: Stats | None = None, rate_limit: RateLimit | None = None) -> None:
        self.stats = stats or Stats()
        self.rate_limit = rate_limit


def test_watch_tells_the_time_left_once_the_total_is_known() -> None:
    """The number found is "so far", and there is no time left, until the list has been walked to its end."""
    now = 0.0
    watch = Watch(_Client(rate_limit=RateLimit(250_000, 249_979, DAY)), clock=lambda: now)
    watch.page(_page(0, 100))
    now = 2.0
    for _ in range(20):
        watch.details()
    assert watch.words() == (
        "20 of 100 so far",
        "1 page · 10 details/s · 249,979 requests left until 10:15 UTC",
    )
    watch.page(_page(1, 60))
    watch.listed = True
    assert watch.words()[0] == "20 of 160, 0:00:14 left"


def test_watch_says_that_and_until_when_it_is_paused() -> None:
    """While the client waits for the rate limit, that is said; the speed afterwards does not count it."""
    now = 0.0
    client = _Client(Stats(paused_until=DAY, pause_reason="429"))
    watch = Watch(client, clock=lambda: now)
    watch.page(_page(0, 100))
    watch.listed = True
    now = 3_000.0
    assert watch.words() == ("0 of 100", "1 page · paused until 10:15:00 UTC: 429")
    now = 3_001.0
    client.stats = Stats(requests=3, retries=1)
    watch.details()
    assert watch.words() == ("1 of 100, 0:01:39 left", "1 page · 1 details/s · 1 retry")


@pytest.mark.parametrize(
    ("found", "stats", "summary"),
    [
        (0, Stats(requests=1), "0 segments with details in 1.2 s (1 request, 0 retries)"),
        (1, Stats(requests=3, retries=1), "1 segment with details in 1.2 s (3 requests, 1 retry)"),
    ],
)
def test_summary(found: int, stats: Stats, summary: str) -> None:
    """The summary says how much, how long, and with how many requests."""
    now = 0.0
    watch = Watch(_Client(stats), clock=lambda: now)
    for _ in range(found):
        watch.details()
    now = 1.2
    assert watch.summary() == summary


async def test_lines_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal, progress is plain lines; a pause is said once, however long it is."""
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.001)
    watch = Watch(_Client(Stats(paused_until=DAY, pause_reason="429")))
    async with watching(watch, bar=True):
        await asyncio.sleep(0.05)
    assert capsys.readouterr().err.splitlines() == [
        "0 of 0 so far · 0 pages · paused until 10:15:00 UTC: 429"
    ]


async def test_a_walk_that_fails_ends_the_export_at_once() -> None:
    """What the list had before it failed is not asked for any more."""
    async with Sandbox(400) as sandbox, BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as segments:
        sandbox.inject(Answer(status=403), endpoint="list", page=2)
        found = _found(segments, Watch(segments))
        await anext(found)
        await _until(lambda: sandbox.count("list", 403))
        await asyncio.sleep(0.05)  # until the refusal has arrived
        with pytest.raises(PermissionDeniedError):
            await anext(found)


# --- usage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("nope",),
        ("export", "--api-key", KEY),
        ("export", f"--api-key={KEY}"),
        ("export", "--concurrency", "0"),
        ("export", "--concurrency", "many"),
        ("export", "--segments", "5"),
        ("export", "--sandbox", "--base-url", "https://rest.iad-01.braze.com"),
        ("export", "--sandbox", "--segments", "-1"),
        ("export", "--base-url", "https://rest.iad-01.braze.com"),
        ("sandbox", "--port", "70000"),
    ],
)
def test_wrong_use_exits_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong options and a missing key exit 2 and say why on stderr, without what may be a key."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    assert _code(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err
    assert KEY not in told.err


def test_export_of_the_embedded_sandbox(capfd: pytest.CaptureFixture[str]) -> None:
    """`export --sandbox --segments 3 --quiet` needs no key, writes three lines and says nothing."""
    assert _code("export", "--sandbox", "--segments", "3", "--quiet") == 0
    told = capfd.readouterr()
    assert sorted(json.loads(line)["id"] for line in told.out.splitlines()) == sorted(Sandbox(3).segment_ids)
    assert told.err == ""


def test_a_target_in_no_folder_exits_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be made is a failure, told in one line."""
    assert _code("export", "--sandbox", "--output", str(tmp_path / "none" / "x.ndjson")) == 1
    assert capfd.readouterr().err == (
        f"braze-segments: cannot write {tmp_path / 'none' / 'x.ndjson'}: No such file or directory\n"
    )


def test_help_needs_neither_the_client_nor_aiohttp() -> None:
    """`--help` imports nothing of the work: with the package's own door left aside, no aiohttp."""
    program = (
        "import sys, types; door = types.ModuleType('braze_segments_async');"
        f"door.__path__ = [{str(ROOT / 'braze_segments_async')!r}]; sys.modules[door.__name__] = door;"
        "from braze_segments_async.cli.app import app\n"
        "try: app(['export', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('aiohttp' in sys.modules, 'braze_segments_async.client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603
    assert "--concurrency" in done.stdout
    assert done.stdout.endswith("False False\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version and nothing else."""
    assert _code("--version") == 0
    assert capsys.readouterr().out == f"{braze_segments_async.__version__}\n"


def test_without_the_extra_one_line_says_what_to_install() -> None:
    """Where cyclopts is not installed, the command exits 1 and names the extra."""
    program = "import sys; sys.modules['cyclopts'] = None; from braze_segments_async.cli import main; main()"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=_environment()
    )
    assert done.returncode == 1
    assert 'pip install "braze-segments-async[cli]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- the real command against a real server -----------------------------------------------------------


async def test_every_segment_comes_as_one_line() -> None:
    """All segments come to stdout, as Braze has them, each once and asked for once; a summary to stderr."""
    async with Sandbox(120, api_key=KEY) as sandbox:
        code, out, err = await _run(sandbox, "export")
        values = {value["id"]: value for value in map(json.loads, out.splitlines())}
        assert code == 0
        assert len(out.splitlines()) == 120
        assert set(values) == set(sandbox.segment_ids)
        for segment_id, value in values.items():
            body, row = sandbox.details(segment_id), sandbox.segment(segment_id)
            assert {value[name] == body[name] for name in ("name", "description", "tags")} == {True}
            assert value["analytics_tracking_enabled"] == row["analytics_tracking_enabled"]
            assert value["extra"] == {"id": body["id"]}
            assert datetime.fromisoformat(value["created_at"]).tzinfo is not None
        assert (sandbox.count("list"), sandbox.count("details")) == (2, 120)
    assert err.startswith("120 segments with details in ")
    assert err.endswith(" s (122 requests, 0 retries)\n")


async def test_output_is_a_whole_new_file(tmp_path: Path) -> None:
    """`--output` leaves the file and nothing beside it; the next time it is refused, and nothing is asked."""
    target = tmp_path / "segments.ndjson"
    async with Sandbox(30, api_key=KEY) as sandbox:
        code, out, err = await _run(sandbox, "export", "--output", str(target))
        assert (code, out) == (0, "")
        assert err.endswith(f" s (31 requests, 0 retries) → {target}\n")
        whole = target.read_bytes()
        assert len(whole.splitlines()) == 30
        assert _in(tmp_path) == [target]
        asked = len(sandbox.requests)
        code, _, err = await _run(sandbox, "export", "--output", str(target))
        assert (code, err) == (2, f"braze-segments: {target} exists; name a new file\n")
        assert len(sandbox.requests) == asked
        assert target.read_bytes() == whole


async def test_a_refused_key_exits_1_without_showing_it(tmp_path: Path) -> None:
    """A key that Braze refuses ends in one line on stderr, without the key, and no file."""
    async with Sandbox(5) as sandbox:
        environment = _environment(sandbox, BRAZE_API_KEY=KEY)
        code, _, err = await _run(sandbox, "export", "--output", str(tmp_path / "x"), env=environment)
    assert code == 1
    assert err.startswith("braze-segments: GET /segments/list (page=0): 401 after 1 attempt: ")
    assert len(err.splitlines()) == 1
    assert _in(tmp_path) == []


async def test_a_full_disk_exits_1_and_leaves_nothing(tmp_path: Path) -> None:
    """A write that fails ends in one line that names the file; neither it nor a part of it is left."""
    target = tmp_path / "x.ndjson"
    limited = f"ulimit -f 16; exec {sys.executable} -B -m braze_segments_async export --output {target}"
    async with Sandbox(120) as sandbox:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", limited, stderr=PIPE, env=_environment(sandbox)
        )
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode() == f"braze-segments: cannot write {target}: File too large\n"
    assert _in(tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signals_end_it_at_once(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end a waiting export promptly and quietly, and leave no file."""
    async with Sandbox(5, latency=30.0) as sandbox:
        process = await _start(sandbox, "export", "--output", str(tmp_path / "x"))
        await _until(lambda: sandbox.requests)
        told = time.monotonic()
        process.send_signal(number)
        _, err = await process.communicate()
        assert time.monotonic() - told < 5.0  # of 30; a busy machine needs room
    assert (process.returncode, err) == (code, b"")
    assert _in(tmp_path) == []


async def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    """`braze-segments export | head -1` exits 0 and says nothing."""
    async with Sandbox(300) as sandbox:
        reading, writing = os.pipe()
        process = await _start(sandbox, "export", stdout=writing)
        os.close(writing)
        first = await asyncio.to_thread(os.read, reading, 100)
        os.close(reading)
        _, err = await process.communicate()
    assert first.startswith(b'{"id":')
    assert (process.returncode, err) == (0, b"")


async def test_a_reader_that_pauses_stops_neither_the_loop_nor_ctrl_c() -> None:
    """With a full pipe and no reader, as in `less`, the export stops asking, and Ctrl-C still ends it."""
    async with Sandbox(600) as sandbox:
        reading, writing = os.pipe()
        process = await _start(sandbox, "export", stdout=writing)
        os.close(writing)
        asked = -1
        while not sandbox.count("details") or asked != len(sandbox.requests):
            asked = len(sandbox.requests)
            await asyncio.sleep(0.2)
        assert sandbox.count("details") < 300
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        os.close(reading)
    assert (process.returncode, err) == (130, b"")


async def test_the_bar_tells_of_a_pause() -> None:
    """On a terminal there is a bar, which says when the client waits for the rate limit; then the summary."""
    # Three windows' worth, so that there is a pause wherever in a window it begins.
    async with Sandbox(50, rate_limit=(25, 1.0)) as sandbox:
        ours, theirs = pty.openpty()
        environment = _environment(sandbox, TERM="xterm", NO_COLOR="1")
        process = await _start(sandbox, "export", stderr=theirs, env=environment)
        os.close(theirs)
        shown = asyncio.create_task(asyncio.to_thread(_drained, ours))
        out, _ = await process.communicate()
        text = (await shown).decode()
        os.close(ours)
    assert process.returncode == 0
    assert len(out.splitlines()) == 50
    assert " of 50" in text
    assert "paused until " in text
    assert "the allowance is down to the reserve" in text
    assert "\x1b[33m" not in text  # NO_COLOR: no yellow
    assert text.rstrip().endswith("retries)")


def _drained(terminal: int) -> bytes:
    """All that is written to a terminal, until the last who has it open closes it."""
    text = b""
    while True:
        try:
            text += os.read(terminal, 65_536)
        except OSError:
            return text


async def test_sandbox_serves_until_ctrl_c() -> None:
    """`sandbox` prints lines that make another shell use it, serves, and ends with Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", "--segments", "3", stdout=PIPE, stderr=PIPE, env=_environment()
    )
    assert process.stdout is not None
    said = ""
    while "BRAZE_API_KEY=" not in said:
        said += (await process.stdout.readline()).decode()
    exports = dict(line[7:].split("=", 1) for line in said.splitlines() if line.startswith("export "))
    async with BrazeSegments(exports["BRAZE_API_KEY"], base_url=exports["BRAZE_BASE_URL"]) as segments:
        assert len([details async for details in segments.all_details()]) == 3
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
