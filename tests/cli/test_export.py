"""`braze-segments export` and `sandbox` in a subprocess: exit codes, files, signals, pipes, messages."""

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
from cli_helpers import COMMAND, KEY, environment, inside, run_command, start_command, until

from braze_segments_async import BrazeSegments, __version__
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

RESUME = "braze-segments: Progress saved. Run the same command with --resume to continue."


async def test_every_segment_is_printed_as_one_line() -> None:
    """Each segment is requested once and printed once to stdout; a summary goes to stderr."""
    async with Sandbox(120, api_key=KEY) as sandbox:
        code, out, err = await run_command(sandbox, "export")
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


async def test_output_writes_a_new_file_and_refuses_an_existing_one(tmp_path: Path) -> None:
    """`--output` leaves only the file; a second export to it is refused before any request."""
    target = tmp_path / "segments.ndjson"
    async with Sandbox(30, api_key=KEY) as sandbox:
        code, out, err = await run_command(sandbox, "export", "--output", str(target))
        assert (code, out) == (0, "")
        assert err.endswith(f" s (31 requests, 0 retries) → {target}\n")
        whole = target.read_bytes()
        assert len(whole.splitlines()) == 30
        assert inside(tmp_path) == [target]
        asked = len(sandbox.requests)
        code, _, err = await run_command(sandbox, "export", "--output", str(target))
        assert code == 2
        assert err == f"braze-segments: {target} exists: name a new file; --overwrite replaces it\n"
        assert len(sandbox.requests) == asked
        assert target.read_bytes() == whole


async def test_a_rejected_key_exits_5_without_printing_it(tmp_path: Path) -> None:
    """A key that Braze rejects exits 5 with one line on stderr without the key, and leaves no file."""
    async with Sandbox(5) as sandbox:
        variables = environment(sandbox, BRAZE_API_KEY=KEY)
        code, _, err = await run_command(
            sandbox, "export", "--output", str(tmp_path / "x.ndjson"), env=variables
        )
    assert code == 5
    assert err.startswith("braze-segments: GET /segments/list (page=0): 401 after 1 attempt: ")
    assert len(err.splitlines()) == 1
    assert inside(tmp_path) == []


async def test_a_full_disk_exits_1_and_can_be_resumed(tmp_path: Path) -> None:
    """A failed write exits 1, prints the error and how to resume, and leaves only the journal."""
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
        # Read as bytes, because the last line may end in the middle of a character.
        done = (tmp_path / "x.ndjson.journal").read_bytes().count(b"\n") - 1
        asked = sandbox.count("details")
        code, _, _ = await run_command(sandbox, "export", "--output", str(target), "--resume")
        assert code == 0
        assert sandbox.count("details") - asked <= 120 - done + 1
    assert len(target.read_text().splitlines()) == 120
    assert inside(tmp_path) == [target]


async def test_ctrl_c_prints_how_to_resume(tmp_path: Path) -> None:
    """Ctrl-C keeps the journal and prints how to resume; --resume fetches only the missing segments."""
    target = tmp_path / "x.ndjson"
    async with Sandbox(60) as sandbox:
        sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(40, 56))
        process = await start_command(sandbox, "export", "-o", str(target))
        await until(lambda: sandbox.count("details") == 55)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        assert (process.returncode, err.decode().splitlines()) == (130, [RESUME])
        code, _, message = await run_command(sandbox, "export", "-o", str(target))
        assert code == 2
        assert "--resume continues it, --overwrite starts afresh" in message
        code, _, message = await run_command(sandbox, "export", "-o", str(target), "--resume")
        assert code == 0
        assert " resumed" in message
        assert {json.loads(line)["id"] for line in target.read_text().splitlines()} == set(
            sandbox.segment_ids
        )


