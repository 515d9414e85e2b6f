"""The commands `list`, `details`, `sizes`, `check` and `diff`: output, errors and exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import unicodedata
from asyncio.subprocess import PIPE
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import COMMAND, KEY, environment, run_command, start_command, until

from braze_segments_async import ConfigError, Instance, SizePoint
from braze_segments_async.cli.app import app
from braze_segments_async.cli.arguments import Connection, parse_env
from braze_segments_async.cli.ids import parse_lines
from braze_segments_async.cli.rendering import ago, chart, sparkline
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from command_server import CommandProcess

PLAIN = {"TERM": "xterm", "NO_COLOR": "1"}
ID = Sandbox(1).segment_ids[0]
HOSTILE = "\x1b[2J\x1b]0;pwned\x07\u202eevil\r\nsecond [red]line[/red] :smile:"


@pytest.fixture
async def braze() -> AsyncIterator[Sandbox]:
    """A sandbox with 120 segments on two pages."""
    async with Sandbox(120, api_key=KEY) as sandbox:
        yield sandbox


async def _start(sandbox: Sandbox | None, *arguments: str, **options: Any) -> CommandProcess:
    return await start_command(sandbox, *arguments, env=environment(sandbox, **PLAIN), **options)


async def _run(sandbox: Sandbox | None, *arguments: str, **options: Any) -> tuple[int | None, str, str]:
    return await run_command(sandbox, *arguments, env=environment(sandbox, **PLAIN), **options)


async def _in_terminal(sandbox: Sandbox, *arguments: str) -> str:
    """Return the output in a terminal of 80 columns, which must consist of printable text."""
    controller, terminal = pty.openpty()
    process = await _start(sandbox, *arguments, stdout=terminal)
    os.close(terminal)
    shown = asyncio.create_task(asyncio.to_thread(_read_terminal, controller))
    await process.communicate()
    text = (await shown).decode().replace("\r\n", "\n")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)  # the command itself prints bold and dim
    os.close(controller)
    assert process.returncode == 0
    assert text.replace("\n", "").isprintable()
    assert "--json" in arguments or max(map(_cells, text.split("\n"))) <= 80
    return text


def _read_terminal(terminal: int) -> bytes:
    text = b""
    while True:
        try:
            text += os.read(terminal, 65_536)
        except OSError:
            return text


def _cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def _lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        app(list(arguments))
    assert isinstance(ending.value.code, int)
    return ending.value.code


# --- list ---------------------------------------------------------------------------------------------


async def test_list_in_a_pipe(braze: Sandbox) -> None:
    """Each segment is a line with the fields of the list, in the order of the list; stderr is empty."""
    code, out, err = await _run(braze, "list", "--sort-direction", "desc")
    assert (code, err) == (0, "")
    assert [line["id"] for line in _lines(out)] == braze.segment_ids[::-1]
    for line in _lines(out):
        row = braze.segment(line["id"])
        assert list(line) == ["id", "name", "analytics_tracking_enabled", "tags", "extra"]
        assert (line["name"], line["analytics_tracking_enabled"]) == (
            row["name"],
            row["analytics_tracking_enabled"],
        )
    assert braze.count("list") == 3  # the default, "safe", reads the first page twice


async def test_list_in_a_terminal(braze: Sandbox) -> None:
    """In a terminal the list is one table over all pages, and control characters in names are escaped."""
    braze.rename(braze.segment_ids[0], HOSTILE)
    text = await _in_terminal(braze, "list")
    head, *lines = text.splitlines()
    assert head.split() == ["Name", "Tags", "Id"]
    assert [line.split()[-1] for line in lines] == braze.segment_ids  # one line each, the whole id last
    assert lines[0].startswith("\\x1b[2J\\x1b]0;pwned\\")


async def test_list_columns_and_order(braze: Sandbox) -> None:
    """Dates and sizes are fetched for the listed segments only, and sort them; unknown ones come last."""
    sizes = {"a": 5_000, "b": None, "c": 1_200_000}
    ids = dict(zip(sizes, braze.segment_ids, strict=False))
    edited = datetime.now(UTC) - timedelta(days=3, hours=1)
    for name, segment_id in ids.items():
        braze.rename(segment_id, f"mine {name}")
        body = braze.details(segment_id) | {"estimated_size": sizes[name], "updated_at": edited.isoformat()}
        braze.inject(Answer(body=body), endpoint="details", segment_id=segment_id)
    text = await _in_terminal(
        braze, "list", "--name", "mine", "--columns", "name,edited,size", "--sort", "size"
    )
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert rows == [
        ["Name", "Edited", "Size"],
        ["mine c", "3 days ago", "1,200,000"],
        ["mine a", "3 days ago", "5,000"],
        ["mine b", "3 days ago"],
    ]
    assert braze.count("details") == 3
    arguments = ("--name", "mine", "--sort", "size", "--sort-direction", "asc", "--columns", "name, size")
    _, out, _ = await _run(braze, "list", *arguments, "--limit", "2")
    assert _lines(out) == [
        {"name": "mine a", "estimated_size": 5_000},
        {"name": "mine c", "estimated_size": 1_200_000},
    ]
    _, out, _ = await _run(braze, "list", "--sort", "name", "--sort-direction", "desc", "--limit", "500")
    names = [line["name"].casefold() for line in _lines(out)]
    assert names == sorted(names, reverse=True)


async def test_list_limit_ends_the_requests(braze: Sandbox) -> None:
    """`--limit` ends the listing after so many segments, and requests details of no others."""
    code, out, err = await _run(braze, "list", "--limit", "2", "--columns", "created,id")
    assert (code, err, [line["id"] for line in _lines(out)]) == (0, "", braze.segment_ids[:2])
    assert braze.count("details") == 2


def test_list_with_an_unknown_column(capfd: pytest.CaptureFixture[str]) -> None:
    """An unknown column is refused with the names of all columns."""
    assert _code("list", "--sandbox", "--columns", "name,edted") == 2
    assert capfd.readouterr().err == (
        "braze-segments: --columns: there is no column 'edted'; choose from name, tags, tracked, edited, "
        "created, size, id\n"
    )


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-5), "just now"),
        (timedelta(minutes=1), "1 minute ago"),
        (timedelta(hours=23, minutes=59), "23 hours ago"),
        (timedelta(days=3, hours=5), "3 days ago"),
        (timedelta(days=364), "12 months ago"),
        (timedelta(days=800), "2 years ago"),
    ],
)
def test_ago(passed: timedelta, text: str) -> None:
    """The time since an edit has one unit, rounded down."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert ago(now - passed, now) == text


