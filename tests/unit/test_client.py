"""The lifecycle of a client, its session, and the requests it sends."""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp
import pytest
from cli_helpers import until

import braze_segments_async
from braze_segments_async import (
    AuthenticationError,
    BrazeSegments,
    ClosedError,
    ConfigError,
    PauseEvent,
    PermissionDeniedError,
    RateLimitedError,
    RetryEvent,
    RetryPolicy,
    Stats,
)
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def test_usage(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ten-line example of the README works, with the two environment variables."""
    monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
    async with BrazeSegments.from_env() as segments:
        listed = [(s.id, s.name, s.tags) async for s in segments.list()]
        pages = [(p.number, len(p.segments)) async for p in segments.list(sort_direction="desc").pages()]
        details = [d async for d in segments.all_details()]
        one = await segments.details(listed[0][0])
        sizes = await segments.data_series(one.id, length=365)
        assert segments.rate_limit is not None
        assert segments.rate_limit.limit == 250_000
    assert [segment_id for segment_id, _, _ in listed] == sandbox.segment_ids
    assert pages == [(0, 100), (1, 100), (2, 50)]
    assert {d.id for d in details} == set(sandbox.segment_ids)
    assert one.name == listed[0][1]
    assert len(sizes) == 365
    assert [p.time for p in sizes] == sorted({p.time for p in sizes})


async def test_details_of_a_listed_segment(client: BrazeSegments, sandbox: Sandbox) -> None:
    """Details have the requested id and the fields that only the list has; the rest is from the body."""
    rows = [segment async for segment in client.list()]
    async for details in client.all_details(rows):
        body = sandbox.details(details.id)
        row = sandbox.segment(details.id)
        assert details.name == body["name"]
        assert details.description == body["description"]
        assert details.tags == tuple(tag for tag in body["tags"] or () if tag is not None)
        assert details.analytics_tracking_enabled == row.get("analytics_tracking_enabled")
        assert details.extra == {"id": body["id"]}
        assert details.created_at is not None
        assert details.created_at.isoformat() == body["created_at"]
    alone = await client.details(rows[0].id)
    assert alone.analytics_tracking_enabled is None


@pytest.mark.parametrize(
    "call",
    [
        lambda c: anext(aiter(c.list())),
        lambda c: c.details("an-id"),
        lambda c: anext(aiter(c.all_details())),
        lambda c: c.data_series("an-id"),
    ],
    ids=["list", "details", "all_details", "data_series"],
)
async def test_use_before_opening_and_after_closing(
    sandbox: Sandbox, call: Callable[[BrazeSegments], Coroutine[None, None, object]]
) -> None:
    """A client that is not open says what to do, and sends nothing."""
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    with pytest.raises(ClosedError, match="async with BrazeSegments"):
        await call(client)
    async with client:
        pass
    with pytest.raises(ClosedError, match="make a new one"):
        await call(client)
    assert sandbox.requests == []


async def test_opened_once(sandbox: Sandbox) -> None:
    """Opening twice or again after closing is refused; closing twice is allowed, even before opening."""
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    async with client:
        with pytest.raises(ClosedError, match="opened once"):
            await client.__aenter__()
        await client.aclose()
        await client.aclose()
    with pytest.raises(ClosedError):
        await client.__aenter__()
    never = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    await never.aclose()
    with pytest.raises(ClosedError):
        await never.__aenter__()


def test_made_outside_a_loop_and_used_in_two() -> None:
    """A client can be made anywhere; it belongs to the loop that opens it, and says so in another."""

    async def use(client: BrazeSegments, segment_id: str) -> None:
        with pytest.raises(ClosedError, match="another event loop"):
            await client.details(segment_id)

    async def main() -> None:
        async with Sandbox(1) as sandbox:
            async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
                await asyncio.to_thread(asyncio.run, use(client, sandbox.segment_ids[0]))
                assert sandbox.requests == []
                await client.details(sandbox.segment_ids[0])

    BrazeSegments("key", base_url="https://rest.iad-01.braze.com")
    asyncio.run(main())


async def test_only_the_own_session_is_closed(sandbox: Sandbox) -> None:
    """The client closes its own session; the caller's remains open, and its settings are used."""
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session) as client:
            assert len([d async for d in client.all_details()]) == 250
        assert not session.closed
        assert sandbox.requests[0].headers["X-Mine"] == "1"
        assert sandbox.requests[0].headers["Authorization"] == f"Bearer {sandbox.api_key}"
        assert "Authorization" not in session.headers
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session) as client:
        with pytest.raises(ClosedError, match="session is closed"):
            await client.details(sandbox.segment_ids[0])


async def test_user_agent(client: BrazeSegments, sandbox: Sandbox) -> None:
    """The User-Agent names library, version and Python."""
    await client.details(sandbox.segment_ids[0])
    agent = sandbox.requests[0].headers["User-Agent"]
    assert f"braze-segments-async/{braze_segments_async.__version__}" in agent
    assert f"Python/{platform.python_version()}" in agent


