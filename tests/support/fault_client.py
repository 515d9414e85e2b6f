"""What the tests of faults share: a client that does not really wait, and the six ways to call it."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from attrs import field, frozen
from raw_server import Fault, Faulty

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

# Every kind of character a key could have that another encoding would change.
KEY = "Zq7!x/Vw+2r=Ty&9-uPl%8#mBcD5"
FAST = RetryPolicy(backoff=0.0)
ENDING_AT = date(2026, 11, 20)


def client_of(base_url: str, **options: Any) -> BrazeSegments:
    """A client that repeats without waiting, and takes bodies up to a megabyte."""
    defaults: dict[str, Any] = {"retry": FAST, "limits": Limits(body=2**20)}
    return BrazeSegments(KEY, **{**defaults, **options, "base_url": base_url})


def series_windows(
    segment: str, length: int, ending_at: datetime | date | None, now: datetime
) -> list[endpoints.Request[list[SizePoint]]]:
    """The requests of one size history."""
    return [endpoints.data_series(segment, span) for span in endpoints.series_spans(length, ending_at, now)]


class Clock:
    """A clock that only sleeping moves, in place of the real one of rate limiters and retries."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Now."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the others run, and then be so much later."""
        ends = self.now + seconds
        if seconds > 0:
            self.slept.append(seconds)
        # Replies that are on their way arrive before the jump.
        await asyncio.sleep(0.005 if seconds > 0 else 0)
        self.now = max(self.now, ends)

    def drive(self, patch: pytest.MonkeyPatch) -> None:
        """Take over the time of rate limiters and retries."""
        patch.setattr(rate_limiter, "monotonic", self)
        patch.setattr(rate_limiter, "sleep", self.sleep)
        patch.setattr(sender, "sleep", self.sleep)


@frozen
class Call:
    """One way to use the client: an endpoint, and how many calls at once.

    Attributes:
        endpoint: `"list"`, `"details"` or `"data_series"`.
        concurrency: how many calls; eight calls for details are a fan-out.
    """

    endpoint: str
    concurrency: int

    def __str__(self) -> str:
        return f"{self.endpoint}@{self.concurrency}"

    async def outcomes(self, client: BrazeSegments, ids: list[str]) -> list[Any]:
        """What each of the calls gave or raised; a fan-out that ended early has only its one error."""
        if self.endpoint == "details" and self.concurrency > 1:
            return await _fan_out(client, ids[: self.concurrency])
        calls = (self.one(client, ids[number]) for number in range(self.concurrency))
        return await asyncio.gather(*calls, return_exceptions=True)

    async def one(self, client: BrazeSegments, segment_id: str) -> Any:
        """One call; what a walk yielded before it raised is in the error's notes."""
        if self.endpoint == "details":
            return await client.details(segment_id)
        if self.endpoint == "data_series":
            return await client.data_series(segment_id, length=7, ending_at=ENDING_AT)
        rows: list[Segment] = []
        try:
            async for segment in client.list():
                rows.append(segment)  # noqa: PERF401 - what came before an error counts
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
            outcomes.append(details)  # noqa: PERF401 - what came before an error counts
    except BrazeError as error:
        outcomes.append(error)
    return outcomes + [failure.error for failure in stream.failures]


CALLS = [Call(endpoint, at) for endpoint in ("list", "details", "data_series") for at in (1, 8)]


@frozen(kw_only=True)
class Row:
    """One row of the table of faults, or one dress of it.

    Attributes:
        words: of the document.
        dress: which of the faults that these words cover.
        fault: what the server does.
        times: to how many requests; `None` is to all.
        error: what the call raises; `None` if nothing is to be noticed.
        says: what is in the message, in lower case.
        requests: how many the server sees of one call.
        attempts: how many of them the client counts; aiohttp repeats a GET once, unseen.
        waits: the seconds of the pause, if there is one.
        path: where in the body the error is, by endpoint.
        options: of the client.
    """

    words: str
    dress: str
    fault: Fault = field(repr=False)
    times: int | None = None
    error: type[BrazeError] | None = None
    says: str = ""
    requests: int = 1
    attempts: int | None = None
    waits: float = 0.0
    path: dict[str, str] = field(factory=dict)
    options: dict[str, Any] = field(factory=dict)

    def __str__(self) -> str:
        return f"{self.words} | {self.dress}"


@frozen
class Tried:
    """What came of trying a row in one way."""

    outcomes: list[Any]
    requests: int
    slept: list[float]

    @property
    def errors(self) -> list[Exception]:
        """What was raised."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Exception)]


async def attempt(row: Row, call: Call, look: Callable[[BrazeSegments], None] | None = None) -> Tried:
    """Try a row in one way, and let `look` see the client before it is closed."""
    clock = Clock()
    options: dict[str, Any] = {"concurrency": call.concurrency, **row.options}
    async with Faulty(row.fault, times=row.times) as server, client_of(server.base_url, **options) as client:
        with pytest.MonkeyPatch.context() as patch:
            clock.drive(patch)
            outcomes = await call.outcomes(client, server.ids)
        if look is not None:
            look(client)
        return Tried(outcomes, len(server.requests), clock.slept)


def check_requests(row: Row, call: Call, tried: Tried) -> None:
    """As many requests as the row says, for each of the calls; fewer where a fan-out ended early."""
    if row.times is not None:
        assert tried.requests == call.concurrency - 1 + row.requests
    elif row.options or (row.error is not None and issubclass(row.error, RateLimitedError)):
        # With a real time-out, a busy machine may let one pass before the request is read.
        assert 1 <= tried.requests <= call.concurrency * row.requests
    elif len(tried.outcomes) < call.concurrency:
        assert row.requests <= tried.requests <= call.concurrency * row.requests
    else:
        assert tried.requests == call.concurrency * row.requests


def check_errors(row: Row, call: Call, tried: Tried) -> None:
    """Every call raised what the row says, about the right request, and yielded nothing."""
    assert row.error is not None
    attempts = row.requests if row.attempts is None else row.attempts
    assert tried.errors == tried.outcomes != []
    for error in tried.errors:
        assert type(error) is row.error
        assert not getattr(error, "__notes__", None)
        assert row.says in str(error).lower()
        assert "<" not in str(error)
        assert error.attempts in ({0, attempts} if row.error is RateLimitedError else {attempts})
        assert error.endpoint == f"GET /segments/{call.endpoint}"
        assert (error.page == 0) == (call.endpoint == "list")
        assert (error.segment_id is None) == (call.endpoint == "list")
        if row.path:
            assert getattr(error, "path", None) == row.path.get(call.endpoint, row.path.get("every"))


def check_values(call: Call, tried: Tried) -> None:
    """Every call gave what Braze has, and all of it."""
    assert not tried.errors
    assert len(tried.outcomes) == call.concurrency
    if call.endpoint == "details":
        assert len({details.id for details in tried.outcomes}) == call.concurrency
        assert all(isinstance(details, SegmentDetails) for details in tried.outcomes)
        return
    assert {len(rows) for rows in tried.outcomes} == {8 if call.endpoint == "list" else 7}


async def all_arrived(server: Faulty, count: int) -> None:
    """Wait until so many requests arrived."""
    while len(server.requests) < count:  # noqa: ASYNC110 - the server is not to know who waits
        await asyncio.sleep(0)