async def test_list_uses_a_pager(braze: Sandbox) -> None:
    """In a terminal, the table goes through $PAGER, and the number of segments is printed after its end."""
    controller, terminal = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "list", "--limit", "2"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment(braze, **PLAIN, PAGER="sed s/^/paged:/"),
    )
    os.close(terminal)
    lines = (await asyncio.to_thread(_read_terminal, controller)).decode().splitlines()
    os.close(controller)
    assert await process.wait() == 0
    assert [line.startswith("paged:") for line in lines] == [True, True, True, False]
    assert lines[-1] == "2 segments; --limit leaves out the others"


def test_list_filters(capfd: pytest.CaptureFixture[str]) -> None:
    """`--name` and `--tag` match parts in any letter case; a segment must match every `--tag`."""
    assert _code("list", "--sandbox", "--name", "vip", "--tag", "PROMO", "--tag", "日本") == 0
    found = _lines(capfd.readouterr().out)
    assert found
    assert all("VIP" in line["name"] and {"promo", "日本"} <= set(line["tags"]) for line in found)
    assert _code("list", "--sandbox", "--tag", "no such") == 0
    assert capfd.readouterr().out == ""


# --- details and sizes --------------------------------------------------------------------------------


async def test_details_are_in_the_order_of_the_arguments(braze: Sandbox) -> None:
    """Ids come from arguments and, with `-`, from stdin, as text or NDJSON; each is fetched once."""
    one, two, three, four = braze.segment_ids[:4]
    given = f'\n{two}\r\n{{"id": "{three}", "name": "x"}}\n{one}\n'
    code, out, err = await _run(braze, "details", four, "-", one, given=given)
    assert (code, err) == (0, "")
    assert [line["id"] for line in _lines(out)] == [four, two, three, one]
    assert all(line["description"] == braze.details(line["id"])["description"] for line in _lines(out))
    assert (braze.count("details"), braze.count("list")) == (4, 0)


