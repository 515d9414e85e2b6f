"""Exports are complete or report missing segments: archived segments, failures, cancellation, sizes."""

# ruff: noqa: ASYNC240 - small files, which do not block for long

from __future__ import annotations

import asyncio
import errno
import json
import pickle
import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import openpyxl
import pytest
from cli_helpers import until
from export_helpers import content, journaled_ids, names_in, requested_ids, sibling

from braze_segments_async import (
    AuthenticationError,
    BrazeSegments,
    ClosedError,
    ConfigError,
    ExportError,
    PaginationError,
    RateLimitedError,
    RetryPolicy,
    __version__,
)
from braze_segments_async.export import ExportProgress, IncompleteExportError, export_segments, to_json_line
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from braze_segments_async.sandbox import LoggedRequest


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The path of the exported file, in an empty directory."""
    return tmp_path / "segments.ndjson"


def ids_in(target: Path) -> list[str]:
    """Return the ids of the segments in an NDJSON file."""
    return [json.loads(line)["id"] for line in target.read_bytes().splitlines()]


async def test_a_complete_export(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """The file has the details of every segment of the list, and no other file is left."""
    result = await export_segments(client, target)
    assert sorted(ids_in(target)) == sorted(sandbox.segment_ids)
    lines = target.read_bytes().splitlines(keepends=True)
    async for segment in client.list():
        assert to_json_line(await client.details(segment)) in lines
    assert names_in(target) == {target.name}
    assert (result.path, result.rows, result.pages) == (target, 250, 3)
    assert (result.failures, result.archived, result.recovered, result.resumed) == ((), 0, 0, 0)
    assert result.elapsed > 0


async def test_an_empty_workspace(tmp_path: Path) -> None:
    """An empty workspace is exported as a file without rows, in every format."""
    async with Sandbox(0) as sandbox, BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        for suffix, size in (
            (".ndjson", 0),
            (".csv", 145),
            (".parquet", None),
            (".sqlite", None),
            (".xlsx", None),
        ):
            target = tmp_path / f"a{suffix}"
            assert (await export_segments(client, target)).rows == 0
            assert size in {None, len(content(target))}


async def test_a_workbook_says_where_it_comes_from(
    sandbox: Sandbox, client: BrazeSegments, tmp_path: Path
) -> None:
    """The sheet "Read me" has the instance, the version, the options, and that the file is partial."""
    sandbox.inject(Answer(status=422), endpoint="details", segment_id=sandbox.segment_ids[7])
    await export_segments(client, path := tmp_path / "a.xlsx", allow_partial=True, sizes=2)
    with closing(openpyxl.load_workbook(path, read_only=True)) as book:
        about = dict(row[:2] for row in book["Read me"].values)
    assert about["Contents"].startswith("249 segments")
    assert about["Partial"].endswith("missing here: 1")
    assert (about["Instance"], about["Options"]) == ("127.0.0.1", "sizes: 2")
    assert about["Written by"] == f"braze-segments-async {__version__}"


async def test_consistency_is_safe_by_default(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A segment that a page shift hides from a simple listing is exported, and counted as recovered."""
    ids = sandbox.segment_ids

    def archive(_: LoggedRequest) -> None:
        sandbox.archive(ids[0])

    sandbox.inject(archive, endpoint="list", page=1, times=1)
    result = await export_segments(client, target)
    assert result.recovered == 1
    assert set(ids_in(target)) >= set(ids[1:])


