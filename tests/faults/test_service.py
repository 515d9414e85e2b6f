"""Every fault of the service and the network has the result of its row, in each kind of call."""

from __future__ import annotations

import asyncio

import pytest
from fault_client import CALLS, Attempt, Call, Row, assert_errors, assert_requests, assert_values, try_fault
from faults_table import ROWS

TABLE = [pytest.param(row, call, id=f"{row}-{call}") for row in ROWS for call in CALLS if not row.options]
LATE = [row for row in ROWS if row.options]


def assert_row(row: Row, call: Call, attempt: Attempt) -> None:
    """Assert that the result of a call is that of its row."""
    if row.error is None:
        assert_values(call, attempt)
    else:
        assert_errors(row, call, attempt)
    assert_requests(row, call, attempt)
    assert bool(attempt.slept) == bool(row.waits)
    assert all(row.waits <= slept <= row.waits + 1.0 for slept in attempt.slept)


@pytest.mark.parametrize(("row", "call"), TABLE)
async def test_row(row: Row, call: Call) -> None:
    """A fault is invisible or the error of its row, with the number of requests in the row."""
    assert_row(row, call, await try_fault(row, call))


@pytest.mark.parametrize("row", LATE, ids=str)
async def test_late_row(row: Row) -> None:
    """Rows that need a real timeout have the same result; all six calls of a row run concurrently."""
    attempts = await asyncio.gather(*(try_fault(row, call) for call in CALLS))
    for call, attempt in zip(CALLS, attempts, strict=True):
        assert_row(row, call, attempt)


def test_table_is_complete() -> None:
    """Each row of the table is unique and is tried with all six calls."""
    assert len({str(row) for row in ROWS}) == len(ROWS)
    assert len(TABLE) + 6 * len(LATE) == 6 * len(ROWS)