async def test_the_output_of_list_is_the_input_of_details(braze: Sandbox) -> None:
    """`details -` accepts the output of `list`; empty input sends no request."""
    listed = "".join(f"{json.dumps(braze.segment(segment_id))}\n" for segment_id in braze.segment_ids)
    code, out, _ = await _run(braze, "details", "-", given=listed)
    assert (code, len(_lines(out))) == (0, 120)
    asked = len(braze.requests)
    assert await _run(braze, "details", "-", given="") == (0, "", "")
    assert len(braze.requests) == asked


async def test_names_stand_for_segments(braze: Sandbox) -> None:
    """A name, in any letter case, stands for all segments that have it; the list is read once."""
    one, two, three = braze.segment_ids[:3]
    for segment_id in (one, two):
        braze.rename(segment_id, "Käufer VIP")
    given = f"{braze.segment(three)['name']}\n"
    code, out, err = await _run(braze, "details", "käufer vip", "-", one, given=given)
    assert (code, err) == (0, "")
    assert [line["id"] for line in _lines(out)] == [one, two, three]
    assert braze.count("list") == 3
    code, out, _ = await _run(braze, "sizes", "KÄUFER VIP", "--days", "1")
    assert [(line["id"], line["name"]) for line in _lines(out)] == [(one, "Käufer VIP"), (two, "Käufer VIP")]
    assert braze.count("details") == 3  # the names are known from the list


async def test_a_similar_name_is_suggested(braze: Sandbox) -> None:
    """An argument that matches no name is sent as an id, and a similar name is suggested."""
    braze.rename(braze.segment_ids[7], "VIP customers")
    code, out, err = await _run(braze, "details", "VIP custmers")
    assert (code, out) == (1, "")
    suggestion, failure = err.splitlines()
    assert suggestion == ('braze-segments: no segment is named "VIP custmers". Did you mean "VIP customers"?')
    assert "(segment_id=VIP custmers): 400 after 1 attempt" in failure


async def test_sizes_need_only_their_own_permission() -> None:
    """Without other permissions, `sizes` shows ids without names, and takes any text as an id."""
    async with Sandbox(3, api_key=KEY, permissions=("segments.data_series",)) as sandbox:
        code, out, err = await _run(sandbox, "sizes", sandbox.segment_ids[0], "--days", "1")
        assert (code, err, [line["name"] for line in _lines(out)]) == (0, "", [None])
        code, _, err = await _run(sandbox, "sizes", "x")
        assert (code, len(err.splitlines())) == (1, 1)


