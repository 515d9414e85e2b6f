"""Measure the time and memory of runs, and compare contenders.

Absolute times depend on the machine and its load. So every figure is a ratio: each round runs every contender
once, in a different order from round to round, and ratios are taken within a round.
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
    """CPU time and wall time of one run, in seconds."""

    cpu: float
    wall: float


Costs = dict[str, list[Cost]]


def has(module: str) -> bool:
    """Return whether an optional package is installed."""
    return find_spec(module) is not None


def run_loop(main: Coroutine[Any, Any, T], loop: str = "asyncio") -> T:
    """Run a coroutine in an event loop of asyncio or uvloop."""
    factory = import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def measure(run: Run, expected: int) -> Cost:
    """Return the cost of one run, after collecting the garbage of earlier runs."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    results = await run()
    cost = Cost(time.process_time() - cpu, time.perf_counter() - wall)
    if len(results) != expected:
        raise RuntimeError(f"{len(results)} results instead of {expected}")
    return cost


async def rounds(contenders: Mapping[str, Run], number: int, expected: int, *, warm: bool = True) -> Costs:
    """Run every contender once per round, each round in a different order.

    Args:
        contenders: The runs by name.
        number: The number of rounds.
        expected: The number of results that each run must return.
        warm: Begin with an uncounted round, which opens the connections.
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
    label: str, first: list[Cost], second: list[Cost], what: str, per: int, *, at_most: float | None = None
) -> Row:
    """Return one row of a table, which compares two contenders.

    Args:
        label: What is compared.
        first: Costs of the first contender, one per round.
        second: Costs of the second contender, one per round.
        what: "cpu" or "wall".
        per: The number of requests in a run.
        at_most: The largest ratio that meets the target.
    """
    pairs = [(getattr(one, what), getattr(other, what)) for one, other in zip(first, second, strict=True)]
    return Row(
        label,
        1e6 * median(one for one, _ in pairs) / per,
        1e6 * median(other for _, other in pairs) / per,
        "µs",
        tuple(one / other for one, other in pairs),
        at_most,
    )


def peak() -> float:
    """Return the peak memory of this process, in MiB.

    Prefer `VmHWM` to `ru_maxrss`, which a child process inherits from its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
