"""The fan-out: with fakes of a few lines for its rules, and on a real server for what is sent."""

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
    """A whole large workspace: exact ids, each once, and in flight no more than were asked for."""
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
async def test_max_in_flight_is_the_concurrency_asked_for(concurrency: int) -> None:
    """The walk and the details together never exceed the concurrency, and reach it."""
    async with (
        Sandbox(300, latency=0.002 * concurrency) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        assert len([d async for d in client.all_details(concurrency=concurrency)]) == 300
        assert sandbox.max_in_flight == concurrency


async def test_details_start_before_the_walk_ends(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Details of page 0 are in flight before the last page is asked for."""
    async for _ in client.all_details():
        pass
    order = [request.endpoint for request in sandbox.requests]
    last_page = max(index for index, endpoint in enumerate(order) if endpoint == "list")
    assert "details" in order[:last_page]


async def test_ordered(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`ordered=True` keeps the list's order when answers overtake each other; without, they come first."""
    slow = sandbox.segment_ids[0]
    sandbox.inject(Answer(delay=0.1), endpoint="details", segment_id=slow)
    assert [d.id async for d in client.all_details(ordered=True)] == sandbox.segment_ids
    ids = [d.id async for d in client.all_details()]
    assert ids[0] != slow
    assert set(ids) == set(sandbox.segment_ids)


async def test_ids_and_segments_sync_and_async(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`of` takes ids and segments, lists, generators and async generators, mixed as they come."""
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


async def test_repeats_and_nothing(client: BrazeSegments, sandbox: Sandbox) -> None:
    """The same id twice is answered once; no ids are an empty stream, and no request."""
    assert [d async for d in client.all_details([])] == []
    assert sandbox.requests == []
    one = sandbox.segment_ids[0]
    assert len([d async for d in client.all_details([one, one, Segment(one, "again")])]) == 1
    assert sandbox.count("details") == 1


@pytest.mark.parametrize(
    ("of", "message"),
    [("one-id", "call details"), (7, "got 7"), (b"id", "call details")],
)
async def test_what_is_no_source(client: BrazeSegments, of: object, message: str) -> None:
    """A single id is not taken for its letters."""
    with pytest.raises(ConfigError, match=message):
        client.all_details(of)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"concurrency": 0}, {"concurrency": True}, {"on_error": "ignore"}])
async def test_arguments_are_checked_at_the_call(client: BrazeSegments, arguments: dict[str, object]) -> None:
    """A wrong argument raises when `all_details` is called."""
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        client.all_details(**arguments)  # type: ignore[arg-type]


async def test_raise(client: BrazeSegments, sandbox: Sandbox) -> None:
    """By default the first failure ends the stream, with the id in it; what came before was yielded."""
    bad = sandbox.segment_ids[120]
    sandbox.inject(Answer(400), endpoint="details", segment_id=bad)
    seen = []
    with pytest.raises(BadRequestError) as caught:
        async for details in client.all_details(ordered=True):
            seen.append(details.id)  # noqa: PERF401
    assert caught.value.segment_id == bad
    assert seen == sandbox.segment_ids[:120]


async def test_collect(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`on_error="collect"` goes on; each failure is kept with its id."""
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


@pytest.mark.parametrize("collect", ["raise", "collect"])
@pytest.mark.parametrize(("status", "error"), [(403, PermissionDeniedError), (429, RateLimitedError)])
async def test_what_all_would_meet_stops_all(
    client: BrazeSegments, sandbox: Sandbox, status: int, error: type[Exception], collect: str
) -> None:
    """A 401, a 403 or a rate limit beyond the wait ends the stream even if failures are collected."""
    answer = Answer(status, headers={"X-RateLimit-Retry-After": "3000"})
    sandbox.inject(answer, endpoint="details")
    with pytest.raises(error):
        [d async for d in client.all_details(on_error=collect)]  # type: ignore[arg-type]
    assert sandbox.count("details") <= client.concurrency


async def test_a_failing_walk_always_raises(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Without the whole list there is no whole catalogue: that is never collected."""
    sandbox.inject(Answer(500), endpoint="list", page=2)
    stream = client.all_details(on_error="collect")
    with pytest.raises(ServerError) as caught:
        [d async for d in stream]
    assert caught.value.page == 2
    assert stream.failures == []


async def test_back_pressure(client: BrazeSegments, sandbox: Sandbox) -> None:
    """A consumer that stops taking stops the producers: one page ahead, and `concurrency` details."""
    async with client.all_details(concurrency=4) as stream:
        async for _ in stream:
            await asyncio.sleep(0.1)
            assert sandbox.count("details") <= 1 + 4
            assert sandbox.count("list") <= 3  # page 0, page 1, and page 0 again
            break


async def test_a_stream_is_iterated_once(client: BrazeSegments) -> None:
    """A used stream says so: it does not look like an empty workspace."""
    stream = client.all_details()
    assert len([d async for d in stream]) == 250
    with pytest.raises(ClosedError, match="iterated once"):
        [d async for d in stream]


async def test_break_and_exception_leave_nothing_behind(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Leaving the loop, by `break` or by an exception of the caller's, ends what is in flight at once."""
    sandbox.inject(Answer(delay=30), endpoint="details", segment_id=sandbox.segment_ids[1])
    async for _ in client.all_details():
        break
    await asyncio.sleep(0.02)
    with pytest.raises(ZeroDivisionError):
        async with client.all_details() as stream:
            async for _ in stream:
                _ = 1 // 0
    assert (await client.details(sandbox.segment_ids[0])).id == sandbox.segment_ids[0]
    ours = [t for t in asyncio.all_tasks() if "/fanout.py" in repr(t) or "/listing.py" in repr(t)]
    assert ours == []


async def test_the_callers_own_source_fails() -> None:
    """An exception of the source's own comes out unchanged, after what was done before it when ordered."""

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
async def test_a_source_that_ended_is_not_asked_again(ordered: bool) -> None:  # noqa: FBT001
    """A queue that says once that it is over is believed: to ask it again would take for ever."""
    queue: asyncio.Queue[int | None] = asyncio.Queue()
    for item in (*range(10), None):
        queue.put_nowait(item)

    class Queued:
        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> int:
            if (item := await queue.get()) is None:
                raise StopAsyncIteration
            return item

    assert [r async for r in FanOut(Queued(), _double, concurrency=4, ordered=ordered)] == [
        2 * number for number in range(10)
    ]


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_source_that_failed_is_not_asked_again(awaited: bool) -> None:  # noqa: FBT001
    """Though it would go on: the stream ends with what it raised, and nothing more is begun."""
    begun = []

    class Once:
        asked = 0

        def __next__(self) -> int:
            self.asked += 1
            if self.asked == 3:
                raise LookupError("mine")
            return self.asked

        async def __anext__(self) -> int:
            await asyncio.sleep(0)
            return next(self)

        def __iter__(self) -> Self:
            return self

    class AsyncOnce(Once):
        def __aiter__(self) -> Self:
            return self

    async def work(item: int) -> int:
        begun.append(item)
        await asyncio.sleep(0)
        return item

    source = AsyncOnce() if awaited else Once()
    with pytest.raises(LookupError, match="mine"):
        async for _ in FanOut(source, work, concurrency=4, ordered=True):
            pass
    assert (begun, source.asked) == ([1, 2], 3)


async def test_what_the_source_opened_is_closed() -> None:
    """An iterator that was made here is let go when the loop is left; the stream may live on."""
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


async def test_a_task_cancelled_from_outside_is_not_an_item_lost() -> None:
    """If somebody else cancels a task of the stream, the stream raises: no item goes missing unseen."""

    async def stuck(_: int) -> int:
        await asyncio.sleep(30)
        return 0

    async def meddle() -> None:
        await asyncio.sleep(0.01)
        next(t for t in asyncio.all_tasks() if "FanOut._worker" in repr(t)).cancel()

    meddler = asyncio.create_task(meddle())
    with pytest.raises(ClosedError, match="from outside"):
        [r async for r in FanOut([1, 2], stuck, concurrency=2)]
    await meddler


async def test_one_item_at_a_time_from_the_source() -> None:
    """The source is asked for an item only when there is room for it."""
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