@pytest.mark.parametrize("command", ["details", "sizes"])
def test_an_unknown_id(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """An unknown id is one line on stderr; the exit code is 3 if other ids succeed, and 1 if none does."""
    assert _code(command, "nope", ID, "--sandbox") == 3
    out, err = capfd.readouterr()
    assert {line["id"] for line in _lines(out)} == {ID}
    assert re.match(r"braze-segments: GET \S+ \(segment_id=nope\): 400 after 1 attempt: ", err)
    assert len(err.splitlines()) == 1
    assert _code(command, "nope", "--sandbox") == 1
    assert capfd.readouterr().out == ""


async def test_a_missing_permission_stops_the_command(braze: Sandbox) -> None:
    """A missing permission stops the command with one line, whatever the number of ids."""
    braze.inject(Answer(status=403), endpoint="details")
    code, out, err = await _run(braze, "details", *braze.segment_ids[:60])
    assert (code, out, len(err.splitlines())) == (5, "", 1)
    assert "needs the permission segments.details" in err


async def test_details_of_one_in_a_terminal(braze: Sandbox) -> None:
    """A terminal shows one segment as text with escaped control characters, and as a line with `--json`."""
    segment_id = braze.segment_ids[0]
    body = braze.details(segment_id)
    note = f"first\n{HOSTILE}"
    braze.inject(Answer(body=body | {"name": HOSTILE, "text_description": note}), endpoint="details")
    text = await _in_terminal(braze, "details", segment_id)
    assert re.search(rf"^Id +{segment_id}$", text, re.MULTILINE)
    assert re.search(r"^Note +first$", text, re.MULTILINE)
    assert body["description"].split()[0] in text
    (line,) = _lines(await _in_terminal(braze, "details", segment_id, "--json"))
    assert line["name"] == HOSTILE


def test_sizes_in_a_pipe(capfd: pytest.CaptureFixture[str]) -> None:
    """Each segment and day is a line, from the oldest day to today, also for more than 100 days."""
    one, two = Sandbox(2).segment_ids
    assert _code("sizes", one, two, "--days", "130", "--sandbox") == 0
    lines = _lines(capfd.readouterr().out)
    assert [line["id"] for line in lines] == [one] * 130 + [two] * 130
    days = [date.fromisoformat(line["time"]) for line in lines[:130]]
    assert days == [days[0] + timedelta(days=n) for n in range(130)]
    assert abs(days[-1] - datetime.now(UTC).date()) <= timedelta(days=1)
    assert list(lines[0]) == ["id", "name", "time", "size"]
    names = [Sandbox(2).segment(segment_id)["name"] for segment_id in (one, two)]
    assert [line["name"] for line in lines[129:131]] == names


async def test_sizes_in_a_terminal(braze: Sandbox) -> None:
    """A terminal shows a chart for each segment, no wider than the terminal, and lines with `--json`."""
    text = await _in_terminal(braze, "sizes", *braze.segment_ids[:2], "--days", "365")
    assert [len(bars) for bars in re.findall("[▁▂▃▄▅▆▇█]+", text)] == [78, 78]
    assert len(_lines(await _in_terminal(braze, "sizes", braze.segment_ids[0], "--json", "--days", "2"))) == 2


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([5], 10, "▄"),
        ([5, 5], 10, "▄▄"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 10, "▁▂▃▄▅▆▇█"),
        ([0, 0, 10, 10, 5, 6.5], 3, "▁█▅"),
        ([1, 2, 3], 0, "▄"),
    ],
)
def test_sparkline(values: list[float], width: int, bars: str) -> None:
    """A sparkline has a bar for each value, or for the mean of each group of values."""
    assert sparkline(values, width) == bars


def test_a_chart_is_labelled() -> None:
    """A chart names the first, last, lowest and highest size; it omits the percentage of a start at 0."""
    days = [SizePoint(date(2026, 11, day), size) for day, size in ((1, 1_000), (2, 2_500), (3, 900))]
    assert chart("a", "VIP", days).decode() == (
        "VIP\n  ▁█▁\n  from 1,000 on 2026-11-01 to 900 on 2026-11-03 (-10.0%)\n"
        "  lowest 900 on 2026-11-03, highest 2,500 on 2026-11-02\n  a\n\n"
    )
    assert "%" not in chart("a", None, [SizePoint(date(2026, 11, 1), 0)]).decode()
    assert chart("a", None, []).decode() == "a\n  no sizes\n\n"


@pytest.mark.parametrize("line", ["{}", '{"id": 7}', '{"id": ""}', "{torn", "\ud83d"])
def test_a_line_without_an_id(line: str) -> None:
    """A line without an id is refused, and the error has the number of the line."""
    with pytest.raises(ConfigError, match=r"^standard input, line 3: "):
        list(parse_lines([b"a\n", b"\n", line.encode("utf-8", "surrogatepass")]))


