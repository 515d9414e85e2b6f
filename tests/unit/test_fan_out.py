"""The fan-out: concurrency, order, failures and cleanup, on a real server or with a short source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import pytest

from braze_segments_async import (
    BadRequestError,
    BrazeSegments,
    ClosedError,
    ConfigError,
    PermissionDeniedError,
    RateLimitedError,
    Segment,
    ServerError,
)
from braze_segments_async._fan_out import FanOut
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def _double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


async def test_ten_thousand_segments() -> None:
    """Details of 10,000 segments are complete, each is requested once, and concurrency is bounded."""
    async with (
        Sandbox(10_000, latency=0.001) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=50) as client,
    ):
        ids = [details.id async for details in client.all_details()]
        assert len(ids) == 10_000
        assert set(ids) == set(sandbox.segment_ids)
        assert sandbox.count("details") == 10_000
        assert sandbox.count("list") == 201  # every page but the last is read twice
        assert 40 <= sandbox.max_in_flight <= 50  # at 1 ms, the machine may be too slow for more


@pytest.mark.parametrize("concurrency", [1, 2, 16, 64])
async def test_the_concurrency_is_reached_and_not_exceeded(concurrency: int) -> None:
    """Listing and details together reach the given concurrency, and never exceed it."""
    async with (
        Sandbox(300, latency=0.002 * concurrency) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        assert len([d async for d in client.all_details(concurrency=concurrency)]) == 300
        assert sandbox.max_in_flight == concurrency


async def test_details_start_before_the_listing_ends(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Details of page 0 are requested before the last page."""
    async for _ in client.all_details():
        pass
    order = [request.endpoint for request in sandbox.requests]
    last_page = max(index for index, endpoint in enumerate(order) if endpoint == "list")
    assert "details" in order[:last_page]


