"""Run the cron script and the examples that need extra packages; run by `make recipes`."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import py_compile
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from cli_helpers import COMMAND, ROOT, environment, inside, until

from braze_segments_async.sandbox import Answer, Sandbox

pytestmark = pytest.mark.skipif("RECIPES" not in os.environ, reason="run by make recipes")

EXAMPLES = ROOT / "examples"
KEY_FILE = "api-key"

# Runs a script that may connect only to this machine. It exits, as a thread could suppress an exception.
LOCAL_ONLY = """
import os, runpy, sys

def watch(event, arguments):
    host = {"socket.getaddrinfo": lambda: arguments[0], "socket.connect": lambda: arguments[1][0]}.get(event)
    if host and host() not in {None, "127.0.0.1", "localhost"}:
        os.write(2, f"the example connects to {host()}".encode())
        os._exit(99)

sys.addaudithook(watch)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


async def _run(sandbox: Sandbox | None, *command: str | Path, **variables: str) -> tuple[int, str, str]:
    """Run a command; return its exit code, output and error output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=-1, stderr=-1, env=environment(sandbox, **variables), cwd=variables.get("HOME")
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def _run_example(
    name: str, home: Path, sandbox: Sandbox | None = None, *arguments: str, **more: str
) -> tuple[int, str, str]:
    """Run an example in its own home directory, without network access."""
    variables = {"HOME": str(home), "TMPDIR": str(home), "DLT_DATA_DIR": str(home / "dlt"), **more}
    return await _run(
        sandbox, sys.executable, "-W", "error", "-c", LOCAL_ONLY, EXAMPLES / name, *arguments, **variables
    )


# cron


@pytest.fixture
def night_home(tmp_path: Path, sandbox: Sandbox) -> Path:
    """A home directory with a key file and a `bin` folder with the command."""
    key = tmp_path / KEY_FILE
    key.write_text(f"{sandbox.api_key}\n")
    key.chmod(0o600)
    command = tmp_path / "bin" / "braze-segments"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{COMMAND[0]}" -m {COMMAND[2]} "$@"\n')
    command.chmod(0o700)
    return tmp_path


async def _nightly(night_home: Path, sandbox: Sandbox) -> tuple[int, str, str]:
    return await _run(
        None,
        EXAMPLES / "export_nightly.sh",
        night_home / "segments.ndjson",
        PATH=f"{night_home / 'bin'}:{os.environ['PATH']}",
        BRAZE_BASE_URL=sandbox.base_url,
        BRAZE_KEY_FILE=str(night_home / KEY_FILE),
        PAUSE="0",
    )


async def test_each_night_replaces_the_file(night_home: Path, sandbox: Sandbox) -> None:
    """The script prints nothing on success and replaces the file of the previous night."""
    assert await _nightly(night_home, sandbox) == (0, "", "")
    sandbox.rename(sandbox.segment_ids[0], "Of tonight")
    assert await _nightly(night_home, sandbox) == (0, "", "")
    assert "Of tonight" in (night_home / "segments.ndjson").read_text()
    assert sandbox.count("details") == 2 * 250


async def test_next_attempt_resumes(night_home: Path, sandbox: Sandbox) -> None:
    """A retry fetches only the failed segment, and prints nothing."""
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[7], times=2)
    assert await _nightly(night_home, sandbox) == (0, "", "")
    assert sandbox.count("details") == 250 + 2


async def test_next_night_starts_afresh(night_home: Path, sandbox: Sandbox) -> None:
    """A failed night keeps the file and prints one report; the next night fetches everything again."""
    file = night_home / "segments.ndjson"
    file.write_text("of last night")
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[7], times=3)
    code, out, err = await _nightly(night_home, sandbox)
    assert (code, out) == (3, "")
    assert "failed with exit code 3, attempt 3 of 3" in err
    assert f"segment_id={sandbox.segment_ids[7]}): 422" in err
    assert sandbox.api_key not in err
    assert file.read_text() == "of last night"
    before = sandbox.count("details")
    yesterday = time.time() - 86_400
    os.utime(night_home / "segments.ndjson.journal", (yesterday, yesterday))
    assert await _nightly(night_home, sandbox) == (0, "", "")
    assert sandbox.count("details") == before + 250


async def test_permanent_errors_are_not_retried(night_home: Path, sandbox: Sandbox) -> None:
    """A missing key, or a key file that others can read, stops the script before any request."""
    (night_home / KEY_FILE).chmod(0o640)
    code, _, err = await _nightly(night_home, sandbox)
    assert (code, err) == (2, f"others can read the API key: chmod 600 {night_home / KEY_FILE}\n")
    (night_home / KEY_FILE).unlink()
    code, _, err = await _nightly(night_home, sandbox)
    assert code == 2
    assert "attempt 1 of 3" in err
    assert "api-key: No such file" in err
    assert not sandbox.requests


async def test_a_refused_key_is_not_retried(night_home: Path, sandbox: Sandbox) -> None:
    """A key that Braze refuses stops the script after one attempt, with the exit code of the command."""
    (night_home / KEY_FILE).write_text("another-key\n")
    code, _, err = await _nightly(night_home, sandbox)
    assert code == 5
    assert "attempt 1 of 3" in err
    assert "replace the key" in err
    assert len(sandbox.requests) == 1


async def test_an_interrupted_export_is_not_retried(night_home: Path, sandbox: Sandbox) -> None:
    """An export ended by SIGTERM, as during a shutdown, is not retried."""
    sandbox.inject(Answer(delay=30.0), endpoint="details", segment_id=sandbox.segment_ids[249])
    command = night_home / "bin" / "braze-segments"
    # Only the command gets the signal; the script must handle its exit code.
    command.write_text(
        f'#!/bin/sh\n"{COMMAND[0]}" -m {COMMAND[2]} "$@" & echo $! >"{night_home}/pid"; wait $!\n'
    )
    task = asyncio.create_task(_nightly(night_home, sandbox))
    await until(lambda: sandbox.count("details") == 250)
    os.kill(int((night_home / "pid").read_text()), 15)
    code, _, err = await task
    assert code == 143
    assert "attempt 1 of 3" in err


# Airflow


def test_airflow(tmp_path: Path) -> None:
    """The example compiles. It is not run, because Airflow is too large to install here."""
    example = str(EXAMPLES / "airflow_dag.py")
    assert py_compile.compile(example, cfile=str(tmp_path / "compiled"), doraise=True)


# Dagster


async def test_dagster_without_a_key(tmp_path: Path) -> None:
    """The example runs without a key, writes the file, and prints the metadata."""
    file = str(tmp_path / "segments.parquet")
    code, out, err = await _run_example("dagster_asset.py", tmp_path, SEGMENTS_FILE=file)
    assert code == 0, err
    assert out.startswith(f"250 segments, {{'file': {file!r}, ")
    assert "segments.parquet" in {path.name for path in inside(tmp_path)}


async def test_dagster_retry_resumes(tmp_path: Path, sandbox: Sandbox) -> None:
    """A failed segment fails the attempt of the asset; the retry fetches only that segment."""
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[7], times=1)
    folder = tmp_path / "of the asset"
    folder.mkdir()
    file = str(folder / "segments.parquet")
    code, out, err = await _run_example(
        "dagster_asset.py", tmp_path, sandbox, SEGMENTS_FILE=file, RETRY_DELAY="0"
    )
    assert code == 0, err
    assert out.startswith("250 segments")
    assert sandbox.count("details") == 250 + 1
    assert [path.name for path in inside(folder)] == ["segments.parquet"]


async def test_dagster_fails_on_partial(tmp_path: Path, sandbox: Sandbox) -> None:
    """No file is written and nothing is materialised if a segment is missing."""
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[7])
    file = tmp_path / "segments.parquet"
    code, out, err = await _run_example(
        "dagster_asset.py", tmp_path, sandbox, SEGMENTS_FILE=str(file), RETRY_DELAY="0"
    )
    assert (code, out) == (1, "")
    assert "1 of 250 segments could not be fetched" in err
    assert not file.exists()


# dlt


@pytest.mark.timeout(180)
async def test_dlt_in_five_nights(tmp_path: Path) -> None:
    """A failed load changes nothing; versions of archived segments end, also in an emptied workspace."""
    async with Sandbox(60) as sandbox:
        renamed, archived, failing = sandbox.segment_ids[:3]
        name = sandbox.segment(renamed)["name"]

        async def loaded() -> tuple[int, ...]:
            """Return the exit code, and the numbers of current versions, earlier versions and sizes."""
            code, out, err = await _run_example(
                "dlt_pipeline.py",
                tmp_path,
                SOURCES__BRAZE_SEGMENTS__API_KEY=sandbox.api_key,
                SOURCES__BRAZE_SEGMENTS__BASE_URL=sandbox.base_url,
                RUNTIME__DLTHUB_TELEMETRY="false",
            )
            assert code == 0 or "422 after 1 attempt" in err, err
            assert sandbox.api_key not in out + err
            return code, *_counts(tmp_path / "history.duckdb")

        assert await loaded() == (0, 60, 0, 60 * 30)
        sandbox.rename(renamed, "Another name")
        sandbox.archive(archived)
        assert await loaded() == (0, 59, 2, 60 * 30)
        sandbox.inject(Answer(status=422), endpoint="details", segment_id=failing, times=1)
        sandbox.archive(sandbox.segment_ids[-1])
        assert await loaded() == (1, 59, 2, 60 * 30)
        sandbox.rename(renamed, name)
        sandbox.unarchive(archived)
        assert await loaded() == (0, 59, 4, 60 * 30)
        for segment_id in sandbox.segment_ids:
            sandbox.archive(segment_id)
        assert await loaded() == (0, 0, 63, 60 * 30)


def _counts(file: Path) -> tuple[int, int, int]:
    import duckdb  # noqa: PLC0415 - slow to import

    with closing(duckdb.connect(str(file), read_only=True)) as database:
        found = database.execute(
            """SELECT count(*) FILTER (_dlt_valid_to IS NULL), count(_dlt_valid_to),
                      (SELECT count(*) FROM braze.segment_sizes) FROM braze.segments"""
        ).fetchone()
    assert found is not None
    return found


# Singer


async def test_singer_tap(tmp_path: Path, sandbox: Sandbox) -> None:
    """The tap describes itself, and sends every segment to a target, or no record if one is missing."""
    config, target = tmp_path / "config.json", tmp_path / "target.json"
    config.write_text(json.dumps({"api_key": sandbox.api_key, "base_url": sandbox.base_url}))
    target.write_text(json.dumps({"output_path": str(tmp_path)}))

    async def tap(*arguments: str) -> tuple[int, str, str]:
        return await _run_example("singer_tap.py", tmp_path, None, *arguments)

    code, out, err = await tap("--about", "--format=json")
    assert code == 0, err
    assert {"discover", "catalog", "state"} <= set(json.loads(out)["capabilities"])
    code, catalog, err = await tap("--config", str(config), "--discover")
    assert code == 0, err
    assert [stream["tap_stream_id"] for stream in json.loads(catalog)["streams"]] == ["segments"]
    (tmp_path / "catalog.json").write_text(catalog)
    (tmp_path / "state.json").write_text("{}")
    options = ["--config", str(config), "--catalog", str(tmp_path / "catalog.json")]
    code, out, err = await tap(*options, "--state", str(tmp_path / "state.json"))
    assert code == 0, err
    assert sandbox.api_key not in out + err
    (tmp_path / "records.jsonl").write_text(out)
    load = f'"{Path(sys.executable).with_name("target-csv")}" --config target.json --input records.jsonl'
    code, _, err = await _run(None, "/bin/sh", "-c", load, HOME=str(tmp_path))
    assert code == 0, err
    with (tmp_path / "segments.csv").open(newline="", encoding="utf-8") as file:
        assert {row["id"] for row in csv.DictReader(file)} == set(sandbox.segment_ids)
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[-1], times=1)
    code, out, err = await tap(*options)
    assert (code, '"RECORD"' in out) == (1, False)
    assert "422 after 1 attempt" in err
