"""The promise of each `consistency` while people edit the list, under seeded changes."""

from __future__ import annotations

import asyncio
import random
from bisect import insort
from functools import cache
from typing import TYPE_CHECKING, Literal

import pytest

from braze_segments_async import BrazeSegments, PaginationError, Segment, SegmentListing
from braze_segments_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable


WALKS = 50
Edit = Literal["archive", "create", "restore"]


@cache
def _segment(number: int) -> Segment:
    return Segment(str(number), "")  # hundreds of listings have the same ones


class _Workspace:
    """A list of ids that changes a little with every request, without clock and network."""

    def __init__(self, size: int, edits: dict[Edit, float], seed: int) -> None:
        self.random = random.Random(seed)
        self.live = list(range(size))
        self.stable = set(self.live)  # those that were live all the time
        self.archived: list[int] = []
        self.edits = edits
        self.next = size
        self.requests = 0
        self.in_flight = self.most_in_flight = 0

    async def fetch(self, number: int, direction: str) -> tuple[Segment, ...]:
        """A page as it is at one moment between the request and its answer."""
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(0)
        for edit, per_request in self.edits.items():
            # Drawn per request: so many of these edits come in the time of one.
            for _ in range(int(per_request + self.random.random())):
                self._edit(edit)
        rows = self.live if direction == "asc" else self.live[::-1]
        page = rows[number * 100 : number * 100 + 100]
        await asyncio.sleep(0)
        self.in_flight -= 1
        return tuple(map(_segment, page))

    def _edit(self, edit: Edit) -> None:
        if edit == "create":
            self.live.append(self.next)
            self.next += 1
        elif edit == "archive" and self.live:
            gone = self.live.pop(self.random.randrange(len(self.live)))
            self.stable.discard(gone)
            self.archived.append(gone)
        elif edit == "restore" and self.archived:
            back = self.archived.pop(self.random.randrange(len(self.archived)))
            insort(self.live, back)


async def _losses(consistency: str, edits: dict[Edit, float], prefetch: int = 1) -> tuple[int, int, int]:
    """Return how many listings lost a stable row, how many gave up, and how many rows were recovered."""
    lost = gave_up = recovered = 0
    for seed in range(WALKS):
        workspace = _Workspace(950, edits, seed)
        listing = SegmentListing(workspace.fetch, consistency=consistency, prefetch=prefetch)  # type: ignore[arg-type]
        try:
            ids = [int(segment.id) async for segment in listing]
        except PaginationError as error:
            gave_up += 1
            assert error.only_first or error.only_second  # noqa: PT017 - to be looked at
            continue
        assert len(ids) == len(set(ids))
        lost += not workspace.stable <= set(ids)
        recovered += listing.recovered
    return lost, gave_up, recovered


async def test_the_simulation_can_lose_rows() -> None:
    """The plain listing loses rows under these changes; otherwise the other tests would show nothing."""
    lost, _, recovered = await _losses("fast", {"archive": 0.2, "create": 0.2})
    assert lost > WALKS // 3
    assert recovered == 0


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("rate", [0.02, 0.2, 0.6])
async def test_safe_loses_nothing_under_creates_and_archives(rate: float, prefetch: int) -> None:
    """`safe` never loses a segment that was always listed, and counts those it recovered."""
    lost, gave_up, recovered = await _losses("safe", {"archive": rate, "create": rate}, prefetch)
    assert (lost, gave_up) == (0, 0)
    assert recovered > 0


@pytest.mark.parametrize("prefetch", [1, 8])
@pytest.mark.parametrize("rate", [0.02, 0.2, 0.9])
async def test_strict_loses_nothing_or_raises(rate: float, prefetch: int) -> None:
    """`strict` never loses a segment under any changes; it raises when the list changes too fast."""
    edits: dict[Edit, float] = {"archive": rate, "create": rate, "restore": rate}
    lost, gave_up, _ = await _losses("strict", edits, prefetch)
    assert lost == 0
    if rate < 0.1:
        assert gave_up < WALKS // 20


@pytest.mark.parametrize(("consistency", "requests"), [("fast", "n"), ("safe", "2n-1"), ("strict", "3n")])
async def test_number_of_requests(consistency: str, requests: str) -> None:
    """Without edits, n pages take n, 2n - 1, or 3n requests, at most two concurrently."""
    workspace = _Workspace(950, {}, 0)
    listing = SegmentListing(workspace.fetch, consistency=consistency)  # type: ignore[arg-type]
    assert len([s async for s in listing]) == 950
    n = 10
    assert workspace.requests == {"n": n, "2n-1": 2 * n - 1, "3n": 3 * n}[requests]
    assert workspace.most_in_flight <= 2


