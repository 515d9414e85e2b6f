"""Measure the cost of one request, compared with a hand-written loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clients.aiohttp_loops import default_session, details_by_hand, new_session
from clients.package import details_with_package, new_client
from measure import has, rounds, row, run_loop
from report import Row, Section
from servers.process import server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Costs
    from report import Scale

TITLE = "One request compared with a hand-written aiohttp loop"
_SAME, _DEFAULT = "same timeouts", "aiohttp's default session"
_ALLOWED = {"asyncio": 0.90, "uvloop": 0.85}  # times the CPU time of a loop with aiohttp's default session


class _Size(NamedTuple):
    details: int
    rounds: int
    concurrencies: tuple[int, ...]


_SIZES = {
    "smoke": _Size(100, 2, (16,)),
    "quick": _Size(1_000, 8, (16, 64)),
    "full": _Size(3_000, 18, (16, 64)),
}


def run(scale: Scale) -> Section:
    """Measure the CPU time per request."""
    size = _SIZES[scale]
    loops = ("asyncio", "uvloop") if has("uvloop") else ("asyncio",)
    rows: list[Row] = []
    with server() as url:
        for loop in loops:
            for concurrency in size.concurrencies:
                costs = run_loop(_compare(url, size, concurrency), loop)
                rows += _rows(costs, loop, concurrency, size.details)
    text = (
        f"{size.details:,} details of about 1 KB, no latency, {size.rounds} rounds. First: the package. "
        "Second: a hand-written loop (`json.loads`, no retries, no rate limit, no models), once with "
        "aiohttp's default session and once with the package's timeouts. The client does not wait, so wall "
        "time is the same."
    )
    return Section(TITLE, text, tuple(rows), ("uvloop",))


async def _compare(url: str, size: _Size, concurrency: int) -> Costs:
    ids = [f"segment-{number}" for number in range(size.details)]
    async with new_client(url) as client, new_session(url) as same, default_session(url) as default:
        contenders = {
            "package": lambda: details_with_package(client, ids, concurrency),
            _SAME: lambda: details_by_hand(same, ids, concurrency),
            _DEFAULT: lambda: details_by_hand(default, ids, concurrency),
        }
        return await rounds(contenders, size.rounds, size.details)


def _rows(costs: Costs, loop: str, concurrency: int, details: int) -> Iterator[Row]:
    for beside in (_DEFAULT, _SAME):
        label = f"{loop}, {concurrency} at a time, {beside}: CPU"
        allowed = _ALLOWED[loop] if beside == _DEFAULT else None
        yield row(label, costs["package"], costs[beside], "cpu", details, at_most=allowed)
