"""Every fault of the service and the network has the result of its row, in each kind of call."""

from __future__ import annotations

import asyncio

import pytest
from fault_client import (
    CALLS,
    Attempt,
    Call,
    Clock,
    Row,
    assert_errors,
    assert_requests,
    assert_values,
    try_fault,
)
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
async def test_row(row: Row, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is invisible or the error of its row, with and without aiohttp's session in between."""
    for direct in (True, False):
        clock = Clock()
        clock.drive(monkeypatch)
        assert_row(row, call, await try_fault(row, call, clock, direct=direct))


@pytest.mark.parametrize("row", LATE, ids=str)
@pytest.mark.parametrize("direct", [True, False])
async def test_late_row(row: Row, monkeypatch: pytest.MonkeyPatch, *, direct: bool) -> None:
    """Rows that need a real timeout have the same result; all six calls of a row run concurrently."""
    clock = Clock()
    clock.drive(monkeypatch)
    attempts = await asyncio.gather(*(try_fault(row, call, clock, direct=direct) for call in CALLS))
    for call, attempt in zip(CALLS, attempts, strict=True):
        assert_row(row, call, attempt)


def test_table_is_complete() -> None:
    """Each row of the table is unique and is tried with all six calls."""
    assert len({str(row) for row in ROWS}) == len(ROWS)
    assert len(TABLE) + 6 * len(LATE) == 6 * len(ROWS)