async def test_ordered_and_unordered(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`ordered=True` yields in the order of the list; without it a slow response delays no other."""
    slow = sandbox.segment_ids[0]
    sandbox.inject(Answer(delay=0.1), endpoint="details", segment_id=slow)
    assert [d.id async for d in client.all_details(ordered=True)] == sandbox.segment_ids
    ids = [d.id async for d in client.all_details()]
    assert ids[0] != slow
    assert set(ids) == set(sandbox.segment_ids)


async def test_each_kind_of_source(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`of` takes ids and segments, also mixed, from lists, iterators and async generators."""
    wanted = sandbox.segment_ids[:5]
    rows = [segment async for segment in client.list()][:5]

    async def generated() -> AsyncIterator[str | Segment]:
        mixed: list[str | Segment] = [*wanted[:2], *rows[2:]]
        for segment in mixed:
            await asyncio.sleep(0)
            yield segment

    sources: list[Any] = [wanted, rows, iter(wanted), tuple(rows), generated(), (s for s in rows)]
    for of in sources:
        assert [d.id async for d in client.all_details(of, ordered=True)] == wanted


async def test_duplicate_ids_and_no_ids(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Details of a duplicate id are requested and yielded once; without ids nothing is requested."""
    assert [d async for d in client.all_details([])] == []
    assert sandbox.requests == []
    one = sandbox.segment_ids[0]
    assert len([d async for d in client.all_details([one, one, Segment(one, "again")])]) == 1
    assert sandbox.count("details") == 1


@pytest.mark.parametrize(
    ("of", "message"),
    [("one-id", "call details"), (7, "got 7"), (b"id", "call details")],
)
async def test_an_invalid_source_is_refused(client: BrazeSegments, of: object, message: str) -> None:
    """A value that is not an iterable of ids is refused, a single id included."""
    with pytest.raises(ConfigError, match=message):
        client.all_details(of)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"concurrency": 0}, {"concurrency": True}, {"on_error": "ignore"}])
async def test_arguments_are_checked_at_the_call(client: BrazeSegments, arguments: dict[str, object]) -> None:
    """A wrong argument raises when `all_details` is called."""
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        client.all_details(**arguments)  # type: ignore[arg-type]


async def test_a_failure_ends_the_stream(client: BrazeSegments, sandbox: Sandbox) -> None:
    """By default the first failure is raised with its segment id, after the details before it."""
    bad = sandbox.segment_ids[120]
    sandbox.inject(Answer(400), endpoint="details", segment_id=bad)
    seen = []
    with pytest.raises(BadRequestError) as caught:
        async for details in client.all_details(ordered=True):
            seen.append(details.id)  # noqa: PERF401
    assert caught.value.segment_id == bad
    assert seen == sandbox.segment_ids[:120]


async def test_failures_can_be_collected(client: BrazeSegments, sandbox: Sandbox) -> None:
    """With `on_error="collect"` the stream continues, and `failures` has each error with its id."""
    bad = {sandbox.segment_ids[3]: 400, sandbox.segment_ids[140]: 500}
    for segment_id, status in bad.items():
        sandbox.inject(Answer(status), endpoint="details", segment_id=segment_id)
    async with client.all_details(on_error="collect") as stream:
        seen = {d.id async for d in stream}
    assert seen == set(sandbox.segment_ids) - set(bad)
    assert {f.segment_id: type(f.error) for f in stream.failures} == {
        sandbox.segment_ids[3]: BadRequestError,
        sandbox.segment_ids[140]: ServerError,
    }
    assert all(failure.error.segment_id == failure.segment_id for failure in stream.failures)


@pytest.mark.parametrize("invalid", ["", " ", None, 7, ["an-id"]])
@pytest.mark.parametrize("ordered", [True, False])
async def test_an_invalid_id_of_an_iterator(
    client: BrazeSegments, sandbox: Sandbox, invalid: Any, *, ordered: bool
) -> None:
    """With `on_error="collect"`, an invalid id in an iterator is a failure of that item only."""
    ids = [*sandbox.segment_ids[:5], invalid, *sandbox.segment_ids[5:10]]
    for stream in (
        client.all_details((each for each in ids), on_error="collect", ordered=ordered),
        client.all_data_series(iter(ids), tracked_only=True, on_error="collect", ordered=ordered),
    ):
        assert len([result async for result in stream]) == 10
        (failure,) = stream.failures
        assert (failure.segment_id, type(failure.error)) == (str(invalid), ConfigError)
    with pytest.raises(ConfigError, match="segment_id"):
        [details async for details in client.all_details(iter(ids), ordered=ordered)]


@pytest.mark.parametrize("collect", ["raise", "collect"])
@pytest.mark.parametrize(("status", "error"), [(403, PermissionDeniedError), (429, RateLimitedError)])
async def test_a_failure_of_all_segments_ends_the_stream(
    client: BrazeSegments, sandbox: Sandbox, status: int, error: type[Exception], collect: str
) -> None:
    """A missing permission or too long a rate limit ends the stream even if failures are collected."""
    answer = Answer(status, headers={"X-RateLimit-Retry-After": "3000"})
    sandbox.inject(answer, endpoint="details")
    with pytest.raises(error):
        [d async for d in client.all_details(on_error=collect)]  # type: ignore[arg-type]
    assert sandbox.count("details") <= client.concurrency


async def test_a_failed_listing_always_raises(client: BrazeSegments, sandbox: Sandbox) -> None:
    """A failure of the listing is raised and never collected, since segments would be missing."""
    sandbox.inject(Answer(500), endpoint="list", page=2)
    stream = client.all_details(on_error="collect")
    with pytest.raises(ServerError) as caught:
        [d async for d in stream]
    assert caught.value.page == 2
    assert stream.failures == []


async def test_back_pressure(client: BrazeSegments, sandbox: Sandbox) -> None:
    """If the consumer pauses, at most one page and `concurrency` details are fetched ahead."""
    async with client.all_details(concurrency=4) as stream:
        async for _ in stream:
            await asyncio.sleep(0.1)
            assert sandbox.count("details") <= 1 + 4
            assert sandbox.count("list") <= 3  # page 0, page 1, and page 0 again
            break


async def test_a_stream_is_iterated_once(client: BrazeSegments) -> None:
    """A second iteration raises, so that it does not look like an empty workspace."""
    stream = client.all_details()
    assert len([d async for d in stream]) == 250
    with pytest.raises(ClosedError, match="iterated once"):
        [d async for d in stream]


async def test_leaving_the_loop_ends_all_tasks(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Leaving the loop by `break` or by an exception ends all requests in flight at once."""
    sandbox.inject(Answer(delay=30), endpoint="details", segment_id=sandbox.segment_ids[1])
    async for _ in client.all_details():
        break
    await asyncio.sleep(0.02)
    with pytest.raises(ZeroDivisionError):
        async with client.all_details() as stream:
            async for _ in stream:
                _ = 1 // 0
    assert (await client.details(sandbox.segment_ids[0])).id == sandbox.segment_ids[0]
    tasks = [t for t in asyncio.all_tasks() if "/_fan_out.py" in repr(t) or "/_listing.py" in repr(t)]
    assert tasks == []


async def test_a_source_that_fails() -> None:
    """An exception of the source is raised unchanged; if ordered, after the results before it."""

    async def source() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        raise LookupError("mine")

    seen = []
    with pytest.raises(LookupError, match="mine"):
        async for result in FanOut(source(), _double, concurrency=3, ordered=True):
            seen.append(result)  # noqa: PERF401
    assert seen == [2 * number for number in range(10)]


@pytest.mark.parametrize("ordered", [False, True])
async def test_no_item_is_requested_after_the_end_of_the_source(ordered: bool) -> None:  # noqa: FBT001
    """The source gets no further `__anext__` after `StopAsyncIteration`; a queue would block forever."""
    queue: asyncio.Queue[int | None] = asyncio.Queue()
    for item in (*range(10), None):
        queue.put_nowait(item)

    class QueueSource:
        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> int:
            if (item := await queue.get()) is None:
                raise StopAsyncIteration
            return item

    assert [r async for r in FanOut(QueueSource(), _double, concurrency=4, ordered=ordered)] == [
        2 * number for number in range(10)
    ]


@pytest.mark.parametrize("awaited", [False, True])
async def test_no_item_is_requested_after_a_failure_of_the_source(awaited: bool) -> None:  # noqa: FBT001
    """After an exception of the source, no further item is requested or started."""
    started = []

    class FailingIterator:
        calls = 0

        def __next__(self) -> int:
            self.calls += 1
            if self.calls == 3:
                raise LookupError("mine")
            return self.calls

        async def __anext__(self) -> int:
            await asyncio.sleep(0)
            return next(self)

        def __iter__(self) -> Self:
            return self

    class FailingAsyncIterator(FailingIterator):
        def __aiter__(self) -> Self:
            return self

    async def work(item: int) -> int:
        started.append(item)
        await asyncio.sleep(0)
        return item

    source = FailingAsyncIterator() if awaited else FailingIterator()
    with pytest.raises(LookupError, match="mine"):
        async for _ in FanOut(source, work, concurrency=4, ordered=True):
            pass
    assert (started, source.calls) == ([1, 2], 3)


async def test_the_iterator_of_the_source_is_closed() -> None:
    """When the loop is left, the stream closes the iterator that it created."""
    closed = []

    class Lines:
        def __iter__(self) -> Iterator[int]:
            try:
                yield from range(1_000)
            finally:
                closed.append(True)

    stream = FanOut(Lines(), _double, concurrency=4)
    async with stream:
        async for _ in stream:
            break
    assert closed
    await stream.aclose()


async def test_a_task_cancelled_from_outside_ends_the_stream() -> None:
    """If another task cancels a worker of the stream, the stream raises, and skips no item."""

    async def hang(_: int) -> int:
        await asyncio.sleep(30)
        return 0

    async def cancel_worker() -> None:
        await asyncio.sleep(0.01)
        next(t for t in asyncio.all_tasks() if "FanOut._worker" in repr(t)).cancel()

    cancelling = asyncio.create_task(cancel_worker())
    with pytest.raises(ClosedError, match="from outside"):
        [r async for r in FanOut([1, 2], hang, concurrency=2)]
    await cancelling


async def test_an_item_is_requested_only_when_it_can_start() -> None:
    """The stream takes an item from the source only when a worker is free."""
    taken = []

    def source() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    async with FanOut(source(), _double, concurrency=3) as stream:  # type: ignore[arg-type]
        async for _ in stream:
            await asyncio.sleep(0.01)
            assert len(taken) == 1 + 3
            break


async def test_a_wrong_length_hint_loses_no_item() -> None:
    """The length hint of an iterable is an estimate: 0 does not mean that there are no items."""

    class Hinted:
        def __iter__(self) -> Iterator[int]:
            return iter([1, 2, 3])

        def __length_hint__(self) -> int:
            return 0

    assert sorted([result async for result in FanOut(Hinted(), _double, concurrency=2)]) == [2, 4, 6]


async def test_nothing_is_taken_after_a_failing_predicate() -> None:
    """A predicate that raises ends the stream, and no further item is taken."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            taken.append(number)
            yield number

    def predicate(_: int) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        [result async for result in FanOut(items(), _double, concurrency=4, predicate=predicate)]
    assert taken == [0]
