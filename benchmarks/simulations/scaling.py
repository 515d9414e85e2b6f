"""Simulate the export of a thousand workspaces and its effect on production: the table of docs/scaling.md.

Workspaces share CPU, but no rate limit. Every twentieth workspace is simulated, request by request, with a
twentieth of the CPU; figures are scaled to all workspaces. "This package" runs the package's own rate
limiter, retries and response parsing in virtual time.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple

from export_strategies import STRATEGIES, Fleet
from rate_limit_pool import HOUR, Pool, ProductionSends
from virtual_time import run

if TYPE_CHECKING:
    from export_strategies import Strategy

_WORKSPACES = 1_000
_SAMPLE = 50
_PROCESSES = 8
_REQUESTS_PER_SECOND = 4_000  # of one process: RESULTS.md, "Many workspaces in one process", rounded down
_BEGINS = 45 * 60  # seconds after the full hour
# Demand of production in the first hour: share of the workspaces, lowest and highest share of the rate limit.
# In one of ten workspaces, campaigns use up the limit or exceed it.
_LOADS = ((0.7, 0.05, 0.60), (0.2, 0.60, 0.90), (0.1, 0.90, 1.10))


class Outcome(NamedTuple):
    """Result of one strategy, scaled to all workspaces.

    Attributes:
        finished: Minutes until each workspace of the sample was exported, in order.
        requests: Requests of the exports.
        refused: Requests that returned 429.
        lost: Production sends that returned 429 because of the exports.
    """

    finished: list[float]
    requests: int
    refused: int
    lost: int


def load(quantile: float) -> float:
    """Return the demand of production, as a share of the limit, at this quantile of the workspaces."""
    for share, low, high in _LOADS:
        if quantile < share:
            return low + (high - low) * quantile / share
        quantile -= share
    return _LOADS[-1][2]


def pools(sample: int, seed: int) -> list[Pool]:
    """Return the sample of workspaces, evenly over all loads, with random start times of campaigns."""
    chance = random.Random(seed)  # noqa: S311 - a seeded simulation
    return [
        Pool(ProductionSends(load((number + 0.5) / sample), chance.uniform(0, HOUR - 600)))
        for number in range(sample)
    ]


async def simulate(strategy: Strategy, segments: int, sample: int, seed: int) -> Outcome:
    """Run one strategy for all workspaces of the sample concurrently."""
    random.seed(seed)  # the jitter of the package uses the global generator
    scale = _WORKSPACES / sample
    fleet = Fleet(_PROCESSES * _REQUESTS_PER_SECOND / scale, random.Random(seed))  # noqa: S311 - repeatable
    loop = asyncio.get_running_loop()
    await asyncio.sleep(_BEGINS)
    every = pools(sample, seed)

    async def export(pool: Pool) -> float:
        pool.settle(loop.time())
        await strategy(fleet, pool, segments + segments // 100 + 1)
        return (loop.time() - _BEGINS) / 60

    finished = sorted(await asyncio.gather(*[export(pool) for pool in every]))
    for pool in every:  # until the end of the hour: production may still need what the exports used
        pool.settle((loop.time() // HOUR + 1) * HOUR)
    requests, refused, lost = (
        round(scale * sum(getattr(pool, what) for pool in every)) for what in ("requests", "refused", "lost")
    )
    return Outcome(finished, requests, refused, lost)


def table(outcomes: dict[str, Outcome]) -> str:
    """Return the outcomes as Markdown."""
    lines = [
        "| | half exported after | all exported after | requests | refused (429) | production sends lost |",
        "|---|---|---|---|---|---|",
    ]
    for name, outcome in outcomes.items():
        half, last = outcome.finished[len(outcome.finished) // 2 - 1], outcome.finished[-1]
        lines.append(
            f"| {name} | {half:.0f} min | {last:.0f} min | {outcome.requests / 1e6:.1f} M "
            f"| {outcome.refused:,} | {outcome.lost:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Simulate all strategies and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segments", type=int, default=20_000)
    parser.add_argument("--sample", type=int, default=_SAMPLE, help="number of simulated workspaces")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = {
        name: run(simulate(strategy, options.segments, options.sample, options.seed))
        for name, strategy in STRATEGIES.items()
    }
    print(table(outcomes))


if __name__ == "__main__":
    main()
