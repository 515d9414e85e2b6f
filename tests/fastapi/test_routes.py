"""The FastAPI routes, in this process: authentication, responses, statuses and lifespans."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import attrs
import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from fastapi_helpers import EXAMPLE, serving

import braze_segments_async
from braze_segments_async import (
    BrazeError,
    BrazeSegments,
    ClosedError,
    ConfigError,
    ExportError,
    ExportRunningError,
    TimedOutError,
    TransportError,
)
from braze_segments_async.export import to_json_line
from braze_segments_async.fastapi import Segments, braze_lifespan, get_segments, segments_router
from braze_segments_async.fastapi import _schemas as schemas
from braze_segments_async.fastapi._errors import http_error
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NO_EXPORT = "77588671-7b15-4664-91dc-c427fe3ac8ff"
ROUTES = {
    ("/segments", "get"),
    ("/segments/{segment_id}", "get"),
    ("/segments/{segment_id}/sizes", "get"),
    ("/exports", "get"),
    ("/exports", "post"),
    ("/exports/{export_id}", "get"),
    ("/exports/{export_id}", "delete"),
    ("/exports/{export_id}/events", "get"),
    ("/exports/{export_id}/file", "get"),
    ("/health", "get"),
}


@pytest.fixture
async def api(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an app that uses the sandbox."""
    async with serving(sandbox, tmp_path) as api:
        yield api