class _Rounds:
    """A service that answers all waiting requests together, in rounds."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.waiting: list[asyncio.Future[None]] = []

    async def fetch(self, number: int, _: str) -> tuple[Segment, ...]:
        """A page, in the next round."""
        answered = asyncio.get_running_loop().create_future()
        self.waiting.append(answered)
        await answered
        return tuple(map(_segment, range(number * 100, min(number * 100 + 100, self.size))))

    async def of(self, consistency: str) -> int:
        """How many rounds a walk takes."""
        listing = SegmentListing(self.fetch, consistency=consistency)  # type: ignore[arg-type]
        walk = asyncio.create_task(_count(listing))
        rounds = 0
        while not walk.done():
            for _ in range(20):  # until nobody has anything to do but wait
                await asyncio.sleep(0)
            answered, self.waiting = self.waiting, []
            rounds += bool(answered)
            for future in answered:
                future.set_result(None)
        assert await walk == self.size
        return rounds


async def _count(listing: SegmentListing) -> int:
    return len([segment async for segment in listing])


async def test_safe_takes_one_more_round() -> None:
    """A page is re-read while the next one is fetched: `safe` takes one round more than `fast`."""
    assert await _Rounds(950).of("fast") == 10
    assert await _Rounds(950).of("safe") == 11


def _archive_between(sandbox: Sandbox) -> Callable[[object], None]:
    def hook(_: object) -> None:
        if sandbox.count("list") == 2:
            sandbox.archive(sandbox.segment_ids[5])

    return hook


@pytest.mark.parametrize(("consistency", "lost"), [("fast", 1), ("safe", 0), ("strict", 0)])
async def test_one_archive_in_the_middle(
    client: BrazeSegments, sandbox: Sandbox, consistency: str, lost: int
) -> None:
    """`fast` misses a row if a segment of page 0 is archived before page 1 is read; the others do not."""
    before = sandbox.segment_ids
    sandbox.inject(_archive_between(sandbox), endpoint="list")
    listing = client.list(consistency=consistency)  # type: ignore[arg-type]
    ids = [segment.id async for segment in listing]
    assert len(set(before) - set(ids)) == lost
    assert listing.recovered == (0 if consistency == "fast" else 1)


async def test_details_of_a_consistent_listing(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`all_details(consistency=…)` fetches the details of segments that a plain listing misses."""
    sandbox.inject(_archive_between(sandbox), endpoint="list")
    ids = {details.id async for details in client.all_details(consistency="safe")}
    assert len(ids) == 250


async def _archive_much(consistency: str) -> tuple[set[str], set[str]]:
    """Archive more than a page of segments during a listing; return the stable ids and the listed ids."""
    seen = set()
    async with Sandbox(1_000) as sandbox, BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        async for page in client.list(consistency=consistency).pages():  # type: ignore[arg-type]
            seen |= {segment.id for segment in page.segments}
            if page.number == 0 and len(sandbox.segment_ids) == 1_000:
                for segment_id in sandbox.segment_ids[:160]:
                    sandbox.archive(segment_id)
        return set(sandbox.segment_ids), seen


async def test_more_than_a_page_archived_between_two_reads() -> None:
    """`fast` loses rows, `safe` raises because it cannot be sure, `strict` finds them in both directions."""
    live, seen = await _archive_much("fast")
    assert live - seen
    with pytest.raises(PaginationError, match="read it again"):
        await _archive_much("safe")
    live, seen = await _archive_much("strict")
    assert live <= seen


async def test_a_page_of_repeats_does_not_end_a_listing() -> None:
    """`safe` continues after a page of known rows, as after many were unarchived, and loses nothing."""
    rows = [tuple(Segment(str(n), "") for n in range(start, start + 100)) for start in (0, 100, 100, 200)]

    async def fetch(number: int, _: str) -> tuple[Segment, ...]:
        return rows[number] if number < len(rows) else ()

    listing = SegmentListing(fetch, consistency="safe")
    assert [segment.id async for segment in listing] == [str(n) for n in range(300)]


async def test_a_page_of_repeated_rows_is_not_taken_for_archived() -> None:
    """The two readings of a page are compared row by row, also the rows that an earlier page had."""
    pages = [_page(0, 100), _page(1, 101), _page(101, 102)]
    rows = {0: 0, 1: 0}

    async def fetch(number: int, _: str) -> tuple[Segment, ...]:
        if number in rows:
            rows[number] += 1
        if number == 1 and rows[1] == 2:
            return _page(1, 100) + _page(101, 102)  # the only new row of the first reading was archived
        return pages[number] if number < len(pages) else ()

    found = [segment.id async for segment in SegmentListing(fetch, consistency="safe")]
    assert sorted(found) == sorted({row.id for page in pages for row in page})


async def test_strict_names_a_page_after_the_last_one() -> None:
    """If a page follows the short one in every round, the error says so."""

    async def fetch(number: int, direction: str) -> tuple[Segment, ...]:
        return _page(0, 5) if number == 0 else _page(5, 6) if direction == "asc" else ()

    with pytest.raises(PaginationError, match="the page after the last one was not empty, in 5 rounds"):
        [segment async for segment in SegmentListing(fetch, consistency="strict")]


def _page(first: int, end: int) -> tuple[Segment, ...]:
    return tuple(Segment(f"id-{number}", f"name {number}") for number in range(first, end))
