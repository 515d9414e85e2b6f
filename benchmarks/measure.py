"""What a run costs, and runs of several contenders side by side.

Absolute times move with the machine and with what else runs on it. So each figure is a ratio of runs side by
side: every round runs every contender once, each round in another order, and ratios are taken within a round.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

from report import Row

__all__ = ["Contenders", "Cost", "Costs", "Run", "has", "measure", "peak", "rounds", "row", "run_loop"]

T = TypeVar("T")

Run = Callable[[], Awaitable[Sequence[object]]]
Contenders = dict[str, Run]


class Cost(NamedTuple):
    """What one run took of this process and of the day, in seconds."""

    cpu: float
    wall: float


Costs = dict[str, list[Cost]]


def has(module: str) -> bool:
    """Whether an optional package is installed."""
    return find_spec(module) is not None


def run_loop(main: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """`asyncio.run`, in asyncio's own kind of loop or in uvloop's."""
    factory = import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def measure(run: Run, expected: int) -> Cost:
    """Run once; what earlier runs left behind is collected first."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    results = await run()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    if len(results) != expected:
        raise RuntimeError(f"{len(results)} results instead of {expected}")
    return cost


async def rounds(contenders: Mapping[str, Run], number: int, expected: int, *, warm: bool = True) -> Costs:
    """Run every contender once a round, each round in another order.

    Args:
        contenders: by name.
        number: of rounds.
        expected: results that each run must have.
        warm: begin with a round that does not count, and opens the connections.
    """
    names = list(contenders)
    costs: Costs = {name: [] for name in names}
    for name in names if warm else ():
        await measure(contenders[name], expected)
    for turn in range(number):
        first = turn % len(names)
        order = names[first:] + names[:first]
        for name in reversed(order) if turn // len(names) % 2 else order:
            costs[name].append(await measure(contenders[name], expected))
    return costs


def row(
    label: str, ours: list[Cost], theirs: list[Cost], what: str, per: int, *, at_most: float | None = None
) -> Row:
    """One line of a table: two contenders, beside each other.

    Args:
        label: what is compared.
        ours: costs of one, a round each.
        theirs: costs of the other.
        what: "cpu" or "wall".
        per: requests in a run.
        at_most: the ratio that the design allows.
    """
    pairs = [(getattr(one, what), getattr(other, what)) for one, other in zip(ours, theirs, strict=True)]
    return Row(
        label,
        1e6 * median(one for one, _ in pairs) / per,
        1e6 * median(other for _, other in pairs) / per,
        "µs",
        tuple(one / other for one, other in pairs),
        at_most,
    )


def peak() -> float:
    """The most memory this process had, in MiB.

    Not `ru_maxrss` where there is better: a child's begins with what its parent had.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