async def test_archived_between_list_and_details(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """A segment archived before its details is counted, not failed; one that is still listed fails."""
    archived, refused = sandbox.segment_ids[7], sandbox.segment_ids[9]

    def archive(_: LoggedRequest) -> Answer:
        sandbox.archive(archived)
        return Answer(status=400)

    sandbox.inject(archive, endpoint="details", segment_id=archived)
    result = await export_segments(client, target)
    assert (result.rows, result.archived, result.failures) == (249, 1, ())
    assert sandbox.count("list") == 2 * 5
    assert archived not in ids_in(target)

    sandbox.inject(Answer(status=404), endpoint="details", segment_id=refused)
    with pytest.raises(IncompleteExportError, match="1 of 249 segments"):
        await export_segments(client, target, overwrite=True)


async def test_archived_before_resume(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A segment in the journal that is no longer listed is omitted and counted."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=100)
    with pytest.raises(Exception, match="401"):
        await export_segments(client, target)
    sandbox.archive(archived := journaled_ids(target)[3])
    result = await export_segments(client, target, resume=True)
    assert (result.rows, result.archived) == (249, 1)
    assert sorted(ids_in(target)) == sorted(sandbox.segment_ids)
    assert archived not in ids_in(target)


async def test_failures_prevent_the_file(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """The error has the failed segments and can be pickled; `resume` fetches only these segments."""
    bad = sorted(sandbox.segment_ids[3:5])
    for segment_id in bad:
        sandbox.inject(Answer(status=422), segment_id=segment_id, times=1)
    with pytest.raises(
        IncompleteExportError, match=r"^2 of 250 segments .* the first one: GET .*422"
    ) as caught:
        await export_segments(client, target)
    assert isinstance(caught.value, ExportError)
    result = pickle.loads(pickle.dumps(caught.value)).result  # noqa: S301 - pickled here
    assert result.rows == 248
    assert sorted(failure.segment_id for failure in result.failures) == bad
    assert names_in(target) == {f"{target.name}.journal"}
    sandbox.requests.clear()
    assert (await export_segments(client, target, resume=True)).rows == 250
    assert requested_ids(sandbox) == bad


async def test_allow_partial(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A partial file has a list of failures beside it, which the next complete export removes."""
    bad = sandbox.segment_ids[3]
    sandbox.inject(Answer(status=422), segment_id=bad, times=1)
    result = await export_segments(client, target, allow_partial=True)
    assert result.rows == len(ids_in(target)) == 249
    assert [failure.segment_id for failure in result.failures] == [bad]
    missing = sibling(target, ".failures.ndjson")
    assert names_in(target) == {target.name, missing.name}
    (failure,) = map(json.loads, missing.read_bytes().splitlines())
    assert failure == {
        "segment_id": bad,
        "error": "StatusError",
        "message": str(result.failures[0].error),
    }
    await export_segments(client, target, allow_partial=True, overwrite=True)
    assert names_in(target) == {target.name}


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_errors_of_every_request_stop_the_export(sandbox: Sandbox, target: Path, status: int) -> None:
    """A 401, 403 or 429 stops the export, even with `allow_partial`, and the journal is kept."""
    sandbox.inject(Answer(status=status), endpoint="details", ordinals=range(60, 999))
    policy = RetryPolicy(backoff=0.0, max_rate_limit_wait=0.1)
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=policy) as client:
        with pytest.raises(Exception, match=str(status)) as caught:
            await export_segments(client, target, allow_partial=True)
    assert (type(caught.value) is RateLimitedError) == (status == 429)
    assert names_in(target) == {f"{target.name}.journal"}
    assert 40 < len(journaled_ids(target)) < 60


async def test_a_listing_that_fails_stops_the_export(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """A listing that fails stops the export, even with `allow_partial`."""
    sandbox.inject(Answer(body={"message": "success", "segments": None}), page=2)
    with pytest.raises(Exception, match=r"\$\.segments|expected a list"):
        await export_segments(client, target, allow_partial=True)
    assert not target.exists()
    rows = [sandbox.segment(segment_id) for segment_id in sandbox.segment_ids[:100]]
    sandbox.inject(Answer(body={"message": "success", "segments": rows}), endpoint="list")
    with pytest.raises(PaginationError):
        await export_segments(client, target, allow_partial=True, overwrite=True)


@pytest.mark.parametrize("suffix", [".ndjson", ".csv", ".parquet", ".sqlite", ".html", ".xlsx"])
async def test_cancelled_at_any_moment(client: BrazeSegments, tmp_path: Path, suffix: str) -> None:
    """After a cancellation the file is absent or complete, the journal is kept, and `resume` finishes."""
    await export_segments(client, whole := tmp_path / f"whole{suffix}")
    target = tmp_path / "cancelled" / f"segments{suffix}"
    target.parent.mkdir()
    for done in (0, 1, 30, 249, 250):
        task = asyncio.create_task(export_segments(client, target, resume=True))
        while len(journaled_ids(target)) < done and not target.exists():  # noqa: ASYNC110 - a file, no event
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(journaled_ids(target)) >= done or target.exists()
        assert names_in(target) <= {target.name, f"{target.name}.journal"}
        assert not target.exists() or content(target) == content(whole)
    if sibling(target, ".journal").exists():
        await export_segments(client, target, resume=True)
    assert content(target) == content(whole)


async def test_the_client_is_closed_during_the_export(sandbox: Sandbox, target: Path) -> None:
    """An export whose client is closed raises `ClosedError`, and keeps its journal."""
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        task = asyncio.create_task(export_segments(client, target))
        while len(journaled_ids(target)) < 20:  # noqa: ASYNC110 - a file, no event
            await asyncio.sleep(0)
    with pytest.raises(ClosedError):
        await task
    assert names_in(target) == {f"{target.name}.journal"}


async def test_sizes(sandbox: Sandbox, client: BrazeSegments, tmp_path: Path) -> None:
    """Sizes are exported for each segment up to the same day, within the limit of concurrent requests."""
    target = tmp_path / "a.db"
    await export_segments(client, target, sizes=150, concurrency=4)
    assert sandbox.count("data_series") == 2 * 250
    assert sandbox.max_in_flight <= 4 + 2
    query = "SELECT count(*), count(DISTINCT segment_id), count(DISTINCT time) FROM segment_sizes"
    with closing(sqlite3.connect(target)) as database:
        assert database.execute(query).fetchone() == (250 * 150, 250, 150)
    ends = {r.query["ending_at"] for r in sandbox.requests if r.endpoint == "data_series"}
    assert len(ends) == 2


async def test_sizes_are_journaled(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A resumed export fetches neither details nor sizes twice, and sizes up to the same time."""
    sandbox.inject(Answer(status=401), endpoint="data_series", ordinals=100)
    with pytest.raises(Exception, match="401"):
        await export_segments(client, target, sizes=7)
    done = len(journaled_ids(target))
    await asyncio.sleep(0.05)  # cancelled requests in flight arrive in this time
    sandbox.requests.clear()
    await export_segments(client, target, sizes=7, resume=True)
    assert sandbox.count("details") == sandbox.count("data_series") == 250 - done
    days = {tuple(p["time"] for p in json.loads(line)["sizes"]) for line in target.read_bytes().splitlines()}
    assert {len(each) for each in days} == {7}
    assert len(days) == 1


async def test_sizes_of_untracked_segments(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """A 400 for the sizes of an untracked segment gives no sizes; for a tracked segment it is a failure."""
    untracked = [
        segment_id
        for segment_id in sandbox.segment_ids
        if not sandbox.segment(segment_id)["analytics_tracking_enabled"]
    ]
    for segment_id in untracked:
        sandbox.inject(Answer(status=400), endpoint="data_series", segment_id=segment_id)
    await export_segments(client, target, sizes=7)
    rows = map(json.loads, target.read_bytes().splitlines())
    assert sorted(row["id"] for row in rows if not row["sizes"]) == sorted(untracked)
    tracked = next(i for i in sandbox.segment_ids if i not in untracked)
    sandbox.inject(Answer(status=400), endpoint="data_series", segment_id=tracked)
    with pytest.raises(IncompleteExportError, match="data_series"):
        await export_segments(client, target, sizes=7, overwrite=True)


async def test_progress(sandbox: Sandbox, client: BrazeSegments, target: Path) -> None:
    """`on_progress` is called at most ten times a second, never goes back, and ends with the result."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=100)
    with pytest.raises(Exception, match="401"):
        await export_segments(client, target)
    done = len(journaled_ids(target))
    seen: list[ExportProgress] = []
    result = await export_segments(client, target, resume=True, on_progress=seen.append)
    assert 2 <= len(seen) <= 3 + 10 * result.elapsed
    last = seen[-1]
    assert (last.pages, last.listed, last.total, last.done) == (3, 250, 250, 250)
    assert (last.failed, last.archived, last.resumed) == (0, 0, done)
    assert last.rate_limit == client.rate_limit
    assert all(one.done <= two.done for one, two in pairwise(seen))


@pytest.mark.parametrize("consistency", ["fast", "safe"])
async def test_high_concurrency_prefetches_pages(sandbox: Sandbox, target: Path, consistency: str) -> None:
    """If `concurrency` exceeds the size of a page, a page is requested before the previous one arrives."""
    sandbox.inject(Answer(delay=30.0), page=1)
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    async with client:
        exporting = asyncio.create_task(
            export_segments(client, target, concurrency=128, consistency=consistency)  # type: ignore[arg-type]
        )
        await until(lambda: "2" in {request.query.get("page") for request in sandbox.requests})
        exporting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exporting


async def test_an_error_of_a_callback(client: BrazeSegments, target: Path) -> None:
    """An error of a callback reaches the caller unchanged, and the journal is kept."""

    def complain(progress: ExportProgress) -> None:
        if progress.done:  # on a busy machine it may be called before the first row
            raise OSError("mine")

    with pytest.raises(OSError, match=r"^mine$"):
        await export_segments(client, target, on_progress=complain)
    assert names_in(target) == {f"{target.name}.journal"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xls"}, 'format must be "ndjson" or "csv" or "parquet" or "sqlite" or "html" or "xlsx"'),
        ({"consistency": "best"}, 'consistency must be "fast" or "safe" or "strict"'),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"sizes": 0}, "sizes must be at least 1"),
        ({"sizes": True}, "sizes must be an integer"),
    ],
)
async def test_wrong_options(
    sandbox: Sandbox, client: BrazeSegments, target: Path, options: dict[str, Any], message: str
) -> None:
    """Wrong options are refused before any request, and create no file."""
    with pytest.raises(ConfigError, match=message):
        await export_segments(client, target, **options)
    assert not sandbox.requests
    assert not names_in(target)


async def test_a_row_nested_too_deeply_is_a_failure(
    client: BrazeSegments, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment whose details are nested too deeply fails alone."""

    def refuse(details: Any, *, sizes: Any) -> bytes:
        if details.name.endswith("7"):
            raise RecursionError
        return to_json_line(details, sizes=sizes)

    monkeypatch.setattr("braze_segments_async.export._run.to_json_line", refuse)
    result = await export_segments(client, target, allow_partial=True)
    assert 0 < len(result.failures) == 250 - result.rows
    assert "nested too deeply" in str(result.failures[0].error)


async def test_an_earlier_partial_file_keeps_its_list(
    sandbox: Sandbox, client: BrazeSegments, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a new partial file cannot be written, the earlier one and its list of failures are unchanged."""
    sandbox.inject(Answer(status=422), segment_id=sandbox.segment_ids[3])
    await export_segments(client, target, allow_partial=True)
    earlier = {path.name: path.read_bytes() for path in target.parent.iterdir()}
    sandbox.inject(Answer(status=422), segment_id=sandbox.segment_ids[4])

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("braze_segments_async.export._export.write_rows", full)
        with pytest.raises(ExportError, match="No space left"):
            await export_segments(client, target, allow_partial=True, overwrite=True)
    sibling(target, ".journal").unlink()
    assert {path.name: path.read_bytes() for path in target.parent.iterdir()} == earlier


async def test_a_fast_listing_drops_no_row_of_the_journal(
    sandbox: Sandbox, client: BrazeSegments, target: Path
) -> None:
    """A journaled segment that a fast listing misses is listed again before it counts as archived."""
    sandbox.inject(Answer(status=401), endpoint="details", ordinals=range(200, 250))
    with pytest.raises(AuthenticationError):
        await export_segments(client, target, consistency="fast")
    assert len(journaled_ids(target)) > 150
    rows = [sandbox.segment(segment_id) for segment_id in sandbox.segment_ids[:99]]  # ends the first listing
    sandbox.inject(Answer(body={"message": "success", "segments": rows}), endpoint="list", page=0, times=1)
    result = await export_segments(client, target, consistency="fast", resume=True)
    assert (result.archived, result.rows) == (0, len(ids_in(target)))
    assert result.rows > 150
