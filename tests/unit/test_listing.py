"""The listing: its rules with a fake `fetch`, and its requests to a real server."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import (
    BrazeSegments,
    ConfigError,
    Limits,
    PaginationError,
    PermissionDeniedError,
    Segment,
    SegmentListing,
    ServerError,
)
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable


def _rows(*numbers: int) -> tuple[Segment, ...]:
    return tuple(Segment(f"id-{number}", f"name {number}") for number in numbers)


class _Pages:
    """A `fetch` that answers from a list of pages and records the requests."""

    def __init__(
        self, *pages: tuple[Segment, ...], then: Callable[[int], tuple[Segment, ...]] | None = None
    ) -> None:
        self.pages = pages
        self.then = then or (lambda _: ())
        self.asked: list[int] = []

    async def __call__(self, number: int, _: str) -> tuple[Segment, ...]:
        self.asked.append(number)
        await asyncio.sleep(0)
        return self.pages[number] if number < len(self.pages) else self.then(number)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 250])
@pytest.mark.parametrize("direction", ["asc", "desc"])
@pytest.mark.parametrize("consistency", ["fast", "safe"])
async def test_every_segment_in_as_many_requests_as_documented(
    count: int, direction: str, consistency: str
) -> None:
    """A list of n takes n // 100 + 1 requests, and n // 100 more to re-read all pages but the last."""
    async with (
        Sandbox(count) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        listing = client.list(sort_direction=direction, consistency=consistency)  # type: ignore[arg-type]
        requests = count // 100 * (1 if consistency == "fast" else 2) + 1
        assert sandbox.requests == []
        ids = [segment.id async for segment in listing]
        assert ids == (sandbox.segment_ids if direction == "asc" else sandbox.segment_ids[::-1])
        assert sandbox.count("list") == requests
        assert [segment.id async for segment in listing] == ids  # again: a fresh walk
        assert sandbox.count("list") == 2 * requests


async def test_start_page(client: BrazeSegments, sandbox: Sandbox) -> None:
    """A listing may begin at any page; the pages keep the numbers of Braze."""
    pages = [page async for page in client.list(start_page=1).pages()]
    assert [(page.number, len(page.segments)) for page in pages] == [(1, 100), (2, 50)]
    assert [s.id for page in pages for s in page.segments] == sandbox.segment_ids[100:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_page": -1}, "start_page must be at least 0, got -1"),
        ({"start_page": True}, "start_page must be an integer of at least 0, got True"),
        ({"sort_direction": "up"}, 'sort_direction must be "asc" or "desc", got \'up\''),
        ({"consistency": "sure"}, 'consistency must be "fast" or "safe" or "strict"'),
        ({"consistency": "strict", "start_page": 1}, "start_page must be 0 with"),
    ],
)
async def test_arguments_are_checked_at_the_call(
    client: BrazeSegments, arguments: dict[str, object], message: str
) -> None:
    """A wrong argument raises when `list` is called, not at the first item."""
    with pytest.raises(ConfigError, match=message):
        client.list(**arguments)  # type: ignore[arg-type]


async def test_the_next_page_is_fetched_while_the_caller_works() -> None:
    """One page is fetched while the caller processes the previous one, and no more."""
    fetch = _Pages(_rows(*range(100)), _rows(*range(100, 200)), _rows(*range(200, 300)), _rows(300))
    async with aclosing(SegmentListing(fetch, consistency="fast").pages()) as pages:
        await anext(pages)
        await asyncio.sleep(0.01)
        assert fetch.asked == [0, 1]
        await anext(pages)
        await asyncio.sleep(0.01)
        assert fetch.asked == [0, 1, 2]


async def test_repeats_are_yielded_once() -> None:
    """A row that moved onto a later page, as after an unarchive, is not yielded again."""
    fetch = _Pages(_rows(*range(100)), _rows(*range(99, 199)), _rows(199))
    assert [s.id async for s in SegmentListing(fetch)] == [f"id-{n}" for n in range(200)]