@pytest.fixture
def in_env(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """The sandbox, configured by environment variables."""
    monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
    monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
    return sandbox


def test_routes_do_not_mount_without_a_word_on_who_may() -> None:
    """Routes without authentication have to be allowed explicitly."""
    with pytest.raises(ConfigError, match="allow_unauthenticated=True"):
        segments_router()


async def test_the_dependencies_guard_every_route(sandbox: Sandbox, tmp_path: Path) -> None:
    """A caller that the app's dependency refuses reaches no route, and causes no request to Braze."""

    async def refuse() -> None:
        raise HTTPException(401, "who are you?")

    app = FastAPI()
    app.include_router(segments_router(dependencies=[Depends(refuse)]))
    async with (
        braze_lifespan(lambda: BrazeSegments(sandbox.api_key, base_url=sandbox.base_url), exports=tmp_path)(
            app
        ),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app") as client,
    ):
        for path, method in ROUTES:
            response = await client.request(method, path.format(segment_id="x", export_id=NO_EXPORT))
            assert (response.status_code, response.json()) == (401, {"detail": "who are you?"})
    assert not sandbox.requests


async def test_openapi(sandbox: Sandbox) -> None:
    """The page has every route with its summary and media types, and not the key."""
    app = FastAPI()
    async with serving(sandbox, app=app) as api:
        page = (await api.get("http://app/openapi.json")).text
    assert sandbox.api_key not in page
    paths = json.loads(page)["paths"]
    assert {(path.removeprefix("/braze"), method) for path in paths for method in paths[path]} == ROUTES
    events_of = paths["/braze/exports/{export_id}/events"]["get"]["responses"]["200"]["content"]
    assert list(events_of) == ["text/event-stream"]
    file_of = paths["/braze/exports/{export_id}/file"]["get"]["responses"]["200"]["content"]
    assert "application/x-ndjson" in file_of
    for path, method in ROUTES:
        assert paths[f"/braze{path}"][method]["summary"]


@pytest.mark.parametrize("name", ["Segment", "SegmentDetails", "SizePoint"])
def test_the_models_have_the_fields_of_the_library(name: str) -> None:
    """The models of the API have the fields of the library's models, in the same order."""
    fields = [field.name for field in attrs.fields(getattr(braze_segments_async, name))]
    assert list(getattr(schemas, name).model_fields) == fields


async def test_pages(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """The pages together have all segments, with one request to Braze for each page."""
    found: list[dict[str, Any]] = []
    page: int | None = 0
    while page is not None:
        response = await api.get("/segments", params={"page": page})
        found += schemas.SegmentPage.model_validate(response.json()).model_dump()["segments"]
        page = response.json()["next_page"]
    assert [segment["id"] for segment in found] == sandbox.segment_ids
    assert sandbox.count("list") == len(sandbox.requests) == 4
    newest = (await api.get("/segments", params={"sort_direction": "desc"})).json()["segments"][0]
    assert newest["id"] == sandbox.segment_ids[-1]


async def test_a_page_with_a_segment_twice_is_not_the_end(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """A page with 99 segments after deduplication has a next page."""
    rows = [sandbox.segment(segment_id) for segment_id in sandbox.segment_ids[:99]]
    sandbox.inject(Answer(body={"message": "success", "segments": [*rows, rows[0]]}), page=0)
    response = (await api.get("/segments")).json()
    assert (len(response["segments"]), response["next_page"]) == (99, 1)


async def test_details(api: httpx2.AsyncClient, client: BrazeSegments, sandbox: Sandbox) -> None:
    """The details of a segment equal its line in an NDJSON export."""
    segment_id = sandbox.segment_ids[7]
    response = await api.get(f"/segments/{segment_id}")
    schemas.SegmentDetails.model_validate(response.json())
    assert response.headers["content-type"] == "application/json"
    assert response.content == to_json_line(await client.details(segment_id))


async def test_a_lone_surrogate(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """A name with a lone surrogate is sent as an escape."""
    row = rb'{"message": "success", "segments": [{"id": "x", "name": "half \ud83d"}]}'
    sandbox.inject(Answer(body=row), endpoint="list")
    sandbox.inject(Answer(body=rb'{"message": "success", "name": "half \ud83d"}'), endpoint="details")
    assert (await api.get("/segments")).json()["segments"][0]["name"] == "half \ud83d"
    assert (await api.get("/segments/x")).json()["name"] == "half \ud83d"


async def test_sizes(api: httpx2.AsyncClient, client: BrazeSegments, sandbox: Sandbox) -> None:
    """Sizes have one value for each day, the oldest first."""
    segment_id = sandbox.segment_ids[7]
    response = await api.get(f"/segments/{segment_id}/sizes", params={"days": 120})
    expected = await client.data_series(segment_id, length=120)
    assert response.json() == [{"time": str(point.time), "size": point.size} for point in expected]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/segments?page=-1", 422),
        ("/segments?sort_direction=up", 422),
        ("/segments/x/sizes?days=0", 422),
        ("/segments/x/sizes?days=1001", 422),
        ("/segments/no-such-segment", 404),
        ("/segments/no-such-segment/sizes", 404),
        ("/exports/..%2F..%2Fetc%2Fpasswd", 404),
        ("/exports/passwd/file", 422),
        (f"/exports/{NO_EXPORT}", 404),
        (f"/exports/{NO_EXPORT}/file", 404),
        (f"/exports/{NO_EXPORT}/events", 404),
    ],
)
async def test_wrong_requests(api: httpx2.AsyncClient, path: str, status: int) -> None:
    """Wrong arguments get 422, and unknown ids get 404."""
    assert (await api.get(path)).status_code == status


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (Answer(status=401), 502, "401 after 1 attempt"),
        (Answer(status=403), 502, "the API key needs the permission segments.details"),
        (Answer(status=404), 502, "check that base_url"),
        (Answer(status=302, headers={"Location": "http://elsewhere"}), 502, "302"),
        (Answer(status=500), 502, "500 after 5 attempts"),
        (Answer(status=202), 502, "maintenance"),
        (Answer(body="<html>"), 502, "JSON"),
        (Answer(headers={"Content-Length": "10000"}), 502, "no complete response"),
        (Answer(status=429, headers={"Retry-After": "1800"}), 503, "1,800 s"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
async def test_statuses_of_responses(
    api: httpx2.AsyncClient, sandbox: Sandbox, answer: Answer, status: int, message: str
) -> None:
    """Errors of Braze become 502 or 503 with the library's message, which does not contain the key."""
    sandbox.inject(answer, endpoint="details")
    response = await api.get(f"/segments/{sandbox.segment_ids[0]}")
    assert response.status_code == status
    assert message in response.json()["detail"]
    assert sandbox.api_key not in response.text
    assert 1_790 <= int(response.headers["Retry-After"]) <= 1_800 if status == 503 else True


async def test_requests_during_a_pause_get_503(api: httpx2.AsyncClient, sandbox: Sandbox) -> None:
    """Requests during a pause get 503 with `Retry-After`, and are not sent to Braze."""
    sandbox.inject(Answer(status=429, headers={"Retry-After": "60"}), times=1)
    for path in ("/segments", "/segments/x", "/segments/x/sizes"):
        response = await api.get(path)
        assert response.status_code == 503
        assert 50 < int(response.headers["Retry-After"]) <= 70
    assert len(sandbox.requests) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("wrong"), 422),
        (ClosedError("closed"), 503),
        (TimedOutError("late"), 504),
        (TransportError("cut"), 502),
        (ExportRunningError("busy", status=429), 409),
        (ExportError("disk full"), 500),
    ],
)
def test_statuses_of_errors(error: BrazeError, status: int) -> None:
    """Each error of the library becomes a status of the API."""
    assert http_error(error).status_code == status


