"""The calls, arguments, callbacks and statistics of a client."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from cli_helpers import until

from braze_segments_async import (
    AuthenticationError,
    BrazeSegments,
    ConfigError,
    PauseEvent,
    PermissionDeniedError,
    RateLimitedError,
    RetryEvent,
    RetryPolicy,
    Stats,
)
from braze_segments_async.sandbox import Answer, Sandbox


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


async def test_stats(client: BrazeSegments, sandbox: Sandbox) -> None:
    """`stats` counts requests and retries; `rate_limit` is the latest; both exist before any request."""
    fresh = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
    assert (fresh.stats, fresh.rate_limit) == (Stats(), None)
    sandbox.inject(Answer(503), endpoint="details", ordinals=1)
    await client.details(sandbox.segment_ids[0])
    stats = client.stats
    assert stats == Stats(requests=2, retries=1, bytes=stats.bytes, responses=stats.responses)
    counts = [(row.endpoint, row.status, row.count) for row in stats.responses]
    assert counts == [("/segments/details", 503, 1), ("/segments/details", 200, 1)]
    assert all(0.0 < row.seconds < 5.0 for row in stats.responses)
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