async def test_repr_shows_no_key(client: BrazeSegments, sandbox: Sandbox) -> None:
    """The client's repr shows only its address and whether it is open."""
    assert repr(client) == f"<BrazeSegments {sandbox.base_url} open>"


async def test_wrong_key_and_missing_permission() -> None:
    """A 401 hints at key and cluster, a 403 names the permission; each is one request."""
    async with Sandbox(1, permissions=("segments.list",)) as sandbox:
        async with BrazeSegments("wrong", base_url=sandbox.base_url) as client:
            with pytest.raises(AuthenticationError, match="the REST endpoint of its cluster") as caught:
                await client.details(sandbox.segment_ids[0])
        assert "wrong" not in str(caught.value)
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
            with pytest.raises(PermissionDeniedError, match=r"the permission segments\.details"):
                await client.details(sandbox.segment_ids[0])
        assert len(sandbox.requests) == 2


async def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing variable is named; an argument overrides the environment."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    monkeypatch.delenv("BRAZE_BASE_URL", raising=False)
    with pytest.raises(ConfigError, match="BRAZE_API_KEY is not set"):
        BrazeSegments.from_env(base_url="https://rest.iad-01.braze.com")
    monkeypatch.setenv("BRAZE_API_KEY", "key")
    with pytest.raises(ConfigError, match="BRAZE_BASE_URL is not set"):
        BrazeSegments.from_env()
    client = BrazeSegments.from_env(base_url="rest.fra-01.braze.eu/", concurrency=3)
    assert (client.base_url, client.concurrency) == ("https://rest.fra-01.braze.eu", 3)


async def test_on_retry(sandbox: Sandbox) -> None:
    """`on_retry` is called before each retry with request, attempt, wait and reason."""
    events: list[RetryEvent] = []
    sandbox.inject(Answer(503), endpoint="details", ordinals=(1, 2))
    policy = RetryPolicy(backoff=0.001)
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=policy, on_retry=events.append
    ) as client:
        await client.details(sandbox.segment_ids[7])
    assert [(e.endpoint, e.segment_id, e.attempt) for e in events] == [
        ("GET /segments/details", sandbox.segment_ids[7], 1),
        ("GET /segments/details", sandbox.segment_ids[7], 2),
    ]
    assert all(0 <= event.wait <= 0.002 for event in events)


async def test_on_pause(sandbox: Sandbox) -> None:
    """`on_pause` is called once for each pause, with its length, end and reason."""
    events: list[PauseEvent] = []
    sandbox.inject(Answer(429, headers={"X-RateLimit-Retry-After": "1"}), endpoint="details", ordinals=(1,))
    async with BrazeSegments(
        sandbox.api_key,
        base_url=sandbox.base_url,
        retry=RetryPolicy(max_rate_limit_wait=0.5),
        on_pause=events.append,
    ) as client:
        with pytest.raises(RateLimitedError):
            await client.details(sandbox.segment_ids[7])
        stats = client.stats
    (event,) = events
    assert (event.seconds, event.until, event.reason) == (1.0, stats.paused_until, "429")


async def test_a_burst_of_429s_is_one_pause(sandbox: Sandbox) -> None:
    """`on_pause` is called once although sixteen responses name the same moment."""
    events: list[PauseEvent] = []
    limited = Answer(429, headers={"X-RateLimit-Retry-After": "30"})
    sandbox.inject(limited, endpoint="details", ordinals=range(1, 17))
    async with BrazeSegments(
        sandbox.api_key,
        base_url=sandbox.base_url,
        retry=RetryPolicy(max_rate_limit_wait=5),
        on_pause=events.append,
    ) as client:
        calls = (client.details(segment_id) for segment_id in sandbox.segment_ids[:16])
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {RateLimitedError}
    assert (len(events), sandbox.count("details", 429)) == (1, 16)


async def test_a_pause_of_a_repeated_request_is_announced_once(sandbox: Sandbox) -> None:
    """A 429 that is waited for is one pause, from the response until the retry."""
    events: list[PauseEvent] = []
    limited = Answer(429, headers={"X-RateLimit-Retry-After": "0.01"})
    sandbox.inject(limited, endpoint="details", ordinals=(1,))
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, on_pause=events.append) as client:
        await client.details(sandbox.segment_ids[0])
        assert (len(events), client.stats.waits) == (1, 1)


async def test_closing_ends_requests_in_flight(sandbox: Sandbox) -> None:
    """Closing the client ends every waiting request with `ClosedError`."""
    sandbox.inject(Answer(delay=60), endpoint="details")
    sandbox.inject(Answer(429, headers={"X-RateLimit-Retry-After": "60"}), endpoint="data_series")
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=2)
    async with client:
        calls = [
            asyncio.create_task(client.details(sandbox.segment_ids[0])),
            asyncio.create_task(client.data_series(sandbox.segment_ids[1])),
            asyncio.create_task(client.details(sandbox.segment_ids[2])),  # waits for a slot
        ]
        stream = aiter(client.all_details(sandbox.segment_ids, concurrency=3))
        calls.append(asyncio.create_task(anext(stream)))
        await until(lambda: (sandbox.count("details"), sandbox.count("data_series")) == (4, 1))
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
    assert [type(outcome) for outcome in outcomes] == [ClosedError] * 4
    assert all(task.cancelling() == 0 for task in calls)


