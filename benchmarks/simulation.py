"""A thousand workspaces exported at once, in made-up time: what becomes of them, and of production's sends.

Every workspace has an allowance of its own, so a thousand are a thousand times one, on processes they share.
Every twentieth is simulated, request by request, on a twentieth of the CPU; figures are for all of them.
"Ours" is the package's own gate, retries and judgement of replies, moved by a made-up clock.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plot import draw
from strategies import STRATEGIES, Fleet
from virtual import HOUR, Pool, Sends, run

if TYPE_CHECKING:
    from strategies import Strategy

_PLOT = Path(__file__).parent.parent / "docs" / "scaling.svg"
_WORKSPACES = 1_000
_SAMPLE = 50
_PROCESSES = 8
_REQUESTS_A_SECOND = 4_000  # of one process: RESULTS.md, "Many workspaces in one process", rounded down
_BEGINS = 45 * 60  # seconds after the full hour
# What production wants of the first hour's allowance: shares of the workspaces, and between what theirs lie.
# One in ten has an hour of campaigns that uses all there is, or would use more.
_LOADS = ((0.7, 0.05, 0.60), (0.2, 0.60, 0.90), (0.1, 0.90, 1.10))


class Outcome(NamedTuple):
    """What became of one strategy, for all workspaces.

    Attributes:
        finished: minutes until each workspace of the sample was done, in order.
        asked: requests of the exports.
        refused: those that got a 429.
        lost: sends of production that got a 429 because of the exports.
    """

    finished: list[float]
    asked: int
    refused: int
    lost: int


def load(quantile: float) -> float:
    """The share of the allowance that production wants, at this point of the order of all workspaces."""
    for share, low, high in _LOADS:
        if quantile < share:
            return low + (high - low) * quantile / share
        quantile -= share
    return _LOADS[-1][2]


def pools(sample: int, seed: int) -> list[Pool]:
    """The workspaces of the sample, evenly over all loads; campaigns begin at any time of the hour."""
    chance = random.Random(seed)  # noqa: S311 - repeatable chance, not secrets
    return [
        Pool(Sends(load((number + 0.5) / sample), chance.uniform(0, HOUR - 600))) for number in range(sample)
    ]


async def simulate(strategy: Strategy, segments: int, sample: int, seed: int) -> Outcome:
    """Run one strategy over the sample, all workspaces at once."""
    scale = _WORKSPACES / sample
    fleet = Fleet(_PROCESSES * _REQUESTS_A_SECOND / scale, random.Random(seed))  # noqa: S311 - repeatable
    loop = asyncio.get_running_loop()
    await asyncio.sleep(_BEGINS)
    every = pools(sample, seed)

    async def export(pool: Pool) -> float:
        pool.settle(loop.time())
        await strategy(fleet, pool, segments + segments // 100 + 1)
        return (loop.time() - _BEGINS) / 60

    finished = sorted(await asyncio.gather(*[export(pool) for pool in every]))
    for pool in every:  # what the exports took is missed until the hour is over
        pool.settle((loop.time() // HOUR + 1) * HOUR)
    asked, refused, lost = (
        round(scale * sum(getattr(pool, what) for pool in every)) for what in ("asked", "refused", "lost")
    )
    return Outcome(finished, asked, refused, lost)


def table(outcomes: dict[str, Outcome]) -> str:
    """The outcomes, as Markdown."""
    lines = [
        "| | half are done after | all are done after | requests | of them refused (429) | sends lost |",
        "|---|---|---|---|---|---|",
    ]
    for name, outcome in outcomes.items():
        half, last = outcome.finished[len(outcome.finished) // 2 - 1], outcome.finished[-1]
        lines.append(
            f"| {name} | {half:.0f} min | {last:.0f} min | {outcome.asked / 1e6:.1f} M "
            f"| {outcome.refused:,} | {outcome.lost:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Simulate everything, print the table, and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=_SAMPLE, help="workspaces simulated, of a thousand")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-plot", action="store_true", help="print the table, and leave the plot as it is")
    options = parser.parse_args()
    outcomes = {
        name: run(simulate(strategy, options.segments, options.sample, options.seed))
        for name, strategy in STRATEGIES.items()
    }
    print(table(outcomes))
    if not options.no_plot:
        draw(outcomes, _WORKSPACES, _PLOT)


if __name__ == "__main__":
    main()