async def test_wrong_lines_send_no_request(braze: Sandbox) -> None:
    """A wrong line on stdin exits 2 before the first request."""
    code, out, err = await _run(braze, "details", "-", given=f"{braze.segment_ids[0]}\n{{}}\n")
    assert (code, out, len(err.splitlines()), braze.requests) == (2, "", 1, [])


# --- check --------------------------------------------------------------------------------------------


def test_check(capfd: pytest.CaptureFixture[str]) -> None:
    """A key with all permissions exits 0 and the rate limit is shown; `--json` prints one object."""
    assert _code("check", "--sandbox") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert re.search(r"^segments\.data_series +yes$", out, re.MULTILINE)
    left = r"^requests left +249,99\d of 250,000, resets at \d\d:00 UTC$"
    assert re.search(left, out, re.MULTILINE)
    assert _code("check", "--sandbox", "--json") == 0
    (report,) = _lines(capfd.readouterr().out)
    assert (report["ready"], report["host"], report["key"], report["problems"]) == (True, True, True, [])
    assert report["rate_limit"]["limit"] == 250_000
    assert datetime.fromisoformat(report["rate_limit"]["resets_at"]).tzinfo is not None


async def test_check_names_missing_permissions() -> None:
    """`check` exits 5 and names the missing permissions and the page of the dashboard for API keys."""
    async with Sandbox(5, api_key=KEY, permissions=("segments.list",)) as sandbox:
        code, out, err = await _run(sandbox, "check")
    assert (code, err) == (5, "")
    assert "Not ready to export:" in out
    assert "- the key lacks segments.details and segments.data_series: " in out
    assert "Settings > APIs and Identifiers" in out


# --- diff ---------------------------------------------------------------------------------------------