async def test_json_prints_the_result(tmp_path: Path) -> None:
    """`export FILE --json` prints one object with the counts and the origin of the data."""
    target = tmp_path / "x.csv"
    async with Sandbox(20, api_key=KEY) as sandbox:
        code, out, err = await run_command(sandbox, "export", str(target), "--json", "--csv-safe")
        assert (code, len(err.splitlines())) == (0, 1)
        result = json.loads(out)
        instance = "127.0.0.1"
        assert {
            "path": str(target),
            "written": True,
            "instance": instance,
            "rows": 20,
        }.items() <= result.items()
        assert (result["failed"], result["archived"], result["recovered"]) == (0, 0, 0)
        assert result["consistency"] == "safe"
        assert result["version"] == __version__
        started, finished = (datetime.fromisoformat(result[name]) for name in ("started_at", "finished_at"))
        assert started <= finished
        _, out, _ = await run_command(sandbox, "export", str(target), "--json", "--resume")
        assert json.loads(out) == {"path": str(target), "written": False, "failed": 0}
        sandbox.inject(Answer(400), endpoint="details", segment_id=sandbox.segment_ids[3])
        code, out, _ = await run_command(sandbox, "export", str(target), "--json", "--overwrite")
        result = json.loads(out)
        assert (code, result["written"], result["failed"]) == (3, False, 1)


async def test_failed_segments_exit_3(tmp_path: Path) -> None:
    """Failed segments exit 3; only --allow-partial writes the file, with a list of failures beside it."""
    target = tmp_path / "x.csv"
    async with Sandbox(20) as sandbox:
        bad = sandbox.segment_ids[3]
        sandbox.inject(Answer(400), endpoint="details", segment_id=bad)
        code, _, err = await run_command(sandbox, "export", "-o", str(target))
        assert code == 3
        assert bad in err.splitlines()[0]
        assert err.splitlines()[1:] == [
            f"braze-segments: {target} is not written: 1 segment of 20 could not be fetched.",
            "--resume tries them again; --resume --allow-partial writes the file without them.",
        ]
        assert not target.exists()
        code, _, err = await run_command(sandbox, "export", "-o", str(target), "--resume", "--allow-partial")
        assert code == 3
        assert "19 resumed, 1 failed, listed in the file beside it" in err
        with target.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 19
        assert bad in (tmp_path / "x.csv.failures.ndjson").read_text()
        code, out, err = await run_command(sandbox, "export", "--allow-partial", "--format", "csv")
        assert code == 3
        assert len(list(csv.DictReader(io.StringIO(out, newline="")))) == 19


