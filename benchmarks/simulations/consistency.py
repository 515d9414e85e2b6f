"""Simulate how often a listing misses a segment during edits: the table of docs/consistency.md.

2,050 segments, 0.2 seconds per request, 500 listings of each kind with edits at random times, in virtual
time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from itertools import count

from virtual_time import run

from braze_segments_async import PaginationError, Segment, SegmentListing

_SIZE = 2_050
_LATENCY = 0.2  # seconds
# Edits per second.
_EDITS: dict[str, dict[str, float]] = {
    "one archived per minute": {"archive": 1 / 60},
    "one archived and one created per second": {"archive": 1.0, "create": 1.0},
    "… and one un-archived": {"archive": 1.0, "create": 1.0, "unarchive": 1.0},
}
_MODES = (("fast", 1), ("fast", 8), ("safe", 1), ("strict", 1))


class Workspace:
    """A segment list that is edited at random times."""

    def __init__(self, chance: random.Random) -> None:
        self.live = list(range(_SIZE))
        self.always = set(self.live)  # segments that were live from start to end
        self.requests = 0
        self._archived: list[int] = []
        self._created = count(_SIZE)
        self._chance = chance

    async def edit(self, kind: str, per_second: float) -> None:
        """Make one kind of edit at random times, without end."""
        while True:
            await asyncio.sleep(self._chance.expovariate(per_second))
            if kind == "create":
                self.live.append(next(self._created))
            elif kind == "archive":
                archived = self.live.pop(self._chance.randrange(len(self.live)))
                self.always.discard(archived)
                self._archived.append(archived)
            elif self._archived:
                restored = self._archived.pop(self._chance.randrange(len(self._archived)))
                self.live = sorted([*self.live, restored])

    async def page(self, number: int, direction: str) -> tuple[Segment, ...]:
        """Return a page of the list as it is half-way through the request."""
        self.requests += 1
        await asyncio.sleep(_LATENCY / 2)
        rows = self.live if direction == "asc" else self.live[::-1]
        rows = rows[number * 100 : number * 100 + 100]
        await asyncio.sleep(_LATENCY / 2)
        return tuple(Segment(str(row), "") for row in rows)


async def read_list(consistency: str, prefetch: int, edits: dict[str, float], seed: int) -> tuple[str, int]:
    """List once; return "complete", "lost" or "gave up", and the number of requests."""
    workspace = Workspace(random.Random(seed))  # noqa: S311 - a seeded simulation
    editors = [asyncio.create_task(workspace.edit(*kind)) for kind in edits.items()]
    listing = SegmentListing(workspace.page, consistency=consistency, prefetch=prefetch)  # type: ignore[arg-type]
    try:
        seen = {int(segment.id) async for segment in listing}
    except PaginationError:
        return "gave up", workspace.requests
    finally:
        for editor in editors:
            editor.cancel()
    return "complete" if workspace.always <= seen else "lost", workspace.requests


def main() -> None:
    """Simulate all modes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listings", type=int, default=500)
    number = parser.parse_args().listings
    print(f"| | {' | '.join(_EDITS)} |\n|---|{'---|' * len(_EDITS)}")
    for consistency, prefetch in _MODES:
        cells = []
        for edits in _EDITS.values():
            ends = [run(read_list(consistency, prefetch, edits, seed)) for seed in range(number)]
            lost, gave_up = (
                100 * sum(end == what for end, _ in ends) / number for what in ("lost", "gave up")
            )
            requests = sum(requests for _, requests in ends) / number
            failed = f", {gave_up:.0f} % gave up" if gave_up else ""
            cells.append(f"{lost:.2g} % lost{failed}; {requests:.0f} requests")
        name = f"`{consistency}`" + (f", `prefetch={prefetch}`" if prefetch > 1 else "")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
