"""`braze-segments export` and `sandbox` as users run them: exit codes, files, signals, pipes, messages."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import signal
import sys
import time
from asyncio.subprocess import PIPE
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from cli_helpers import COMMAND, KEY, environment, inside, ran, started, until

from braze_segments_async import BrazeSegments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

RESUME = "braze-segments: Progress saved. Run the same command with --resume to continue."


async def test_every_segment_comes_as_one_line() -> None:
    """All segments come to stdout, as Braze has them, each once and asked for once; a summary to stderr."""
    async with Sandbox(120, api_key=KEY) as sandbox:
        code, out, err = await ran(sandbox, "export")
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
        assert (sandbox.count("list"), sandbox.count("details")) == (3, 120)
    assert err.startswith("120 segments with details in ")
    assert err.endswith(" s (123 requests, 0 retries)\n")


async def test_output_is_a_whole_new_file(tmp_path: Path) -> None:
    """`--output` leaves the file and nothing beside it; the next time it is refused, and nothing is asked."""
    target = tmp_path / "segments.ndjson"
    async with Sandbox(30, api_key=KEY) as sandbox:
        code, out, err = await ran(sandbox, "export", "--output", str(target))
        assert (code, out) == (0, "")
        assert err.endswith(f" s (31 requests, 0 retries) → {target}\n")
        whole = target.read_bytes()
        assert len(whole.splitlines()) == 30
        assert inside(tmp_path) == [target]
        asked = len(sandbox.requests)
        code, _, err = await ran(sandbox, "export", "--output", str(target))
        assert code == 2
        assert err == f"braze-segments: {target} exists: name a new file; --overwrite replaces it\n"
        assert len(sandbox.requests) == asked
        assert target.read_bytes() == whole


async def test_a_refused_key_exits_1_without_showing_it(tmp_path: Path) -> None:
    """A key that Braze refuses ends in one line on stderr, without the key, and no file."""
    async with Sandbox(5) as sandbox:
        variables = environment(sandbox, BRAZE_API_KEY=KEY)
        code, _, err = await ran(sandbox, "export", "--output", str(tmp_path / "x.ndjson"), env=variables)
    assert code == 1
    assert err.startswith("braze-segments: GET /segments/list (page=0): 401 after 1 attempt: ")
    assert len(err.splitlines()) == 1
    assert inside(tmp_path) == []


async def test_a_full_disk_exits_1_and_can_be_resumed(tmp_path: Path) -> None:
    """A write that fails is told in one line, with another that says how to go on; there is no file."""
    target = tmp_path / "x.ndjson"
    limited = f"ulimit -f 16; exec {sys.executable} -B -m braze_segments_async export --output {target}"
    async with Sandbox(120) as sandbox:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", limited, stderr=PIPE, env=environment(sandbox)
        )
        _, err = await process.communicate()
        assert process.returncode == 1
        assert err.decode().splitlines() == [
            f"braze-segments: cannot write {target}.journal: File too large",
            RESUME,
        ]
        assert inside(tmp_path) == [tmp_path / "x.ndjson.journal"]
        # As bytes: the last line may be torn in the middle of a character.
        done = (tmp_path / "x.ndjson.journal").read_bytes().count(b"\n") - 1
        asked = sandbox.count("details")
        code, _, _ = await ran(sandbox, "export", "--output", str(target), "--resume")
        assert code == 0
        assert sandbox.count("details") - asked <= 120 - done + 1
    assert len(target.read_text().splitlines()) == 120
    assert inside(tmp_path) == [target]


async def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    """Ctrl-C in the middle keeps what is done and says so; --resume asks only for the rest."""
    target = tmp_path / "x.ndjson"
    async with Sandbox(60) as sandbox:
        sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(40, 56))
        process = await started(sandbox, "export", "-o", str(target))
        await until(lambda: sandbox.count("details") == 55)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert (process.returncode, err.decode().splitlines()) == (130, [RESUME])
        code, _, told = await ran(sandbox, "export", "-o", str(target))
        assert code == 2
        assert "--resume continues it, --overwrite starts afresh" in told
        code, _, told = await ran(sandbox, "export", "-o", str(target), "--resume")
        assert code == 0
        assert " resumed" in told
        assert {json.loads(line)["id"] for line in target.read_text().splitlines()} == set(
            sandbox.segment_ids
        )


async def test_some_could_not_be_had(tmp_path: Path) -> None:
    """Exit 3: without --allow-partial there is no file; with it, one, and another that says what it lacks."""
    target = tmp_path / "x.csv"
    async with Sandbox(20) as sandbox:
        bad = sandbox.segment_ids[3]
        sandbox.inject(Answer(400), endpoint="details", segment_id=bad)
        code, _, err = await ran(sandbox, "export", "-o", str(target))
        assert code == 3
        assert bad in err.splitlines()[0]
        assert err.splitlines()[1:] == [
            f"braze-segments: {target} is not written: 1 segment of 20 could not be fetched.",
            "--resume tries them again; --resume --allow-partial writes the file without them.",
        ]
        assert not target.exists()
        code, _, err = await ran(sandbox, "export", "-o", str(target), "--resume", "--allow-partial")
        assert code == 3
        assert "19 resumed, 1 failed, listed in the file beside it" in err
        with target.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 19
        assert bad in (tmp_path / "x.csv.failures.ndjson").read_text()
        code, out, err = await ran(sandbox, "export", "--allow-partial", "--format", "csv")
        assert code == 3
        assert len(list(csv.DictReader(io.StringIO(out, newline="")))) == 19


async def test_rate_limited_beyond_the_wait_exits_4(tmp_path: Path) -> None:
    """With --max-wait, a longer wait for the rate limit is told at once, with the moment."""
    async with Sandbox(20) as sandbox:
        sandbox.inject(
            Answer(429, headers={"X-RateLimit-Retry-After": "600"}), endpoint="details", ordinals=5
        )
        code, _, err = await ran(sandbox, "export", "-o", str(tmp_path / "x.ndjson"), "--max-wait", "60")
    assert code == 4
    assert "; --max-wait (60 s) can be longer" in err


@pytest.mark.parametrize(
    "arguments",
    [("--format", "parquet"), ("--resume",), ("--overwrite",), ("--sizes", "3"), ("--csv-safe",)],
)
async def test_what_standard_output_cannot_be(arguments: tuple[str, ...]) -> None:
    """Options that need a file are refused without one, and nothing is asked."""
    async with Sandbox(3) as sandbox:
        code, out, err = await ran(sandbox, "export", *arguments)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert sandbox.requests == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signals_end_it_at_once(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end a waiting export promptly and quietly, and leave no file."""
    async with Sandbox(5, latency=30.0) as sandbox:
        process = await started(sandbox, "export", "--output", str(tmp_path / "x.ndjson"))
        await until(lambda: sandbox.requests)
        told = time.monotonic()
        process.send_signal(number)
        _, err = await process.communicate()
        assert time.monotonic() - told < 5.0  # of 30; a busy machine needs room
    assert (process.returncode, err) == (code, b"")
    assert inside(tmp_path) == []


