"""A client that does not really wait, the six calls that try each fault, and checks of their results."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from raw_server import Fault, RawServer

from braze_segments_async import (
    BrazeError,
    BrazeSegments,
    Limits,
    RateLimitedError,
    RetryPolicy,
    Segment,
    SegmentDetails,
    SizePoint,
)
from braze_segments_async._http import endpoints, rate_limiter, sender

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

# Has every kind of character that an encoding would change.
KEY = "Zq7!x/Vw+2r=Ty&9-uPl%8#mBcD5"
FAST = RetryPolicy(backoff=0.0)
ENDING_AT = date(2026, 11, 20)


def client_of(base_url: str, **options: Any) -> BrazeSegments:
    """Return a client that retries without waiting and accepts bodies up to one megabyte."""
    defaults: dict[str, Any] = {"retry": FAST, "limits": Limits(body=2**20)}
    return BrazeSegments(KEY, **{**defaults, **options, "base_url": base_url})


def series_windows(
    segment: str, length: int, ending_at: datetime | date | None, now: datetime
) -> list[endpoints.Request[list[SizePoint]]]:
    """Return the requests for the size history of a segment."""
    return [endpoints.data_series(segment, span) for span in endpoints.series_spans(length, ending_at, now)]


class Clock:
    """A clock that advances only by sleeping, for the rate limiter and the retries of a client."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Return the current time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run, then advance the clock."""
        ends = self.now + seconds
        if seconds > 0:
            self.slept.append(seconds)
        # Responses in flight arrive before the clock advances.
        await asyncio.sleep(0.005 if seconds > 0 else 0)
        self.now = max(self.now, ends)

    def drive(self, patch: pytest.MonkeyPatch) -> None:
        """Replace the time of rate limiters and retries."""
        patch.setattr(rate_limiter, "monotonic", self)
        patch.setattr(rate_limiter, "sleep", self.sleep)
        patch.setattr(sender, "sleep", self.sleep)


@frozen
class Call:
    """One way to call the client: an endpoint and a number of concurrent calls.

    Attributes:
        endpoint: `"list"`, `"details"` or `"data_series"`.
        concurrency: Number of calls; more than one call for details is a fan-out.
    """

    endpoint: str
    concurrency: int

    def __str__(self) -> str:
        return f"{self.endpoint}@{self.concurrency}"

    async def outcomes(self, client: BrazeSegments, ids: list[str]) -> list[Any]:
        """Return the result or exception of each call; a fan-out that ended early has only its one error."""
        if self.endpoint == "details" and self.concurrency > 1:
            return await _fan_out(client, ids[: self.concurrency])
        calls = (self.one(client, ids[number]) for number in range(self.concurrency))
        return await asyncio.gather(*calls, return_exceptions=True)

    async def one(self, client: BrazeSegments, segment_id: str) -> Any:
        """Make one call; add a note to the error of a listing that yielded rows before it."""
        if self.endpoint == "details":
            return await client.details(segment_id)
        if self.endpoint == "data_series":
            return await client.data_series(segment_id, length=7, ending_at=ENDING_AT)
        rows: list[Segment] = []
        try:
            async for segment in client.list():
                rows.append(segment)  # noqa: PERF401 - rows before an error count
        except BrazeError as error:
            if rows:
                error.add_note(f"{len(rows)} rows were yielded")
            raise
        return rows


async def _fan_out(client: BrazeSegments, ids: list[str]) -> list[Any]:
    outcomes: list[Any] = []
    stream = client.all_details(ids, concurrency=len(ids), on_error="collect")
    try:
        async for details in stream:
            outcomes.append(details)  # noqa: PERF401 - rows before an error count
    except BrazeError as error:
        outcomes.append(error)
    return outcomes + [failure.error for failure in stream.failures]


CALLS = [Call(endpoint, at) for endpoint in ("list", "details", "data_series") for at in (1, 8)]


