"""The command does what its help says, ends with the exit code it promises, and never shows the key."""

import asyncio
import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_helpers import KEY, environment
from rich.console import Console

import braze_segments_async
from braze_segments_async import RateLimit, SegmentDetails
from braze_segments_async._models import Stats
from braze_segments_async.cli import progress
from braze_segments_async.cli.app import app
from braze_segments_async.cli.progress import ProgressTracker, show_progress
from braze_segments_async.cli.runner import run
from braze_segments_async.export import to_json_line
from braze_segments_async.sandbox import Sandbox

DAY = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
SHOWN = f"{DAY.astimezone():%H:%M:%S %Z}"  # in the reader's own zone


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


def _client(stats: Stats | None = None, rate_limit: RateLimit | None = None) -> Any:
    """Return the attributes of a client that progress shows."""
    return SimpleNamespace(stats=stats or Stats(), rate_limit=rate_limit)


def test_a_line_has_the_time_left_once_the_total_is_known() -> None:
    """The number found is "so far", and there is no time left, until the whole list was read."""
    now = 0.0
    tracker = ProgressTracker(_client(rate_limit=RateLimit(250_000, 249_979, DAY)), clock=lambda: now)
    tracker.pages, tracker.found = 1, 100
    now = 2.0
    tracker.done = 20
    assert tracker.lines() == [
        f"20 of 100 so far · 1 page · 10 details/s · 249,979 requests left until {SHOWN}",
    ]
    tracker.pages, tracker.found, tracker.listed = 2, 160, True
    now = 4.0
    tracker.done = 40
    assert tracker.lines()[0].startswith("40 of 160, 0:00:12 left · 2 pages · 10 details/s · ")


def test_a_line_says_until_when_the_client_is_paused() -> None:
    """A pause is shown with its end and reason; neither it nor resumed segments count for the speed."""
    now = 0.0
    client = _client(Stats(paused_until=DAY, pause_reason="429"))
    tracker = ProgressTracker(client, clock=lambda: now)
    tracker.pages, tracker.found, tracker.listed = 1, 100, True
    now = 3_000.0
    tracker.done = tracker.resumed = 50
    assert tracker.lines() == [f"50 of 100 · paused until {SHOWN}: 429"]
    now = 3_001.0
    client.stats = Stats(requests=3, retries=1)
    tracker.done = 51
    assert tracker.lines() == ["51 of 100, 0:00:49 left · 1 page · 1 details/s · 1 retry"]


def test_a_bar_measures_neither_a_pause_nor_resumed_segments() -> None:
    """The speed and the time left that a terminal shows are those of the segments fetched lately."""
    client = _client()
    tracker = ProgressTracker(client, resumable=True)
    render = tracker.display()

    def shown() -> str:
        Console(file=(out := io.StringIO()), width=80).print(render())
        return out.getvalue()

    tracker.pages, tracker.found, tracker.done, tracker.resumed = 1, 2_000, 1_000, 1_000
    assert re.search(r"^━+ 1,000 of 2,000 so far +\n1 page *\n$", shown())
    tracker.listed = True
    client.stats = Stats(paused_until=datetime.now(UTC) + timedelta(seconds=60), pause_reason="429")
    text = shown()
    assert re.search(r"^━+╸? +1,000 of 2,000 -:--:--\npaused until \S+ \S+: 429 · 0:01:00 to go *\n", text)
    assert text.endswith("\nCtrl-C is safe: --resume continues the export\n")


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
    tracker = ProgressTracker(_client(stats), clock=lambda: now)
    tracker.done = found
    now = 1.2
    assert tracker.summary() == summary


async def test_lines_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal, progress is plain lines; a pause is said once, however long it is."""
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.001)
    tracker = ProgressTracker(_client(Stats(paused_until=DAY, pause_reason="429")))
    async with show_progress(tracker, bar=True):
        await asyncio.sleep(0.05)
    assert capsys.readouterr().err.splitlines() == [f"0 of 0 so far · paused until {SHOWN}: 429"]


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
    """`--help` is quick, since it imports neither aiohttp nor what the commands do."""
    program = (
        "import sys\n"
        "from braze_segments_async.cli.app import app\n"
        "try: app(['export', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('aiohttp' in sys.modules, 'braze_segments_async.sandbox' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment()
    )
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
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1
    assert 'pip install "braze-segments-async[cli]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_uvloop_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the extra `speed`; without it, asyncio's own loop."""
    made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    async def loop() -> int:
        return int(asyncio.get_running_loop() in made)

    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=new_event_loop))
    assert run(loop()) == 1
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(loop()) == 0
