"""The sizes of many segments, a fan-out like that of the details."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from braze_segments_async import BadRequestError, BrazeSegments, ConfigError, SegmentSizes
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LAST = date(2026, 10, 31)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Yield a small workspace."""
    async with Sandbox(120) as sandbox:
        yield sandbox


async def test_the_sizes_of_every_segment(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Every segment has the requested days: oldest first, without gap or repeat."""
    found = [each async for each in client.all_data_series(length=250, ending_at=LAST, ordered=True)]
    assert [each.id for each in found] == sandbox.segment_ids
    days = [LAST - timedelta(days=back) for back in range(249, -1, -1)]
    for each in found:
        assert isinstance(each, SegmentSizes)
        assert each.name == sandbox.segment(each.id)["name"]
        assert [point.time for point in each.sizes] == days
        assert all(type(point.size) in {int, float} for point in each.sizes)
    assert sandbox.count("data_series") == 3 * 120
    alone = await client.data_series(sandbox.segment_ids[7], length=250, ending_at=LAST)
    assert list(found[7].sizes) == alone


async def test_all_end_at_the_same_moment(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Without `ending_at`, all series end at the time of the call."""
    before = datetime.now(UTC).replace(microsecond=0)
    stream = client.all_data_series(sandbox.segment_ids[:5], length=7)
    after = datetime.now(UTC)
    assert [len(each.sizes) async for each in stream] == [7] * 5
    ends = {request.query["ending_at"] for request in sandbox.requests}
    assert len(ends) == 1
    assert before <= datetime.fromisoformat(ends.pop()) <= after


async def test_tracked_only(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Segments that the list reports as not tracked are skipped; an id alone is fetched."""
    tracked = [i for i in sandbox.segment_ids if sandbox.segment(i)["analytics_tracking_enabled"]]
    assert 0 < len(tracked) < 120
    found = {each.id async for each in client.all_data_series(length=1, tracked_only=True)}
    assert found == set(tracked)
    assert sandbox.count("data_series") == len(tracked)
    by_id = [each async for each in client.all_data_series(sandbox.segment_ids, length=1, tracked_only=True)]
    assert len(by_id) == 120
    assert {each.name for each in by_id} == {None}


async def test_a_failing_segment_fails_alone(client: BrazeSegments, sandbox: Sandbox) -> None:
    """A segment with a failing window is in `failures`, so that no series has a gap."""
    refused = sandbox.segment_ids[3]
    sandbox.inject(Answer(status=400), endpoint="data_series", segment_id=refused, times=1)
    async with client.all_data_series(length=150, ending_at=LAST, on_error="collect") as stream:
        found = {each.id async for each in stream}
    assert found == set(sandbox.segment_ids) - {refused}
    ((failed, error),) = stream.failures
    assert (failed, type(error), error.segment_id) == (refused, BadRequestError, refused)
    with pytest.raises(BadRequestError):
        async for _ in client.all_data_series([refused, "nobody"], ending_at=LAST):
            pass


async def test_requests_share_the_concurrency() -> None:
    """The listing and the windows of all segments share the concurrency of the stream."""
    async with (
        Sandbox(120, latency=0.002) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        assert len([s async for s in client.all_data_series(length=120, concurrency=3)]) == 120
    assert sandbox.max_in_flight == 3


@pytest.mark.parametrize(
    "wrong",
    [{"length": 0}, {"ending_at": "today"}, {"ending_at": 0}, {"of": "id"}, {"on_error": "ignore"}],
)
async def test_arguments_are_checked_at_the_call(client: BrazeSegments, wrong: dict[str, Any]) -> None:
    """Arguments are checked before anything is iterated or sent."""
    with pytest.raises(ConfigError):
        client.all_data_series(**wrong)