async def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    """`braze-segments export | head -1` exits 0 and says nothing."""
    async with Sandbox(300) as sandbox:
        reading, writing = os.pipe()
        process = await started(sandbox, "export", stdout=writing)
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
        process = await started(sandbox, "export", stdout=writing)
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
        variables = environment(sandbox, TERM="xterm", NO_COLOR="1")
        process = await started(sandbox, "export", stderr=theirs, env=variables)
        os.close(theirs)
        shown = asyncio.create_task(asyncio.to_thread(_drained, ours))
        out, _ = await process.communicate()
        text = (await shown).decode()
        os.close(ours)
    assert process.returncode == 0
    assert len(out.splitlines()) == 50
    assert " of 50" in text
    assert "paused until " in text
    assert "the rate limit is down to the reserve" in text
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
        *COMMAND, "sandbox", "--port", "0", "--segments", "3", stdout=PIPE, stderr=PIPE, env=environment()
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


async def test_verbose_tells_of_retries(tmp_path: Path) -> None:
    """With -v each retry and pause is a line, with its reason; without, only the summary counts them."""
    async with Sandbox(10) as sandbox:
        sandbox.inject(Answer(503), endpoint="details", ordinals=(3, 4))
        code, _, err = await ran(sandbox, "export", "-v", "-o", str(tmp_path / "x.csv"))
        assert code == 0
        assert err.count("retrying in ") == 2
        assert "503 after 1 attempt: the service is not available" in err
        assert "(13 requests, 2 retries)" in err.splitlines()[-1]
        code, _, err = await ran(sandbox, "export", "-o", str(tmp_path / "y.csv"))
        assert len(err.splitlines()) == 1


async def test_archived_meanwhile_is_no_failure_on_standard_output_either() -> None:
    """A segment that leaves the list before its details are asked for is counted, and nothing more."""
    async with Sandbox(30) as sandbox:
        gone = sandbox.segment_ids[7]

        def archive(_: object) -> Answer:
            sandbox.archive(gone)
            return Answer(400)

        sandbox.inject(archive, endpoint="details", segment_id=gone, times=1)
        code, out, err = await ran(sandbox, "export")
        assert code == 0
        assert len(out.splitlines()) == 29
        assert err.rstrip().endswith("; 1 archived during the export")
        sandbox.inject(Answer(400), endpoint="details", segment_id=sandbox.segment_ids[3])
        code, out, err = await ran(sandbox, "export")
        assert code == 1
        assert sandbox.segment_ids[3] in err


async def test_file_names_are_told_as_they_are(tmp_path: Path) -> None:
    """A message in the command's words leaves the names of files alone."""
    target = tmp_path / "my_base_url.ndjson"
    target.touch()
    async with Sandbox(3) as sandbox:
        code, _, err = await ran(sandbox, "export", "-o", str(target))
    assert (code, "my_base_url.ndjson exists" in err) == (2, True)


async def test_a_hyphen_is_standard_output() -> None:
    """As it is for most commands; the same bytes as without `--output`."""
    async with Sandbox(3, api_key=KEY) as sandbox:
        (code, out, _), (_, other, _) = [
            await ran(sandbox, "export", "--quiet", *arguments) for arguments in (("-o", "-"), ())
        ]
    assert (code, out) == (0, other)
    assert len(out.splitlines()) == 3