async def test_a_rate_limit_wait_beyond_max_wait_exits_4(tmp_path: Path) -> None:
    """A rate-limit wait longer than --max-wait exits 4 immediately with a message."""
    async with Sandbox(20) as sandbox:
        sandbox.inject(
            Answer(429, headers={"X-RateLimit-Retry-After": "600"}), endpoint="details", ordinals=5
        )
        code, _, err = await run_command(
            sandbox, "export", "-o", str(tmp_path / "x.ndjson"), "--max-wait", "60"
        )
    assert code == 4
    assert "; --max-wait (60 s) can be longer" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--format", "parquet"),
        ("--resume",),
        ("--overwrite",),
        ("--sizes", "3"),
        ("--csv-safe",),
        ("--json",),
    ],
)
async def test_options_that_need_an_output_file(arguments: tuple[str, ...]) -> None:
    """Options that need an output file are refused without one, before any request."""
    async with Sandbox(3) as sandbox:
        code, out, err = await run_command(sandbox, "export", *arguments)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert sandbox.requests == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_signals_end_the_command(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end a waiting export within seconds, without output or files."""
    async with Sandbox(5, latency=30.0) as sandbox:
        process = await start_command(sandbox, "export", "--output", str(tmp_path / "x.ndjson"))
        await until(lambda: sandbox.requests)
        sent_at = time.monotonic()
        process.send_signal(number)
        _, err = await process.communicate()
        assert time.monotonic() - sent_at < 5.0  # the response takes 30 s; a busy machine is slow
    assert (process.returncode, err) == (code, b"")
    assert inside(tmp_path) == []


async def test_a_closed_pipe_exits_0() -> None:
    """`braze-segments export | head -1` exits 0 and prints nothing to stderr."""
    async with Sandbox(300) as sandbox:
        reading, writing = os.pipe()
        process = await start_command(sandbox, "export", stdout=writing)
        os.close(writing)
        first = await asyncio.to_thread(os.read, reading, 100)
        os.close(reading)
        _, err = await process.communicate()
    assert first.startswith(b'{"id":')
    assert (process.returncode, err) == (0, b"")


async def test_a_full_pipe_stops_requests_but_not_ctrl_c() -> None:
    """If nobody reads a full pipe, as with `less`, the export sends no more requests, and Ctrl-C ends it."""
    async with Sandbox(600) as sandbox:
        reading, writing = os.pipe()
        process = await start_command(sandbox, "export", stdout=writing)
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


async def test_the_bar_shows_a_pause() -> None:
    """In a terminal, the progress bar shows a pause for the rate limit; the summary follows."""
    # 50 requests need three windows of 25, so there is a pause wherever in a window the export begins.
    async with Sandbox(50, rate_limit=(25, 1.0)) as sandbox:
        controller, terminal = pty.openpty()
        variables = environment(sandbox, TERM="xterm", NO_COLOR="1")
        process = await start_command(sandbox, "export", stderr=terminal, env=variables)
        os.close(terminal)
        shown = asyncio.create_task(asyncio.to_thread(_read_terminal, controller))
        out, _ = await process.communicate()
        text = (await shown).decode()
        os.close(controller)
    assert process.returncode == 0
    assert len(out.splitlines()) == 50
    assert " of 50" in text
    assert "paused until " in text
    assert "the rate limit is down to the reserve" in text
    assert "\x1b[33m" not in text  # NO_COLOR: no yellow
    assert text.rstrip().endswith("retries)")


def _read_terminal(terminal: int) -> bytes:
    """Return all output to a terminal, until the last process that uses it closes it."""
    text = b""
    while True:
        try:
            text += os.read(terminal, 65_536)
        except OSError:
            return text


async def test_sandbox_serves_until_ctrl_c() -> None:
    """`sandbox` prints `export` lines for other shells, serves requests, and ends with Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", "--segments", "3", stdout=PIPE, stderr=PIPE, env=environment()
    )
    assert process.stdout is not None
    output = ""
    while "BRAZE_API_KEY=" not in output:
        output += (await process.stdout.readline()).decode()
    exports = dict(line[7:].split("=", 1) for line in output.splitlines() if line.startswith("export "))
    async with BrazeSegments(exports["BRAZE_API_KEY"], base_url=exports["BRAZE_BASE_URL"]) as segments:
        assert len([details async for details in segments.all_details()]) == 3
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_verbose_prints_retries(tmp_path: Path) -> None:
    """With -v each retry is printed with its reason; without it, only the summary counts retries."""
    async with Sandbox(10) as sandbox:
        sandbox.inject(Answer(503), endpoint="details", ordinals=(3, 4))
        code, _, err = await run_command(sandbox, "export", "-v", "-o", str(tmp_path / "x.csv"))
        assert code == 0
        assert err.count("retrying in ") == 2
        assert "503 after 1 attempt: the service is not available" in err
        assert "(13 requests, 2 retries)" in err.splitlines()[-1]
        code, _, err = await run_command(sandbox, "export", "-o", str(tmp_path / "y.csv"))
        assert len(err.splitlines()) == 1


async def test_a_segment_archived_during_an_export_to_standard_output_is_counted() -> None:
    """A segment archived before its details are fetched is counted in the summary, and is not a failure."""
    async with Sandbox(30) as sandbox:
        archived = sandbox.segment_ids[7]

        def archive(_: object) -> Answer:
            sandbox.archive(archived)
            return Answer(400)

        sandbox.inject(archive, endpoint="details", segment_id=archived, times=1)
        code, out, err = await run_command(sandbox, "export")
        assert code == 0
        assert len(out.splitlines()) == 29
        assert err.rstrip().endswith("; 1 archived during the export")
        sandbox.inject(Answer(400), endpoint="details", segment_id=sandbox.segment_ids[3])
        code, out, err = await run_command(sandbox, "export")
        assert code == 1
        assert sandbox.segment_ids[3] in err


async def test_file_names_in_messages_are_unchanged(tmp_path: Path) -> None:
    """File names in messages stay unchanged, although argument names are replaced by option names."""
    target = tmp_path / "my_base_url.ndjson"
    target.touch()
    async with Sandbox(3) as sandbox:
        code, _, err = await run_command(sandbox, "export", "-o", str(target))
    assert (code, "my_base_url.ndjson exists" in err) == (2, True)


async def test_output_hyphen_is_standard_output() -> None:
    """`--output -` writes the same lines to standard output as no `--output`."""
    async with Sandbox(3, api_key=KEY) as sandbox:
        (code, out, _), (_, other, _) = [
            await run_command(sandbox, "export", "--quiet", *arguments) for arguments in (("-o", "-"), ())
        ]
    assert (code, out) == (0, other)
    assert len(out.splitlines()) == 3
