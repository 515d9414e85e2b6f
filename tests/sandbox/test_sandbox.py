"""The sandbox behaves like the segment endpoints of Braze, and keeps its promises to tests."""

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import aiohttp
import attrs
import pytest

from braze_segments_async.sandbox import Answer, LoggedRequest, Sandbox
from braze_segments_async.sandbox._users import encode_user

LIST, DETAILS, SERIES = "/segments/list", "/segments/details", "/segments/data_series"
DATA = f"{SERIES}?segment_id={Sandbox(1).segment_ids[0]}"
FIELDS = (
    "apps",
    "braze_id",
    "campaigns_received",
    "created_at",
    "custom_attributes",
    "devices",
    "email",
    "purchases",
)
START = datetime(2026, 11, 22, 10, 15, tzinfo=UTC).timestamp()


async def _ask(
    sandbox: Sandbox, path: str, *, method: str = "GET", key: str = "", **query: Any
) -> aiohttp.ClientResponse:
    headers = {"Authorization": f"Bearer {key or sandbox.api_key}"}
    async with (
        aiohttp.ClientSession(sandbox.base_url, headers=headers) as session,
        session.request(method, path, params=query, allow_redirects=False) as reply,
    ):
        await reply.read()
        return reply


async def _json(sandbox: Sandbox, path: str, **query: Any) -> Any:
    return await (await _ask(sandbox, path, **query)).json(content_type=None)


async def _statuses(sandbox: Sandbox, count: int) -> list[int]:
    return [(await _ask(sandbox, LIST)).status for _ in range(count)]


async def _ids(sandbox: Sandbox, page: int, direction: str = "asc") -> list[str]:
    body = await _json(sandbox, LIST, page=page, sort_direction=direction)
    return [row["id"] for row in body["segments"]]


def test_same_seed_same_data_in_every_process() -> None:
    """The same seed gives the same workspace, byte for byte, in every process; another seed gives another."""
    program = (
        "import json; from braze_segments_async.sandbox import Sandbox; s = Sandbox(30, seed=7); s.create();"
        "print(json.dumps([[s.segment(i), s.details(i)] for i in s.segment_ids]))"
    )
    there = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)  # noqa: S603
    here, other = Sandbox(30, seed=7), Sandbox(30, seed=8)
    here.create()
    assert json.loads(there.stdout) == [[here.segment(i), here.details(i)] for i in here.segment_ids]
    assert not set(here.segment_ids) & set(other.segment_ids)


def test_the_data_of_a_seed_never_change() -> None:
    """A seed gives the same data in every version, so that exports can be compared across versions."""
    sandbox = Sandbox(300, seed=7)
    digest = sha256()
    for segment_id in sandbox.segment_ids:
        digest.update(json.dumps([sandbox.segment(segment_id), sandbox.details(segment_id)]).encode())
    for index in range(300):
        digest.update(encode_user(7, sandbox.segment_ids[0], index, FIELDS))
    assert digest.hexdigest() == "b66b2b3823746618a5ae81d8c1207d988a6108caf76b15e7e083772df48a79ac"


def test_data_look_like_a_real_workspace() -> None:
    """Most names are unique; tags are arrays that may contain null; dates are in order of creation."""
    sandbox = Sandbox(1_000)
    rows = [sandbox.segment(segment_id) for segment_id in sandbox.segment_ids]
    bodies = [sandbox.details(segment_id) for segment_id in sandbox.segment_ids]
    assert len({row["name"] for row in rows}) > 980
    assert all(isinstance(row["tags"], list) for row in rows)
    assert any(None in row["tags"] for row in rows)
    assert any(not row["tags"] for row in rows)
    assert not any(None in body["tags"] for body in bodies)
    created = [body["created_at"] for body in bodies]
    assert created == sorted(set(created))
    assert all(body["created_at"] <= body["updated_at"] for body in bodies)
    assert all(len(body["id"]) == 24 for body in bodies)
    assert all(isinstance(body["teams"], list) for body in bodies)
    assert 0 < sum(row["analytics_tracking_enabled"] for row in rows) <= 25
    assert {type(body["estimated_size"]) for body in bodies} >= {int, type(None)}
    assert any(not row["name"].isascii() for row in rows)


