"""The command behaves as its help says, returns the documented exit codes, and never prints the key."""

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
SHOWN = f"{DAY.astimezone():%H:%M:%S %Z}"  # in the local time zone


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        app(list(arguments))
    assert isinstance(ending.value.code, int)
    return ending.value.code


# --- pure pieces --------------------------------------------------------------------------------------


def test_line_has_every_field_in_order() -> None:
    """A line has the fields in the order of the model, ISO 8601 times, and unescaped characters."""
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
    """A text that UTF-8 cannot encode is written with escapes, and reads back unchanged."""
    line = to_json_line(SegmentDetails(id="1", name="ü \ud83d"))
    assert line.isascii()
    assert json.loads(line)["name"] == "ü \ud83d"


def _client(stats: Stats | None = None, rate_limit: RateLimit | None = None) -> Any:
    """Return a stand-in for a client, with the attributes that progress shows."""
    return SimpleNamespace(stats=stats or Stats(), rate_limit=rate_limit)


def test_the_remaining_time_is_shown_once_the_total_is_known() -> None:
    """Until the list is complete, the number of segments is "so far" and no remaining time is shown."""
    now = 0.0
    tracker = ProgressTracker(_client(rate_limit=RateLimit(250_000, 249_979, DAY)), clock=lambda: now)
    tracker.pages, tracker.found = 1, 100
    now = 2.0
    tracker.done = 20
    assert tracker.lines() == [
        "20 of 100 so far · 1 page · 10 details/s · rate limit: 249,979 of 250,000 left",
    ]
    tracker.pages, tracker.found, tracker.listed = 2, 160, True
    now = 4.0
    tracker.done = 40
    assert tracker.lines()[0].startswith("40 of 160, 0:00:12 left · 2 pages · 10 details/s · ")


def test_a_pause_is_shown_with_its_end() -> None:
    """A pause is shown with its end and reason; the speed ignores pauses and resumed segments."""
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


def test_the_bar_ignores_pauses_and_resumed_segments() -> None:
    """The speed and the remaining time in a terminal depend only on recently fetched segments."""
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
    """The summary has the number of segments, the duration, and the number of requests and retries."""
    now = 0.0
    tracker = ProgressTracker(_client(stats), clock=lambda: now)
    tracker.done = found
    now = 1.2
    assert tracker.summary() == summary


async def test_lines_are_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal, progress is printed as lines, and a pause is printed only once."""
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
    """Wrong options and a missing key exit 2 with a reason on stderr that contains no key."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    assert _code(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err
    assert KEY not in captured.err


COMMANDS = sorted(name for name in app if not name.startswith("-"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_two_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of every command ends with two examples of that command, and fits 80 columns."""
    assert _code(command, "--help") == 0
    text = capsys.readouterr().out
    *_, examples = text.partition("\nExamples:\n")
    first, second = examples.splitlines()
    assert first.startswith(f"  braze-segments {command}")
    assert f"braze-segments {command}" in second
    assert max(map(len, text.splitlines())) <= 80


def test_help_shows_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Each default is shown once, in brackets, and values that say nothing are not."""
    assert _code("export", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "in flight. [default: 16]" in text
    assert "[default: 3900]" in text
    assert "[default: 12h]" in text
    assert "by default" not in text
    assert "None" not in text
    assert "False" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("exprt",), 'unknown command "exprt". Did you mean "export"?'),
        (("export", "--ouput", "x"), "unknown option: --ouput. Did you mean --output?"),
        (("details", "--jsn", "x"), "unknown option: --jsn. Did you mean --json?"),
        (
            ("export", "--concurrency", "many"),
            'invalid value for --concurrency: unable to convert "many" into int; see braze-segments export',
        ),
        (("export", "a.csv", "-o", "b.csv"), "a.csv and --output b.csv are two files: name one"),
        (("export", f"--api-key={KEY}"), "unknown option: --api-key; see braze-segments export --help"),
        (("export", "--format", "\x1b[2J"), 'invalid value "\\x1b[2J" for --format. Choose from: '),
    ],
)
def test_wrong_use_is_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error about options has the form of all other errors, and suggests what was meant."""
    assert _code(*arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert err.startswith(f"braze-segments: {message}")


def test_export_of_the_embedded_sandbox(capfd: pytest.CaptureFixture[str]) -> None:
    """`export --sandbox --segments 3 --quiet` needs no key, writes three lines and nothing to stderr."""
    assert _code("export", "--sandbox", "--segments", "3", "--quiet") == 0
    captured = capfd.readouterr()
    assert sorted(json.loads(line)["id"] for line in captured.out.splitlines()) == sorted(
        Sandbox(3).segment_ids
    )
    assert captured.err == ""


def test_output_in_a_missing_folder_exits_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be created exits 1 with one line on stderr."""
    assert _code("export", "--sandbox", "--output", str(tmp_path / "none" / "x.ndjson")) == 1
    assert capfd.readouterr().err == (
        f"braze-segments: cannot write {tmp_path / 'none' / 'x.ndjson'}: No such file or directory\n"
    )


def test_help_needs_neither_the_client_nor_aiohttp() -> None:
    """`--help` imports neither aiohttp nor the code of the commands, so that it is fast."""
    program = (
        "import sys\n"
        "from braze_segments_async.cli.app import app\n"
        "try: app(['export', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print('aiohttp' in sys.modules, 'braze_segments_async.sandbox' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment()
    )
    assert "--concurrency" in done.stdout
    assert done.stdout.endswith("False False\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the version and nothing else."""
    assert _code("--version") == 0
    assert capsys.readouterr().out == f"{braze_segments_async.__version__}\n"


def test_without_the_extra_the_error_names_it() -> None:
    """Without cyclopts, the command exits 1 and names the extra to install."""
    program = "import sys; sys.modules['cyclopts'] = None; from braze_segments_async.cli import main; main()"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1
    assert 'pip install "braze-segments-async[cli]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_uvloop_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs on uvloop if the extra `speed` is installed, and else on asyncio's own loop."""
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
