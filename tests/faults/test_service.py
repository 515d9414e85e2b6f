"""Every fault "from the service and the network" gets what the table says, in each use of the client."""

from __future__ import annotations

import asyncio

import pytest
from fault_client import CALLS, Call, Row, Tried, attempt, check_errors, check_requests, check_values
from faults_table import ROWS

TABLE = [pytest.param(row, call, id=f"{row}-{call}") for row in ROWS for call in CALLS if not row.options]
LATE = [row for row in ROWS if row.options]


def assert_row(row: Row, call: Call, tried: Tried) -> None:
    """Assert that the result of a call is the one in its row."""
    if row.error is None:
        check_values(call, tried)
    else:
        check_errors(row, call, tried)
    check_requests(row, call, tried)
    assert bool(tried.slept) == bool(row.waits)
    assert all(row.waits <= slept <= row.waits + 1.0 for slept in tried.slept)


@pytest.mark.parametrize(("row", "call"), TABLE)
async def test_row(row: Row, call: Call) -> None:
    """A fault of the service or network is invisible or the error of its row, with its count of requests."""
    assert_row(row, call, await attempt(row, call))


@pytest.mark.parametrize("row", LATE, ids=str)
async def test_late_row(row: Row) -> None:
    """Rows that need a real timeout have the same result; all six calls of a row run concurrently."""
    for call, tried in zip(CALLS, await asyncio.gather(*(attempt(row, call) for call in CALLS)), strict=True):
        assert_row(row, call, tried)


def test_table_is_whole() -> None:
    """Each row of the table is there once, and is tried in six ways."""
    assert len({str(row) for row in ROWS}) == len(ROWS)
    assert len(TABLE) + 6 * len(LATE) == 6 * len(ROWS)