async def test_missing_configuration() -> None:
    """Without the lifespan or a directory for exports, responses say what is missing."""
    app = FastAPI()
    app.include_router(segments_router(allow_unauthenticated=True))
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as api:
        for path in ("/segments", "/exports"):
            response = await api.get(path)
            assert (response.status_code, "braze_lifespan" in response.json()["detail"]) == (503, True)
    async with Sandbox(0) as sandbox, serving(sandbox) as api:
        response = await api.post("/exports")
        assert (response.status_code, "exports=" in response.json()["detail"]) == (501, True)


def test_wrong_lifespans() -> None:
    """`braze_lifespan` refuses a client in place of a function, and keep=0."""
    client = BrazeSegments("key", base_url="http://localhost")
    with pytest.raises(ConfigError, match="without brackets"):
        braze_lifespan(client)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="keep must be at least 1"):
        braze_lifespan(keep=0)


async def test_an_app_can_start_in_several_loops(in_env: Sandbox) -> None:
    """Each start creates a client, so one app can run in several event loops."""
    app = FastAPI(lifespan=braze_lifespan())
    app.include_router(segments_router(allow_unauthenticated=True))

    def serve() -> int:
        with TestClient(app) as api:
            return len(api.get("/segments").json()["segments"])

    for _ in range(2):
        assert await asyncio.to_thread(serve) == 100
    assert in_env.count("list") == 2


async def test_two_workspaces_are_two_mounted_apps() -> None:
    """Each mounted app has its own client, opened in the lifespan of the outer app."""
    outer = FastAPI()
    async with AsyncExitStack() as stack:
        for size in (3, 5):
            sandbox = await stack.enter_async_context(Sandbox(size))
            outer.mount(f"/{size}", inner := FastAPI())
            await stack.enter_async_context(serving(sandbox, app=inner))
        transport = httpx2.ASGITransport(outer)
        api = await stack.enter_async_context(httpx2.AsyncClient(transport=transport, base_url="http://app"))
        for size in (3, 5):
            assert len((await api.get(f"/{size}/braze/segments")).json()["segments"]) == size


async def test_override_of_the_client(client: BrazeSegments) -> None:
    """`dependency_overrides` replaces the client, without the lifespan."""
    app = FastAPI()
    app.include_router(segments_router(allow_unauthenticated=True))
    app.dependency_overrides[get_segments] = lambda: client

    @app.get("/names")
    async def names(segments: Segments) -> list[str]:
        return [segment.name async for segment in segments.list()]

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://app") as api:
        assert len((await api.get("/names")).json()) == 250
        assert len((await api.get("/segments")).json()["segments"]) == 100


def test_the_docs_show_the_example() -> None:
    """docs/fastapi.md contains the example without its docstring."""
    code = EXAMPLE.read_text(encoding="utf-8").split('"""\n\n', 1)[1]
    page = (EXAMPLE.parents[1] / "docs" / "fastapi.md").read_text(encoding="utf-8")
    assert f"```python\n# {EXAMPLE.name}\n{code}```\n" in page


async def test_without_the_extra() -> None:
    """Without FastAPI, the import error says what to install."""
    code = "import sys; sys.modules['fastapi'] = None; import braze_segments_async.fastapi"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=-1)
    _, err = await process.communicate()
    assert err.decode().splitlines()[-1].endswith('pip install "braze-segments-async[fastapi]"')
