"""How often a walk loses a segment while people edit the workspace: the table of docs/consistency.md.

2,050 segments, 0.2 seconds a request, 500 walks of each kind with edits at random moments, in made-up time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from itertools import count

from virtual import run

from braze_segments_async import PaginationError, Segment, SegmentListing

_SIZE = 2_050
_LATENCY = 0.2  # seconds
# How many of each a second.
_EDITS: dict[str, dict[str, float]] = {
    "one archived a minute": {"archive": 1 / 60},
    "one archived, one created a second": {"archive": 1.0, "create": 1.0},
    "… and one un-archived": {"archive": 1.0, "create": 1.0, "unarchive": 1.0},
}
_WALKS = (("fast", 1), ("fast", 8), ("safe", 1), ("strict", 1))


class Workspace:
    """A list that people edit."""

    def __init__(self, chance: random.Random) -> None:
        self.live = list(range(_SIZE))
        self.always = set(self.live)  # those that were live all the time
        self.requests = 0
        self._archived: list[int] = []
        self._created = count(_SIZE)
        self._chance = chance

    async def edit(self, kind: str, a_second: float) -> None:
        """Make one kind of edit, at random moments, for ever."""
        while True:
            await asyncio.sleep(self._chance.expovariate(a_second))
            if kind == "create":
                self.live.append(next(self._created))
            elif kind == "archive":
                gone = self.live.pop(self._chance.randrange(len(self.live)))
                self.always.discard(gone)
                self._archived.append(gone)
            elif self._archived:
                back = self._archived.pop(self._chance.randrange(len(self._archived)))
                self.live = sorted([*self.live, back])

    async def page(self, number: int, direction: str) -> tuple[Segment, ...]:
        """A page, as it is half-way between the request and its answer."""
        self.requests += 1
        await asyncio.sleep(_LATENCY / 2)
        rows = self.live if direction == "asc" else self.live[::-1]
        rows = rows[number * 100 : number * 100 + 100]
        await asyncio.sleep(_LATENCY / 2)
        return tuple(Segment(str(row), "") for row in rows)


async def walk(consistency: str, prefetch: int, edits: dict[str, float], seed: int) -> tuple[str, int]:
    """One walk: "complete", "lost" or "gave up", and its requests."""
    workspace = Workspace(random.Random(seed))  # noqa: S311 - repeatable chance, not secrets
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", type=int, default=500)
    walks = parser.parse_args().walks
    print(f"| | {' | '.join(_EDITS)} |\n|---|{'---|' * len(_EDITS)}")
    for consistency, prefetch in _WALKS:
        cells = []
        for edits in _EDITS.values():
            ends = [run(walk(consistency, prefetch, edits, seed)) for seed in range(walks)]
            lost, gave_up = (
                100 * sum(end == what for end, _ in ends) / walks for what in ("lost", "gave up")
            )
            requests = sum(requests for _, requests in ends) / walks
            failed = f", {gave_up:.0f} % gave up" if gave_up else ""
            cells.append(f"{lost:.2g} % lost{failed}; {requests:.0f} requests")
        name = f"`{consistency}`" + (f", `prefetch={prefetch}`" if prefetch > 1 else "")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