async def test_101_rows_in_a_page() -> None:
    """More rows than documented are all yielded, and do not end the listing."""
    fetch = _Pages(_rows(*range(101)), _rows(101, 102))
    assert len([s async for s in SegmentListing(fetch)]) == 103


@pytest.mark.parametrize("consistency", ["fast", "safe", "strict"])
async def test_the_same_page_forever(consistency: str) -> None:
    """An endlessly repeated full page raises within five requests."""
    fetch = _Pages(then=lambda _: _rows(*range(100)))
    with pytest.raises(PaginationError, match="does not advance") as caught:
        [s async for s in SegmentListing(fetch, consistency=consistency)]  # type: ignore[arg-type]
    assert len(fetch.asked) <= 5
    assert caught.value.page == 2


async def test_an_endless_list() -> None:
    """An endless list raises at `limits.pages`; earlier rows were yielded."""
    fetch = _Pages(then=lambda page: _rows(*range(page * 100, page * 100 + 100)))
    seen = []
    with pytest.raises(PaginationError, match=r"limits.pages \(7\)"):
        async for segment in SegmentListing(fetch, max_pages=7):
            seen.append(segment)  # noqa: PERF401 - what came before the error counts
    assert set(fetch.asked) == set(range(8))  # the last one shows that the list continues
    assert len(fetch.asked) <= 2 * 7
    assert len(seen) == 700


async def test_a_list_of_exactly_the_limit(sandbox: Sandbox) -> None:
    """A list that ends on its last allowed page is complete."""
    limits = Limits(pages=3)
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, limits=limits) as client:
        assert len([s async for s in client.list()]) == 250


@pytest.mark.parametrize("consistency", ["fast", "safe", "strict"])
@pytest.mark.parametrize("prefetch", [1, 4])
async def test_a_list_of_exactly_the_limit_in_full_pages(consistency: Any, prefetch: int) -> None:
    """A list of exactly `limits.pages` full pages is complete if the page after them is empty."""
    fetch = _Pages(*(_rows(*range(first, first + 100)) for first in (0, 100, 200)))
    listing = SegmentListing(fetch, consistency=consistency, prefetch=prefetch, max_pages=3)
    assert len([segment async for segment in listing]) == 300
    assert max(fetch.asked) <= 4


async def test_a_list_of_one_segment_more_than_the_limit() -> None:
    """One segment on the page after `limits.pages` full pages is too many, and is not yielded."""
    fetch = _Pages(_rows(*range(100)), _rows(*range(100, 200)), _rows(200))
    seen = []
    with pytest.raises(PaginationError, match=r"limits.pages \(2\)"):
        async for segment in SegmentListing(fetch, max_pages=2):
            seen.append(segment)  # noqa: PERF401 - what came before the error counts
    assert len(seen) == 200


async def test_iterations_of_one_listing_do_not_disturb_each_other() -> None:
    """`recovered` counts one iteration, even if two of one listing run at the same time."""
    first_reading = True

    async def fetch(number: int, _: str) -> tuple[Segment, ...]:
        nonlocal first_reading
        rows = _rows(*range(100)) if number == 0 else ()
        if number == 0 and not first_reading:
            rows = _rows(*range(1, 101))  # one was archived, so that another one moved here
        first_reading = first_reading and number != 0
        return rows

    listing = SegmentListing(fetch)
    async with aclosing(listing.pages()) as outer:
        assert len((await anext(outer)).segments) == 100
        assert len([segment async for segment in listing]) == 100
        assert listing.recovered == 0
        assert [segment.id for segment in (await anext(outer)).segments] == [_rows(100)[0].id]
        assert listing.recovered == 0  # of the iteration that began last


