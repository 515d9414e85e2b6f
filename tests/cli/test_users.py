"""`braze-segments users` and `cancel`: exit codes, files, signals, pipes and messages."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import stat
import sys
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import COMMAND, KEY, environment, inside, start_command, until
from users_helpers import running_in_thread

from braze_segments_async import PauseEvent
from braze_segments_async.cli.app import app
from braze_segments_async.cli.commands.users import UsersJob
from braze_segments_async.cli.progress import local_time
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., tuple[int, str, str]]

ID = Sandbox(1).segment_ids[0]
CONTINUES = f"braze-segments: the export continues at Braze: braze-segments cancel {ID} ends it"
MAY_CONTINUE = f"braze-segments: the export may continue at Braze: braze-segments cancel {ID} ends it"


@pytest.fixture
def braze() -> Iterator[Sandbox]:
    """A sandbox whose segments have 60 users each."""
    with running_in_thread(Sandbox(2, users=60, users_per_file=25, api_key=KEY)) as sandbox:
        yield sandbox


@pytest.fixture
def never_ready() -> Iterator[Sandbox]:
    """A sandbox whose exports take forever."""
    with running_in_thread(Sandbox(2, export_delay=10_000, api_key=KEY)) as sandbox:
        yield sandbox


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the command in this process, and returns exit code, output and error output."""

    def command(sandbox: Sandbox, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
        monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
        code = _code(*arguments)
        out, err = capfd.readouterr()
        assert KEY not in out + err
        return code, out, err

    return command


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        app(list(arguments))
    assert isinstance(ending.value.code, int)
    return ending.value.code


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- output -------------------------------------------------------------------------------------------


def test_lines_to_standard_output(run: Run, braze: Sandbox) -> None:
    """Each user is a line with the requested fields; `--fields` may be repeated or comma-separated."""
    asked = ("--fields", "external_id, email", "--fields=devices", "--fields", "email")
    code, out, err = run(braze, "users", ID, *asked)
    assert (code, err) == (0, "60 users\n")
    users = [json.loads(line) for line in out.splitlines()]
    assert len({user["devices"][0]["device_id"] for user in users}) == 60
    assert set().union(*users) == {"external_id", "email", "devices"}
    assert braze.requests[0].body == {
        "segment_id": ID,
        "fields_to_export": ["external_id", "email", "devices"],
    }
    assert len(braze.requests) == 1


def test_files(run: Run, braze: Sandbox, tmp_path: Path) -> None:
    """A file is complete, readable only by its owner, and equals standard output; a ZIP is saved as it is."""
    lines, zipped = tmp_path / "users.ndjson", tmp_path / "users.zip"
    code, out, err = run(braze, "users", ID, "--fields", "email", "-o", str(lines))
    assert (code, out, err) == (0, "", f"60 users → {lines}\n")
    code, out, err = run(braze, "users", ID, "--fields", "email", "--output", str(zipped))
    assert (code, out, err) == (0, "", f"60 users → {zipped}\n")
    _, piped, _ = run(braze, "users", ID, "--fields", "email", "-o", "-")
    assert lines.read_bytes().decode() == piped
    assert len(piped.splitlines()) == 60
    assert zipped.read_bytes()[:2] == b"PK"
    assert [_mode(path) for path in (lines, zipped)] == [0o600, 0o600]
    assert sorted(inside(tmp_path)) == [lines, zipped]


def test_overwrite(run: Run, braze: Sandbox, tmp_path: Path) -> None:
    """An existing file is refused before any request; --overwrite replaces it."""
    target = tmp_path / "users.ndjson"
    target.write_text("old")
    code, _, err = run(braze, "users", ID, "--fields", "email", "-o", str(target))
    assert code == 2
    assert err == f"braze-segments: {target} exists: name a new file; --overwrite replaces it\n"
    assert not braze.requests
    assert target.read_text() == "old"
    code, _, _ = run(braze, "users", ID, "--fields", "email", "-o", str(target), "--overwrite")
    assert code == 0
    assert len(target.read_text().splitlines()) == 60
    assert inside(tmp_path) == [target]


def test_wait_existing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --wait-existing, the command waits until a running export ends, and then starts its own."""
    monkeypatch.setattr("braze_segments_async.cli.commands.users._FIRST_POLL", 0.01)
    with running_in_thread(Sandbox(2, users=3, export_delay=0.5, api_key=KEY)) as sandbox:
        assert run(sandbox, "users", ID, "--fields", "email", "--timeout", "0")[0] == 1  # leaves it running
        code, out, err = run(sandbox, "users", ID, "--fields", "email")
        assert (code, out) == (1, "")
        assert "--wait-existing waits" in err
        code, out, err = run(sandbox, "users", ID, "--fields", "email", "--wait-existing")
        assert (code, len(out.splitlines())) == (0, 3)
        assert run(sandbox, "users", ID, "--fields", "email", "--timeout", "0")[0] == 1
        code, _, err = run(sandbox, "users", ID, "--fields", "email", "--wait-existing", "--timeout", "0.1")
        assert code == 1


async def test_a_closed_pipe() -> None:
    """`braze-segments users | head` exits 0 and prints nothing to stderr."""
    async with Sandbox(1, users=1_500) as sandbox:
        script = f"set -o pipefail; {' '.join(COMMAND)} users {ID} --fields email,devices | head -n 2"
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, stdout=PIPE, stderr=PIPE, env=environment(sandbox)
        )
        out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert len(out.splitlines()) == 2


async def test_in_a_terminal(never_ready: Sandbox, tmp_path: Path) -> None:
    """A terminal shows the progress of the wait, and how to cancel the export after Ctrl-C."""
    controller, terminal = pty.openpty()
    arguments = ("users", ID, "--fields", "email", "-o", str(tmp_path / "users.zip"))
    env = environment(never_ready, TERM="xterm", NO_COLOR="1")
    process = await start_command(never_ready, *arguments, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    shown = b""
    while b"waiting for Braze to make the file" not in shown:
        shown += await asyncio.to_thread(os.read, controller, 65_536)
    assert b"Ctrl-C stops waiting; the export continues at Braze" in shown
    process.send_signal(signal.SIGINT)
    await process.wait()
    while f"{CONTINUES}\r\n".encode() not in shown:
        shown += await asyncio.to_thread(os.read, controller, 65_536)
    os.close(controller)
    assert process.returncode == 130


# --- wrong use, refused before any request ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fields", ""), "fields must be one or more names, each of them text and not empty"),
        (("--fields", "email,,phone"), "fields must be one or more names, each of them text and not empty"),
        (("--fields", "a", "-o", "users.csv"), "users.csv: the name must end in .ndjson or .jsonl"),
        (("--fields", "a", "-o", "/no/such/users.zip"), "its directory does not exist; create it first"),
        (("--fields", "a", "-o", "/"), "/: the name must end in"),
        (("--fields", "a", "-o", "--overwrite"), "--overwrite: the name must end in"),
        (("--fields", "a", "--overwrite"), "--overwrite needs a file: name it with --output"),
        (
            ("--fields", "a", "--no-wait", "-o", "users.zip"),
            "--no-wait only starts the export: leave --output",
        ),
        (
            ("--fields", "a", "--no-wait", "--timeout", "0"),
            "--no-wait only starts the export: leave --output",
        ),
        (("--fields", "a", "--timeout", "inf"), "--timeout must be 0 or more seconds and finite, got inf"),
        (("--fields", "a", "--timeout", "-1"), "--timeout"),
        (("--fields", "a", "--timeout", "nan"), "--timeout"),
        ((), "--fields"),
        (("--fields",), "--fields"),
        (("--fields", "a", "--nope"), "--nope"),
        (("another", "--fields", "a"), "another"),
    ],
    ids=str,
)
def test_wrong_use(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """Wrong options exit 2 with a reason, before any request."""
    monkeypatch.setenv("BRAZE_API_KEY", KEY)
    monkeypatch.setenv("BRAZE_BASE_URL", "http://127.0.0.1:9")
    assert _code("users", ID, *arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in " ".join(err.split())


def test_no_key(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing key or id exits 2 before any request."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    assert _code("users", ID, "--fields", "a") == 2
    assert "no API key" in capfd.readouterr().err
    assert _code("cancel", ID) == 2
    assert _code("cancel") == 2
    assert _code("cancel", "--sandbox", "") == 2


# --- errors and interruptions -------------------------------------------------------------------------


def test_another_export_is_running(run: Run, never_ready: Sandbox) -> None:
    """A 429 because an export is running exits 1 with advice, and is not treated as a rate limit."""
    code, out, _ = run(never_ready, "users", ID, "--fields", "email", "--no-wait")
    assert code == 0
    code, out, err = run(never_ready, "users", ID, "--fields", "email")
    assert (code, out) == (1, "")
    assert err == (
        f"braze-segments: POST /users/export/segment (segment_id={ID}): 429 after 1 attempt: an export of "
        f"this segment's users is running already: wait for it; braze-segments cancel {ID} ends it, "
        "--wait-existing waits for its end\n"
    )


def test_cancel(run: Run, never_ready: Sandbox) -> None:
    """`cancel` cancels the running export and prints that none is running."""
    run(never_ready, "users", ID, "--fields", "email", "--no-wait")
    code, out, err = run(never_ready, "cancel", ID)
    assert (code, out, err) == (0, "", f"no export of the users of {ID} is running any more\n")
    assert (never_ready.requests[-1].path, never_ready.requests[-1].body) == (
        "/export/segment/cancel",
        {"segment_id": ID},
    )
    code, _, _ = run(never_ready, "users", ID, "--fields", "email", "--no-wait")
    assert code == 0
    code, _, err = run(never_ready, "cancel", "no-such")
    assert code == 1
    assert "400 after 1 attempt" in err


def test_timeout_option(run: Run, never_ready: Sandbox, tmp_path: Path) -> None:
    """--timeout stops waiting, and the message says that the export continues at Braze."""
    target = tmp_path / "users.zip"
    code, out, err = run(never_ready, "users", ID, "--fields", "email", "--timeout", "0", "-o", str(target))
    assert (code, out) == (1, "")
    assert err.splitlines() == ["braze-segments: no file within 0 s; --timeout can be longer", CONTINUES]
    assert not inside(tmp_path)


def test_never_ready(run: Run, never_ready: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that is not ready within four hours has expired, so the message does not suggest `cancel`."""
    monkeypatch.setattr("braze_segments_async._users.export._URL_LIFETIME", 0.0)
    code, _, err = run(never_ready, "users", ID, "--fields", "email")
    assert code == 1
    assert "not ready within the four hours" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_interrupted_while_waiting(never_ready: Sandbox, sent: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM while Braze prepares the file print one line that says how to cancel the export."""
    process = await start_command(never_ready, "users", ID, "--fields", "email")
    await until(lambda: never_ready.count("file"))
    process.send_signal(sent)
    _, err = await process.communicate()
    assert (process.returncode, err.decode().splitlines()) == (code, [CONTINUES])


async def test_interrupted_at_the_start(braze: Sandbox) -> None:
    """Ctrl-C before the response to the start says that the export may continue at Braze."""
    braze.inject(Answer(delay=30), endpoint="users")
    process = await start_command(braze, "users", ID, "--fields", "email")
    await until(lambda: braze.count("users"))
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err.decode().splitlines()) == (130, [MAY_CONTINUE])


async def test_interrupted_in_a_pause() -> None:
    """Ctrl-C during a pause for the rate limit prints nothing, because no export was started."""
    async with Sandbox(1, api_key=KEY) as sandbox:
        sandbox.inject(Answer(status=429, headers={"Retry-After": "1000"}), endpoint="users")
        process = await start_command(sandbox, "users", ID, "--fields", "email")
        await until(lambda: sandbox.count("users", 429))
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


def test_no_connection(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed connection prints only the error, because no export was started."""
    monkeypatch.setenv("BRAZE_API_KEY", KEY)
    monkeypatch.setenv("BRAZE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("braze_segments_async.cli.commands.users._ATTEMPTS", 1)
    assert _code("users", ID, "--fields", "email") == 1
    err = capfd.readouterr().err
    assert "cannot connect to 127.0.0.1:9" in err
    assert len(err.splitlines()) == 1


async def test_interrupted_during_the_download(braze: Sandbox, tmp_path: Path) -> None:
    """Ctrl-C during the download leaves no file and prints nothing, because the export at Braze is done."""
    braze.inject(Answer(delay=30), endpoint="file", ordinals=2)
    target = tmp_path / "users.zip"
    process = await start_command(braze, "users", ID, "--fields", "email", "-o", str(target))
    await until(lambda: braze.count("file") >= 2)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    assert not inside(tmp_path)


def test_a_start_that_may_have_arrived(run: Run, braze: Sandbox) -> None:
    """A start that may have arrived is not retried; the message says that the export may continue."""
    braze.inject(Answer(status=503), endpoint="users")
    code, _, err = run(braze, "users", ID, "--fields", "email")
    assert code == 1
    assert "not sent again, since it may have arrived" in err
    assert err.splitlines()[1] == MAY_CONTINUE
    assert braze.count("users") == 1


def test_a_rejected_start(run: Run, braze: Sandbox) -> None:
    """A rejected start prints only the error, because no export was started."""
    code, _, err = run(braze, "users", "no-such", "--fields", "email")
    assert code == 1
    assert "400 after 1 attempt" in err
    assert len(err.splitlines()) == 1


def test_the_rate_limit(run: Run, braze: Sandbox) -> None:
    """A rate-limit wait longer than --max-wait exits 4."""
    braze.inject(Answer(status=429, headers={"Retry-After": "1000"}), endpoint="users")
    code, _, err = run(braze, "users", ID, "--fields", "email", "--max-wait", "10")
    assert code == 4
    assert "--max-wait" in err
    assert len(err.splitlines()) == 1


async def test_a_full_disk(braze: Sandbox, tmp_path: Path) -> None:
    """A failed write exits 1 with one line and leaves no file."""
    target = tmp_path / "x.ndjson"
    limited = (
        f"ulimit -f 1; exec {sys.executable} -B -m braze_segments_async users {ID} --fields devices,apps"
    )
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"{limited} -o {target}", stderr=PIPE, env=environment(braze)
    )
    _, err = await process.communicate()
    assert (process.returncode, len(err.splitlines())) == (1, 1)
    assert err.decode().startswith("braze-segments: cannot write ")
    assert err.decode().endswith("File too large\n")
    assert not inside(tmp_path)


# --- cloud storage ------------------------------------------------------------------------------------


def test_cloud_storage(run: Run) -> None:
    """With cloud storage there is no URL to download, so the message names the prefix of the files."""
    with running_in_thread(Sandbox(1, cloud_storage=True, api_key=KEY)) as sandbox:
        code, out, err = run(sandbox, "users", ID, "--fields", "email")
        assert (code, out, len(err.splitlines())) == (1, "", 1)
        assert "connected cloud storage that gets the files, below " in err
        code, out, err = run(sandbox, "users", ID, "--fields", "email", "--no-wait")
        assert (code, err) == (0, "")
        printed = json.loads(out)
        assert set(printed) == {"segment_id", "object_prefix"}
        assert printed["segment_id"] == ID
        assert printed["object_prefix"].partition("-")[0] != ""
        assert sandbox.count("users") == 2


def test_no_wait_without_cloud_storage(run: Run, never_ready: Sandbox) -> None:
    """`--no-wait` prints no URL, and says how to get the file and how to cancel the export."""
    code, out, err = run(never_ready, "users", ID, "--fields", "email", "--no-wait")
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "http" not in out + err
    assert "Run the command again without --no-wait" in err
    assert f"braze-segments cancel {ID}" in err
    assert not never_ready.file_requests


# --- progress texts -----------------------------------------------------------------------------------


def test_progress_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step has its own text; while waiting, the text changes once a minute."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    job: Any = UsersJob("a segment's")
    assert job.lines() == ["asking Braze for the users"]
    job.set_pause(PauseEvent(1, datetime.now(UTC) - timedelta(seconds=1), "429"))
    assert job.lines() == ["asking Braze for the users"]
    until = datetime.now(UTC) + timedelta(seconds=60)
    job.set_pause(PauseEvent(60, until, "429"))
    assert job.lines() == [f"waiting until {local_time(until)}: 429"]
    job.export, job.running = _Export(), "continues"
    assert job.lines() == ["waiting for Braze to make the file"]
    now[0] += 150
    assert job.lines() == ["waiting for Braze to make the file: 0:02:00"]
    assert job.display()().plain == (
        "waiting for Braze to make the file: 0:02:30\nCtrl-C stops waiting; the export continues at Braze"
    )
    assert job.interrupted() == (
        """the export continues at Braze: braze-segments cancel 'a segment'"'"'s' ends it"""
    )
    job.ready, job.running = True, ""
    assert job.lines() == ["fetching the file"]
    assert job.interrupted() == ""
    job.export.size, job.export.received = 1_234_567_890, 1_048_576
    assert job.display()().plain == "1.0 of 1,234.6 MB received"
    job.count = 1_000
    assert job.lines() == ["1,000 users"]


class _Export:
    """The attributes of an export that `UsersJob` reads."""

    received, size = 0, None