def test_diff(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`diff` exits 0 without output for equal exports, 1 for differences, and 2 for wrong arguments."""
    old, new = tmp_path / "old.ndjson", tmp_path / "new.ndjson"
    workspace = Sandbox(5)
    _list(workspace, old)
    archived, renamed = workspace.segment_ids[:2]
    workspace.archive(archived)
    workspace.rename(renamed, HOSTILE)
    added = workspace.create("Added")
    _list(workspace, new)
    assert _code("diff", str(old), str(old)) == 0
    assert capfd.readouterr() == ("", "")
    assert _code("diff", str(old), str(new)) == 1
    out, err = capfd.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == ["~", "+", "-", "1"]
    assert out.endswith("1 renamed, 1 added, 1 removed\n")
    assert out.replace("\n", "").isprintable()
    assert _code("diff", str(old), str(new), "--json") == 1
    lines = _lines(capfd.readouterr().out)
    changes = [("renamed", renamed), ("added", added), ("removed", archived)]
    assert [(line["kind"], line["id"]) for line in lines] == changes
    assert lines[0]["after"] == HOSTILE
    for wrong in (("-", "-"), (str(old), str(tmp_path / "none")), (str(old), sys.executable)):
        assert _code("diff", *wrong) == 2
        out, err = capfd.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)


def _list(workspace: Sandbox, path: Path) -> None:
    rows = [workspace.segment(segment_id) for segment_id in workspace.segment_ids]
    path.write_text("".join(f"{json.dumps(row | {'tags': []})}\n" for row in rows))


async def test_diff_with_standard_input(tmp_path: Path) -> None:
    """`diff FILE -` compares a file with standard input."""
    old = tmp_path / "old.ndjson"
    old.write_text('{"id": "1", "name": "A"}\n')
    code, out, _ = await _run(None, "diff", str(old), "-", given='{"id": "1", "name": "B"}\n')
    assert (code, out) == (1, "~ renamed  B  (1)\n    - A\n    + B\n1 renamed\n")


async def test_diff_with_a_closed_pipe(tmp_path: Path) -> None:
    """A closed pipe does not change the exit code for differences."""
    new = tmp_path / "new.ndjson"
    new.write_text("".join(f'{{"id": "{n}", "name": "{"x" * 90}"}}\n' for n in range(3_000)))
    reading, writing = os.pipe()
    process = await _start(None, "diff", os.devnull, str(new), stdout=writing)
    os.close(writing)
    assert (await asyncio.to_thread(os.read, reading, 10)).startswith(b"+ added")
    os.close(reading)
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")


# --- which workspace ----------------------------------------------------------------------------------


@pytest.fixture
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    monkeypatch.delenv("BRAZE_BASE_URL", raising=False)


@pytest.mark.usefixtures("_no_environment")
async def test_precedence_of_options_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option overrides the environment, and the environment overrides the file."""
    env, key = tmp_path / ".env", tmp_path / "key"
    env.write_text(
        "# mine\nexport BRAZE_API_KEY='from-env-file'\nBRAZE_BASE_URL=rest.iad-01.braze.com # US\n"
    )
    key.write_text("from-key-file\n")

    async def used(**options: Any) -> tuple[str, str]:
        async with Connection(**options).client() as client:
            return str(client._manager._key), client.base_url

    assert await used(env_file=env) == ("from-env-file", "https://rest.iad-01.braze.com")
    monkeypatch.setenv("BRAZE_API_KEY", "from-environment")
    assert await used(env_file=env) == ("from-environment", "https://rest.iad-01.braze.com")
    monkeypatch.setenv("BRAZE_BASE_URL", "rest.iad-02.braze.com")
    assert (await used(env_file=env))[1] == "https://rest.iad-02.braze.com"
    assert await used(api_key_file=key, instance=Instance.EU_02) == (
        "from-key-file",
        "https://rest.fra-02.braze.eu",
    )
    assert (await used(base_url="rest.new-99.braze.com"))[1] == "https://rest.new-99.braze.com"


def test_env_file() -> None:
    """`export`, quotes, comments and blanks are parsed; only names that begin with BRAZE_ are read."""
    text = (
        "OTHER='unfinished\n\n  export BRAZE_A = \"one two\" # why\nBRAZE_B='x#y'\nBRAZE_C=x#y\nBRAZE_D=\n"
        "#BRAZE_E=no\nBRAZE_A_2=https://x/ \t\n"
    )
    found = {"A": "one two", "B": "x#y", "C": "x#y", "D": "", "A_2": "https://x/"}
    assert parse_env(text, ".env") == {f"BRAZE_{name}": value for name, value in found.items()}


@pytest.mark.parametrize("line", [f"BRAZE_API_KEY='{KEY}", f"BRAZE_API_KEY={KEY} x", f"BRAZE_API_KEY: {KEY}"])
def test_a_malformed_line_of_an_env_file(line: str) -> None:
    """A malformed line is refused with its number, and the message does not contain its text."""
    with pytest.raises(ConfigError, match=r"^\.env, line 2: write it as ") as caught:
        parse_env(f"\n{line}\n", ".env")
    assert KEY not in str(caught.value)


@pytest.mark.usefixtures("_no_environment")
@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("list", "--api-key-file", "/none"),
        ("list", "--api-key-file", os.devnull, "--instance", "us-01"),
        ("list", "--env-file", "/none"),
        ("list", "--instance", "us-99"),
        ("list", "--instance", "us-01", "--base-url", "https://rest.iad-01.braze.com"),
        ("list", "--segments", "5"),
        ("check", "--sandbox", "--instance", "eu-01"),
        ("check", "--sandbox", "--env-file", ".env"),
        ("list", "--api-key", KEY),
        ("details", f"--api-key={KEY}", "--sandbox"),
        ("sizes", "x", "--days", "0", "--sandbox"),
        ("sizes", "x", "--days", "9999999", "--sandbox"),
        ("details", "--sandbox"),
        ("details", "", "--sandbox"),
        ("diff", "one"),
    ],
)
def test_wrong_use_exits_2(arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    """Wrong or contradictory options and a missing key exit 2 with a reason that contains no key."""
    assert _code(*arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err
    assert KEY not in captured.err


# --- how it ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (("list",), signal.SIGINT, 130),
        (("details", "x"), signal.SIGTERM, 143),
        (("check",), signal.SIGINT, 130),
    ],
)
async def test_signals_end_the_command(arguments: tuple[str, ...], number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end a command that waits for Braze within seconds, without output."""
    async with Sandbox(5, latency=30.0) as sandbox:
        process = await _start(sandbox, *arguments)
        await until(lambda: sandbox.requests)
        process.send_signal(number)
        async with asyncio.timeout(5):
            _, err = await process.communicate()
    assert (process.returncode, err) == (code, b"")


async def test_ctrl_c_while_waiting_for_stdin(braze: Sandbox) -> None:
    """Ctrl-C ends a command that waits for ids on stdin."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "details", "-", stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment(braze)
    )
    assert process.stdin is not None
    process.stdin.write(b"\n" * 2**20)  # more than a pipe holds, so the command must be reading
    await process.stdin.drain()
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(5):
        _, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")