async def test_a_failing_page_raises_and_nothing_of_it_is_yielded(
    client: BrazeSegments, sandbox: Sandbox
) -> None:
    """A page that cannot be fetched raises with its number; only a short page ends a listing."""
    sandbox.inject(Answer(503), endpoint="list", page=2)
    seen = []
    with pytest.raises(ServerError) as caught:
        async for segment in client.list():
            seen.append(segment.id)  # noqa: PERF401
    assert caught.value.page == 2
    assert caught.value.attempts == 5
    assert seen == sandbox.segment_ids[:200]


async def test_leaving_early_leaves_nothing_behind(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`break` cancels the prefetched page; the client remains usable."""
    sandbox.inject(Answer(delay=30), endpoint="list", page=1)
    async for _ in client.list():
        break
    await asyncio.sleep(0.02)
    assert len(asyncio.all_tasks()) < 6  # this one, and those of the server and its connections
    assert (await client.details(sandbox.segment_ids[0])).id == sandbox.segment_ids[0]


@given(count=st.integers(0, 420), duplicates=st.sets(st.integers(0, 400), max_size=5))
def test_any_size_and_any_repeats(count: int, duplicates: set[int]) -> None:
    """Each id is yielded once and in order, for any size and any repeated rows."""
    numbers = [n for number in range(count) for n in [number] * (2 if number in duplicates else 1)]
    pages = [_rows(*numbers[start : start + 100]) for start in range(0, len(numbers), 100)]

    async def walk() -> list[str]:
        return [s.id async for s in SegmentListing(_Pages(*pages))]

    assert asyncio.run(walk()) == [f"id-{n}" for n in range(count)]


@pytest.mark.parametrize("count", [0, 99, 100, 250, 1_000, 1_650])
@pytest.mark.parametrize("consistency", ["fast", "safe", "strict"])
async def test_prefetch_changes_only_the_time(count: int, consistency: str) -> None:
    """With `prefetch` the same segments come in the same order, with at most 7 requests more."""
    walks, wasted = [], []
    for prefetch in (1, 8):
        pages = _Pages(*[_rows(*range(first, min(first + 100, count))) for first in range(0, count + 1, 100)])
        listing = SegmentListing(pages, consistency=consistency, prefetch=prefetch)  # type: ignore[arg-type]
        walks.append([segment.id async for segment in listing])
        wasted.append(len(pages.asked))
    assert walks[0] == walks[1]
    assert len(walks[0]) == count
    assert wasted[1] - wasted[0] <= 7 * (2 if consistency == "strict" else 1)


async def test_prefetch_grows_while_pages_are_full() -> None:
    """The prefetch depth doubles from one, and goes one page beyond `limits.pages` at most."""
    pages = _Pages(*[_rows(*range(first, first + 100)) for first in range(0, 1_000, 100)])
    seen: list[int] = []
    with pytest.raises(PaginationError, match=r"more pages than limits\.pages \(7\)"):
        async for page in SegmentListing(pages, prefetch=8, max_pages=7).pages():
            seen.append(page.number)
            await asyncio.sleep(0)
            if page.number < 3:
                assert max(pages.asked) <= 2 ** (page.number + 1) + page.number
    assert sorted(set(pages.asked)) == list(range(8))
    assert seen == list(range(7))


async def test_a_prefetched_page_beyond_the_end_may_fail(client: BrazeSegments, sandbox: Sandbox) -> None:
    """An error of a page beyond the end is ignored; one of a page in the list is raised in order."""
    sandbox.inject(Answer(status=403), endpoint="list", page=3)
    assert len([s async for s in client.list(prefetch=8)]) == 250
    sandbox.inject(Answer(status=403), endpoint="list", page=2)
    with pytest.raises(PermissionDeniedError) as caught:
        async for _ in client.list(prefetch=8):
            pass
    assert caught.value.page == 2


async def test_a_prefetch_is_a_number_of_pages(client: BrazeSegments) -> None:
    """`prefetch` is a number from 1, checked at the call."""
    with pytest.raises(ConfigError, match=r"^prefetch must be at least 1, got 0$"):
        client.list(prefetch=0)