async def test_two_clients_and_task_groups(sandbox: Sandbox) -> None:
    """Clients share nothing; calls of one client run concurrently in a `TaskGroup`."""
    async with (
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as one,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as other,
    ):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(client.details(segment_id))
                for segment_id in sandbox.segment_ids[:20]
                for client in (one, other)
            ]
        assert len({task.result().id for task in tasks}) == 20
        await one.aclose()
        assert (await other.details(sandbox.segment_ids[0])).id == sandbox.segment_ids[0]


async def test_thousands_of_single_calls_stay_in_bounds() -> None:
    """The client's concurrency limits gathered calls, which do not time out in the queue."""
    async with (
        Sandbox(600, latency=0.005) as sandbox,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, concurrency=30, timeout=0.6) as client,
    ):
        await asyncio.gather(*(client.details(segment_id) for segment_id in sandbox.segment_ids))
        assert sandbox.max_in_flight == 30


def test_importing_loads_nothing_else() -> None:
    """Importing the package loads no server, no command line and no event loop."""
    code = (
        "import sys; from braze_segments_async import BrazeSegments;"
        "unwanted = ('cyclopts', 'rich', 'aiohttp.web', 'braze_segments_async.sandbox');"
        "print([name for name in unwanted if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


async def test_a_session_closed_by_the_caller(sandbox: Sandbox) -> None:
    """The client raises an error at once if the caller has closed its session."""
    sandbox.inject(Answer(delay=30), endpoint="details")
    async with aiohttp.ClientSession() as session:
        client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session)
        async with client:
            call = asyncio.create_task(client.details(sandbox.segment_ids[0]))
            await asyncio.sleep(0.05)
            await session.close()
            with pytest.raises(ClosedError, match="session is closed"):
                await asyncio.wait_for(call, 2)


async def test_stats(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`stats` counts requests and retries; `rate_limit` is the latest; both exist before any request."""
    fresh = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    assert (fresh.stats, fresh.rate_limit) == (Stats(), None)
    sandbox.inject(Answer(503), endpoint="details", ordinals=1)
    await client.details(sandbox.segment_ids[0])
    assert client.stats == Stats(requests=2, retries=1, bytes=client.stats.bytes)
    sandbox.inject(Answer(delay=30), endpoint="details")
    call = asyncio.create_task(client.details(sandbox.segment_ids[0]))
    await until(lambda: sandbox.count("details") == 3)
    assert client.stats.in_flight == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert client.stats.in_flight == 0


@pytest.mark.parametrize(
    "options",
    [
        {"retry": None},
        {"limits": None},
        {"session": "x"},
        {"on_retry": 5},
        {"on_pause": 5},
        {"timeout": True},
        {"reserve": 1},
    ],
    ids=str,
)
def test_wrong_arguments_of_the_client(options: dict[str, object]) -> None:
    """Each argument is checked when the client is made; the message names it."""
    with pytest.raises(ConfigError, match=f"^{next(iter(options))} must be"):
        BrazeSegments("key", base_url="https://rest.iad-01.braze.com", **options)  # type: ignore[arg-type]


async def test_stats_of_an_unopened_client(sandbox: Sandbox) -> None:
    """`rate_limit` and `stats` can be read at any time, even from a client that was never opened."""
    client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    await client.aclose()
    assert (client.rate_limit, client.stats) == (None, Stats())


async def test_a_session_that_raises_for_status(sandbox: Sandbox) -> None:
    """A caller's session with `raise_for_status=True` changes nothing: one request, the typed error."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        BrazeSegments("wrong", base_url=sandbox.base_url, session=session) as client,
    ):
        with pytest.raises(AuthenticationError):
            await client.details(sandbox.segment_ids[0])
    assert len(sandbox.requests) == 1


async def test_an_interrupted_close_still_ends_the_streams(
    client: BrazeSegments, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No task of a stream is left when closing is cancelled halfway."""
    unclosed: list[aiohttp.ClientSession] = []

    async def stuck(session: aiohttp.ClientSession) -> None:
        unclosed.append(session)
        await asyncio.sleep(30)

    sandbox.inject(Answer(delay=30), endpoint="details", ordinals=range(3, 300))
    stream = aiter(client.all_details())
    await anext(stream)
    monkeypatch.setattr(aiohttp.ClientSession, "close", stuck)
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0.02)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert not [task for task in asyncio.all_tasks() if "FanOut" in repr(task)]
    monkeypatch.undo()
    for session in unclosed:
        await session.close()
    with pytest.raises(ClosedError):
        await anext(stream)


async def test_a_session_with_auth(sandbox: Sandbox) -> None:
    """A session with its own authentication is refused when the client is opened."""
    with pytest.warns(DeprecationWarning, match="auth"):
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
    async with session:
        with pytest.raises(ConfigError, match="auth of its own"):
            async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, session=session):
                pass