@frozen(kw_only=True)
class Row:
    """One variant of a fault, and the expected result.

    Attributes:
        fault: Kind of the fault.
        variant: Variant of the fault.
        respond: Response of the server.
        times: Number of requests with this response; `None` for all.
        error: Exception of the call; `None` if the call succeeds.
        message_contains: Part of the message, in lower case.
        requests: Number of requests of one call that reach the server.
        attempts: Number of attempts that the client counts; aiohttp itself repeats a GET once.
        waits: Seconds of the pause, if there is one.
        path: Path of the error in the body, by endpoint.
        options: Options of the client.
    """

    fault: str
    variant: str
    respond: Fault = field(repr=False)
    times: int | None = None
    error: type[BrazeError] | None = None
    message_contains: str = ""
    requests: int = 1
    attempts: int | None = None
    waits: float = 0.0
    path: dict[str, str] = field(factory=dict)
    options: dict[str, Any] = field(factory=dict)

    def __str__(self) -> str:
        return f"{self.fault} | {self.variant}"


@frozen
class Attempt:
    """The result of trying a fault with one call."""

    outcomes: list[Any]
    requests: int
    slept: list[float]

    @property
    def errors(self) -> list[Exception]:
        """The exceptions of the calls."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Exception)]


async def try_fault(
    row: Row,
    call: Call,
    clock: Clock,
    *,
    look: Callable[[BrazeSegments], None] | None = None,
    direct: bool = True,
) -> Attempt:
    """Try a fault with one call, in the time of a clock; `look` receives the client before it is closed."""
    options: dict[str, Any] = {"concurrency": call.concurrency, "direct": direct, **row.options}
    async with (
        RawServer(row.respond, times=row.times) as server,
        client_of(server.base_url, **options) as client,
    ):
        outcomes = await call.outcomes(client, server.ids)
        if look is not None:
            look(client)
        return Attempt(outcomes, len(server.requests), clock.slept)


def assert_requests(row: Row, call: Call, attempt: Attempt) -> None:
    """Assert the number of requests of each call; a fan-out that ended early has fewer."""
    if row.times is not None:
        assert attempt.requests == call.concurrency - 1 + row.requests
    elif row.options or (row.error is not None and issubclass(row.error, RateLimitedError)):
        # With a real timeout, a request may time out before a busy machine reads it.
        assert 1 <= attempt.requests <= call.concurrency * row.requests
    elif len(attempt.outcomes) < call.concurrency:
        assert row.requests <= attempt.requests <= call.concurrency * row.requests
    else:
        assert attempt.requests == call.concurrency * row.requests


def assert_errors(row: Row, call: Call, attempt: Attempt) -> None:
    """Assert that every call raised the expected error, about the right request, and yielded nothing."""
    assert row.error is not None
    attempts = row.requests if row.attempts is None else row.attempts
    assert attempt.errors == attempt.outcomes != []
    for error in attempt.errors:
        assert type(error) is row.error
        assert not getattr(error, "__notes__", None)
        assert row.message_contains in str(error).lower()
        assert "<" not in str(error)
        assert error.attempts in ({0, attempts} if row.error is RateLimitedError else {attempts})
        assert error.endpoint == f"GET /segments/{call.endpoint}"
        assert (error.page == 0) == (call.endpoint == "list")
        assert (error.segment_id is None) == (call.endpoint == "list")
        if row.path:
            assert getattr(error, "path", None) == row.path.get(call.endpoint, row.path.get("every"))


def assert_values(call: Call, attempt: Attempt) -> None:
    """Assert that every call returned all data of the server."""
    assert not attempt.errors
    assert len(attempt.outcomes) == call.concurrency
    if call.endpoint == "details":
        assert len({details.id for details in attempt.outcomes}) == call.concurrency
        assert all(isinstance(details, SegmentDetails) for details in attempt.outcomes)
        return
    assert {len(rows) for rows in attempt.outcomes} == {8 if call.endpoint == "list" else 7}


async def all_arrived(server: RawServer, count: int) -> None:
    """Wait until `count` requests arrived."""
    while len(server.requests) < count:  # noqa: ASYNC110 - the server has no event for this
        await asyncio.sleep(0)