async def test_a_closed_pipe_exits_0() -> None:
    """`braze-segments list | head -1` exits 0 and prints nothing to stderr."""
    async with Sandbox(2_000) as sandbox:
        reading, writing = os.pipe()
        process = await _start(sandbox, "list", stdout=writing)
        os.close(writing)
        assert (await asyncio.to_thread(os.read, reading, 10)).startswith(b'{"id":')
        os.close(reading)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


async def test_beyond_max_wait_exits_4() -> None:
    """The command exits 4 with one line if the rate limit resets later than `--max-wait`."""
    async with Sandbox(5, rate_limit=(1, 3_600.0)) as sandbox:
        code, out, err = await _run(sandbox, "details", *sandbox.segment_ids, "--max-wait", "0")
    assert (code, len(out.splitlines()), len(err.splitlines())) == (4, 1, 1)
    assert "--max-wait" in err


async def test_a_pause_is_printed() -> None:
    """When the command pauses for the rate limit, it prints the end and the reason of the pause."""
    # 30 requests need three windows, so there is a whole pause wherever in a window the command begins.
    async with Sandbox(30, rate_limit=(15, 1.0)) as sandbox:
        code, out, err = await _run(sandbox, "details", *sandbox.segment_ids)
    assert (code, len(_lines(out))) == (0, 30)
    assert re.match(r"waiting until \d\d:\d\d:\d\d \S+: .*; Ctrl-C ends it\n", err)


async def test_a_pause_is_one_line_for_all_requests(braze: Sandbox) -> None:
    """Sixteen requests that get a 429 at the same time share one pause, which is printed once."""
    limited = Answer(429, headers={"Retry-After": "0.2"}, delay=0.1)
    braze.inject(limited, endpoint="details", ordinals=range(1, 17))
    code, out, err = await _run(braze, "details", *braze.segment_ids[:16])
    assert (code, len(_lines(out)), len(err.splitlines())) == (0, 16, 1)
    assert ": 429; Ctrl-C ends it" in err


def test_help_imports_no_client() -> None:
    """`--help` of every command imports no aiohttp."""
    program = (
        "import sys\nfrom braze_segments_async.cli.app import app\n"
        "for command in ('list', 'details', 'sizes', 'check', 'diff'):\n"
        "    try: app([command, '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "print('aiohttp' in sys.modules, 'braze_segments_async.cli.rendering' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment()
    )
    assert done.stdout.count("Usage: ") == 5
    assert done.stdout.endswith("False False\n")


def test_completion_is_installed(tmp_path: Path) -> None:
    """`--install-completion` writes a script that completes the commands and their options."""
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "--install-completion", "--shell", "bash"],
        check=True,
        capture_output=True,
        text=True,
        env=environment(HOME=str(tmp_path)),
    )
    assert "Completion script installed" in done.stdout
    script = (tmp_path / ".local/share/bash-completion/completions/braze-segments").read_text()
    assert all(word in script for word in ("sizes", "--consistency", "--api-key-file", "eu-01"))