@pytest.mark.parametrize("segments", [0, 1, 99, 100, 101, 250])
async def test_pages_hold_every_segment_once_in_both_directions(segments: int) -> None:
    """The pages of 100 rows have every segment once, in both directions; a page past the end is empty."""
    async with Sandbox(segments) as sandbox:
        ids = sandbox.segment_ids
        for direction, expected in (("asc", ids), ("desc", ids[::-1])):
            pages = [await _ids(sandbox, page, direction) for page in range(segments // 100 + 1)]
            assert [len(page) for page in pages] == [*[100] * (segments // 100), segments % 100]
            assert [segment_id for page in pages for segment_id in page] == expected
            past = await _json(sandbox, LIST, page=len(pages), sort_direction=direction)
            assert past == {"message": "success", "segments": []}
        assert (await _json(sandbox, LIST))["segments"] == [sandbox.segment(i) for i in ids[:100]]


async def test_success_is_compact_utf8_json_without_etag() -> None:
    """A success body is compact JSON with unescaped characters, and the response has no ETag."""
    async with Sandbox(3) as sandbox:
        first = sandbox.segment_ids[0]
        sandbox.rename(first, "休眠ユーザー, “Gold” 🔥")
        reply = await _ask(sandbox, DETAILS, segment_id=first)
    expected = json.dumps(sandbox.details(first), ensure_ascii=False, separators=(",", ":"))
    assert "休眠ユーザー, “Gold” 🔥" in expected
    assert await reply.text("utf-8") == expected
    assert reply.headers["Content-Type"] == "application/json"
    assert "ETag" not in reply.headers


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        ("page must be a non-negative integer", [f"{LIST}?page=-1", f"{LIST}?page=x", f"{LIST}?page="]),
        ("sort_direction must be asc or desc", [f"{LIST}?sort_direction=up"]),
        (
            "segment_id must be a string of the Segment api identifier",
            [DETAILS, f"{DETAILS}?segment_id=no-such"],
        ),
        ("segment_id must be a string of the Segment api identifier", [f"{SERIES}?length=1"]),
        (
            "length must be an integer between 1 and 100",
            [f"{DATA}&length={n}" for n in ("", 0, 101, -5, "x")],
        ),
        (
            "ending_at must be an ISO 8601 date",
            [f"{DATA}&length=2&ending_at={e}" for e in ("soon", "0001-01-01")],
        ),
    ],
)
async def test_bad_parameters_are_400(message: str, paths: list[str]) -> None:
    """A missing or wrong parameter returns 400 and a message that names it."""
    async with Sandbox(1) as sandbox:
        for path in paths:
            reply = await _ask(sandbox, path)
            assert (reply.status, await reply.json()) == (400, {"message": message})


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", f"{LIST}/"), ("POST", LIST)])
async def test_wrong_path_or_method_is_404(method: str, path: str) -> None:
    """An unknown path or method returns 404 "Invalid URL" whatever the key, and is logged as "other"."""
    async with Sandbox(1) as sandbox:
        reply = await _ask(sandbox, path, method=method, key="wrong")
    assert (reply.status, await reply.json()) == (404, {"message": "Invalid URL"})
    assert reply.headers["X-RateLimit-Remaining"] == "250000"
    assert sandbox.count("other", 404) == 1


async def test_data_series_windows_agree_where_they_overlap() -> None:
    """A day has the same size in every window; days are in order and end with `ending_at`."""
    async with Sandbox(3, clock=lambda: START) as sandbox:
        query = {"segment_id": sandbox.segment_ids[0]}
        whole = await _json(sandbox, SERIES, **query, length=100)
        part = await _json(sandbox, SERIES, **query, length=7, ending_at="2026-11-20T23:00:00Z")
        before = await _json(sandbox, SERIES, **query, length=2, ending_at="2001-01-02T23:59:59")
    assert [whole["message"], len(whole["data"]), whole["data"][-1]["time"]] == ["success", 100, "2026-11-22"]
    assert whole["data"] == sorted(whole["data"], key=lambda point: str(point["time"]))
    assert part["data"] == whole["data"][-9:-2]
    assert {type(point["size"]) for point in whole["data"]} == {int, float}
    assert before["data"] == [{"time": "2001-01-01", "size": 0}, {"time": "2001-01-02", "size": 0}]


@pytest.mark.parametrize("ending_at", ["2026-11-20", "2026-11-20T00:00:00", "2026-11-20T00:00:00Z"])
async def test_midnight_excludes_the_day(ending_at: str) -> None:
    """An `ending_at` at midnight, as a date alone is, excludes the day that begins then."""
    async with Sandbox(1) as sandbox:
        body = await _json(sandbox, DATA, length=2, ending_at=ending_at)
    assert [point["time"] for point in body["data"]] == ["2026-11-18", "2026-11-19"]


async def test_every_response_has_another_request_id() -> None:
    """Each response has an `X-Request-Id` of its own, also an injected one."""
    async with Sandbox(1) as sandbox:
        sandbox.inject(Answer(status=503), ordinals=2)
        replies = [await _ask(sandbox, LIST) for _ in range(3)]
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 3


async def test_wrong_key_is_401_with_empty_rate_limit_headers() -> None:
    """A 401 echoes the key, does not count against the rate limit, and has empty rate-limit headers."""
    async with Sandbox(3) as sandbox:
        reply = await _ask(sandbox, LIST, key="wrong")
    assert (reply.status, await reply.json()) == (401, {"message": "Invalid API key: wrong"})
    assert [reply.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == ["", "", ""]
    assert sandbox.windows == []


async def test_missing_permission_is_403() -> None:
    """A key without the permission of an endpoint gets 403 from it, and genuine answers from the others."""
    async with Sandbox(3, permissions=["segments.list"]) as sandbox:
        refused = await _ask(sandbox, DETAILS, segment_id=sandbox.segment_ids[0])
        assert await _statuses(sandbox, 1) == [200]
    assert (refused.status, refused.headers["X-RateLimit-Limit"]) == (403, "250000")
    assert await refused.json() == {"message": "Access Denied"}


async def test_rate_limit_is_a_window_on_the_clock() -> None:
    """Beyond the limit every request returns 429 without Retry-After, until the next window of the clock."""
    clock = [START]
    async with Sandbox(3, rate_limit=(3, 3_600), clock=lambda: clock[0]) as sandbox:
        replies = [await _ask(sandbox, LIST) for _ in range(5)]
        clock[0] += 45 * 60  # the full hour, where the next window begins
        replies.append(await _ask(sandbox, LIST))
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429, 200]
    assert [reply.headers["X-RateLimit-Remaining"] for reply in replies] == ["2", "1", "0", "0", "0", "2"]
    assert {reply.headers["X-RateLimit-Reset"] for reply in replies[:5]} == {str(int(START) + 45 * 60)}
    assert replies[0].headers["Date"] == "Sun, 22 Nov 2026 10:15:00 GMT"
    assert "Retry-After" not in replies[3].headers
    assert sandbox.windows == [3, 1]
    assert sandbox.count("list", 429) == 2


async def test_reset_is_rounded_up() -> None:
    """A window that ends within a second has the next whole second as its reset."""
    async with Sandbox(1, rate_limit=(9, 0.4), clock=lambda: 100.1) as sandbox:
        assert (await _ask(sandbox, LIST)).headers["X-RateLimit-Reset"] == "101"


async def test_inject_filters() -> None:
    """Endpoint, ordinals, segment, page and times each restrict a rule; other answers are genuine."""
    async with Sandbox(250) as sandbox:
        first, second = sandbox.segment_ids[:2]
        sandbox.inject(Answer(status=500), endpoint="list", ordinals={1, 3})
        sandbox.inject(Answer(status=502), page=2)
        sandbox.inject(Answer(status=503), segment_id=first, times=1)
        sandbox.inject(Answer(status=504), endpoint="details", ordinals=4)
        lists = [(await _ask(sandbox, LIST, page=page)).status for page in (0, 1, 1, 2, 0)]
        details = [
            (await _ask(sandbox, DETAILS, segment_id=i)).status for i in (first, first, second, second)
        ]
    assert lists == [500, 200, 500, 502, 200]
    assert details == [503, 200, 200, 504]


async def test_newest_rule_applies() -> None:
    """The newest matching rule applies, even if its function returns `None`."""
    async with Sandbox(3) as sandbox:
        sandbox.inject(Answer(status=500))
        sandbox.inject(lambda _: None, ordinals=2)
        assert await _statuses(sandbox, 3) == [500, 200, 500]


async def test_chance_depends_only_on_the_seed() -> None:
    """The same seed makes the same requests fail, in about the given proportion."""
    runs = []
    for seed in (1, 1, 2):
        async with Sandbox(1, seed=seed) as sandbox:
            sandbox.inject(Answer(status=503), chance=0.3)
            runs.append(await _statuses(sandbox, 60))
    assert runs[0] == runs[1] != runs[2]
    assert 8 < runs[0].count(503) < 30


@pytest.mark.parametrize("body", [b"\xff\x00", b"", "<html>é", {"a": ["é"]}, [1, None]])
async def test_injected_bodies(body: Any) -> None:
    """Bytes and text are sent unchanged, dicts and lists as JSON, with the given content type."""
    async with Sandbox(3) as sandbox:
        sandbox.inject(Answer(body=body, content_type="text/html"))
        reply = await _ask(sandbox, LIST)
    sent = (await reply.text("utf-8", "surrogateescape")).encode(errors="surrogateescape")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html")
    assert body in (sent, sent.decode(errors="replace")) or body == json.loads(sent)


@pytest.mark.parametrize("status", [202, 204, 302, 401, 408, 429, 500, 503])
async def test_injected_status_alone_has_a_braze_like_body(status: int) -> None:
    """An answer with only a status has a message; rate-limit headers are empty on 401, at 0 on 429."""
    async with Sandbox(3) as sandbox:
        sandbox.inject(Answer(status=status, headers={"Location": "http://127.0.0.1:9/"}))
        reply = await _ask(sandbox, LIST)
    assert reply.status == status
    assert not await reply.text() if status == 204 else (await reply.json())["message"]
    assert reply.headers["X-RateLimit-Remaining"] == {401: "", 429: "0"}.get(status, "249999")


async def test_injected_headers_override_and_remove() -> None:
    """Injected headers replace the sandbox's in any letter case; `None` removes one; the body is genuine."""
    async with Sandbox(3) as sandbox:
        headers = {"x-ratelimit-reset": "212", "X-RateLimit-Limit": None, "Date": "never"}
        sandbox.inject(Answer(headers=headers))
        reply = await _ask(sandbox, LIST)
    assert reply.headers.getall("X-RateLimit-Reset") == ["212"]
    assert reply.headers.getall("Date") == ["never"]
    assert "X-RateLimit-Limit" not in reply.headers
    assert len((await reply.json())["segments"]) == 3


async def test_late_answers_are_genuine() -> None:
    """`Answer(delay=...)` keeps the genuine body and status; the logged status is 0 until it is sent."""
    seen: list[LoggedRequest] = []

    def late(request: LoggedRequest) -> Answer:
        seen.extend([request, *sandbox.requests])
        return Answer(delay=0.01)

    async with Sandbox(3) as sandbox:
        sandbox.inject(late)
        assert (await _ask(sandbox, DETAILS, segment_id="no-such")).status == 400
    (request,) = sandbox.requests
    assert seen == [attrs.evolve(request, status=0)] * 2
    assert (request.endpoint, request.ordinal, request.status) == ("details", 1, 400)
    assert request.query == {"segment_id": "no-such"}
    assert request.headers["authorization"] == "Bearer sandbox-api-key"
    assert "sandbox-api-key" not in repr(request)


async def test_a_hook_archives_during_a_listing() -> None:
    """A function may change the workspace before the genuine answer, so that a listing loses a row."""
    async with Sandbox(250) as sandbox:
        ids = sandbox.segment_ids
        sandbox.inject(lambda _: sandbox.archive(ids[0]), endpoint="list", page=1, times=1)
        seen = [segment_id for page in range(3) for segment_id in await _ids(sandbox, page)]
    assert set(ids) - set(seen) == {ids[100]}


async def test_churn() -> None:
    """Archived segments leave the list but keep their details and position; new segments come last."""
    async with Sandbox(5) as sandbox:
        ids = sandbox.segment_ids
        for _ in range(2):
            sandbox.archive(ids[1])
        newest = sandbox.create("Spring, “sale” 🌷")
        assert await _ids(sandbox, 0) == sandbox.segment_ids == [ids[0], *ids[2:], newest]
        assert await _json(sandbox, DETAILS, segment_id=ids[1]) == sandbox.details(ids[1])
        for _ in range(2):
            sandbox.unarchive(ids[1])
        assert await _ids(sandbox, 0, "desc") == [newest, *reversed(ids)]
    assert sandbox.segment(newest)["name"] == "Spring, “sale” 🌷"
    assert sandbox.details(newest)["created_at"] > sandbox.details(ids[-1])["created_at"]
    with pytest.raises(KeyError):
        sandbox.archive("no-such")


def test_rename() -> None:
    """A renamed segment has its new name in both answers and a later `updated_at`; the rest is unchanged."""
    sandbox = Sandbox(1)
    before = sandbox.details(sandbox.segment_ids[0])
    sandbox.rename(sandbox.segment_ids[0], "Renamed")
    after = sandbox.details(sandbox.segment_ids[0])
    assert sandbox.segment(sandbox.segment_ids[0])["name"] == after["name"] == "Renamed"
    assert before["updated_at"] < after["updated_at"]
    assert before | {"name": "Renamed", "updated_at": after["updated_at"]} == after


async def test_max_requests_in_flight() -> None:
    """The peaks count concurrent requests, in all and for details, without abandoned ones."""
    async with Sandbox(9, latency=0.1) as sandbox:
        *some, slow = sandbox.segment_ids[:5]
        details = [_ask(sandbox, DETAILS, segment_id=segment_id) for segment_id in some]
        await asyncio.gather(*(_ask(sandbox, LIST) for _ in range(2)), *details)
        assert (sandbox.max_in_flight, sandbox.max_details_in_flight) == (6, 4)
        sandbox.inject(Answer(delay=60), segment_id=slow)
        for _ in range(7):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_ask(sandbox, DETAILS, segment_id=slow), 0.02)
        assert await _statuses(sandbox, 1) == [200]
    assert (sandbox.max_in_flight, sandbox.max_details_in_flight) == (6, 4)


def test_a_large_workspace_starts_quickly() -> None:
    """A workspace of 100,000 segments is ready in less than two seconds."""
    started = time.perf_counter()
    sandbox = Sandbox(100_000)
    assert time.perf_counter() - started < 2
    assert len(set(sandbox.segment_ids)) == 100_000


async def test_stops_with_a_request_in_flight() -> None:
    """The end of the block cancels a request in flight, and leaves neither a task nor an open port."""
    arrived = asyncio.Event()

    def hang(_: LoggedRequest) -> Answer:
        arrived.set()
        return Answer(delay=60)

    async with Sandbox(3) as sandbox:
        tasks = asyncio.all_tasks()
        sandbox.inject(hang)
        hanging = asyncio.create_task(_ask(sandbox, LIST))
        await arrived.wait()
        started = time.perf_counter()
    assert time.perf_counter() - started < 1
    assert asyncio.all_tasks() - {hanging} == tasks
    with pytest.raises(aiohttp.ClientError):
        await hanging
    with pytest.raises(aiohttp.ClientConnectorError):
        await _ask(sandbox, LIST)
    assert sandbox.count("list", 0) == sandbox.count("list") == 1


async def test_wrong_use() -> None:
    """Entering twice, reading the address before the start, and a port in use raise clear errors."""
    sandbox = Sandbox(3)
    with pytest.raises(RuntimeError, match="no address yet"):
        _ = sandbox.base_url
    async with sandbox:
        with pytest.raises(RuntimeError, match="running already"):
            await sandbox.__aenter__()
        taken = Sandbox(3, port=int(sandbox.base_url.rpartition(":")[2]))
        with pytest.raises(OSError, match="in use"):
            await taken.__aenter__()
    async with taken:
        assert taken.base_url == sandbox.base_url
