"""`examples/live_check.py`: it finds each deviation from the assumptions, and prints no data."""

from __future__ import annotations

import runpy
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import ROOT

from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from braze_segments_async.sandbox import LoggedRequest

LIST, DETAILS, SIZES = "GET /segments/list", "GET /segments/details", "GET /segments/data_series"
Change = Callable[[dict[str, Any]], object]
Run = Callable[..., Awaitable[str]]
# A name that no output may contain.
SECRET = "Secret launch of 2027"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the script against a sandbox, and returns its output."""

    async def run(sandbox: Sandbox) -> str:
        monkeypatch.setenv("BRAZE_API_KEY", sandbox.api_key)
        monkeypatch.setenv("BRAZE_BASE_URL", sandbox.base_url)
        code = await runpy.run_path(str(ROOT / "examples" / "live_check.py"))["main"]()
        output = capsys.readouterr().out
        assert code == (0 if " 0 differences" in output else 1)
        bodies = [sandbox.details(segment_id) for segment_id in sandbox.segment_ids]
        data = {text for body in bodies for text in (body["name"], body["description"], body["id"]) if text}
        data |= {*sandbox.segment_ids, sandbox.api_key, SECRET}
        assert not {text for text in data if text in output}
        return output

    return run


def page(sandbox: Sandbox, request: LoggedRequest) -> dict[str, Any]:
    """Return the body of a page as the sandbox would send it."""
    start = 100 * int(request.query.get("page", "0"))
    ids = sandbox.segment_ids[:: -1 if request.query.get("sort_direction") == "desc" else 1]
    rows = [sandbox.segment(segment_id) for segment_id in ids[start : start + 100]]
    return {"message": "success", "segments": rows}


async def test_the_sandbox_follows_the_assumptions(sandbox: Sandbox, run: Run) -> None:
    """A workspace as assumed has no differences, whatever its size; about a dozen requests are sent."""
    assert await run(sandbox) == "12 requests, 0 differences from docs/braze.md\n"
    async with Sandbox(0) as empty:
        output = await run(empty)
    assert output == "7 requests, 0 differences from docs/braze.md\n"


def add_field(name: str, value: object) -> Change:
    """Return a change that sets a field of the details."""
    return lambda body: body.update({name: value})


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (lambda body: body["segments"][3].update(id=7), f"{LIST}: id is number, not text"),
        (lambda body: body["segments"][3].update(id="a1"), "an id is no UUID"),
        (lambda body: body["segments"][3].update(tags=None), f"{LIST}: tags is null, not list"),
        (lambda body: body["segments"][3].pop("name"), f"{LIST}: the field name is missing"),
        (lambda body: body["segments"].insert(0, body["segments"][0]), "a page has more than 100 segments"),
        (lambda body: body["segments"].reverse(), f"{LIST}: the segments are not ordered by creation"),
        (lambda body: body["segments"].pop(), "a page of fewer than 100 segments is not the last one"),
        (lambda body: body.update(segments=None), f"{LIST}: segments is not a list of objects"),
        (lambda body: body.update(message=SECRET), f"{LIST}: the message is not success"),
        (lambda body: body.clear(), f"{LIST}: there is no message"),
    ],
)
async def test_a_different_list(
    sandbox: Sandbox,
    run: Run,
    change: Change,
    difference: str,
) -> None:
    """Each deviation of the first page of the list is printed."""

    def changed(request: LoggedRequest) -> Answer | None:
        if request.key != sandbox.api_key or "sort_direction" in request.query:
            return None
        body = page(sandbox, request)
        change(body)
        return Answer(body=body)

    sandbox.inject(changed, endpoint="list", page=0)
    assert difference in await run(sandbox)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (add_field("owner", SECRET), f"{DETAILS}: there is a new field owner: text"),
        (add_field(SECRET, 1), f"{DETAILS}: there is a new field with another kind of name: number"),
        (add_field("teams", [1]), f"{DETAILS}: teams contains other values than text and null"),
        (
            add_field("updated_at", "2026-07-16T19:55:53"),
            "updated_at is text and time without offset, not time",
        ),
        (add_field("name", SECRET), f"{DETAILS}: the name differs from that in the list"),
        (lambda body: body.pop("description"), f"{DETAILS}: the field description is missing"),
    ],
)
async def test_different_details(
    sandbox: Sandbox,
    run: Run,
    change: Change,
    difference: str,
) -> None:
    """Each deviation of the details is printed, without a value."""

    def changed(request: LoggedRequest) -> Answer | None:
        if (segment_id := request.query["segment_id"]) not in sandbox.segment_ids:
            return None
        body = sandbox.details(segment_id)
        change(body)
        return Answer(body=body)

    sandbox.inject(changed, endpoint="details")
    assert difference in await run(sandbox)


@pytest.mark.parametrize(
    ("answer", "endpoint", "difference"),
    [
        (
            Answer(body={"message": "success", "data": [{"time": "2026-07-16T00", "size": "1"}]}),
            "data_series",
            "size",
        ),
        (Answer(body={"message": "success", "data": []}), "data_series", "not the seven days before"),
        (Answer(status=500, body=SECRET), "data_series", f"{SIZES}: the status is 500"),
        (Answer(status=403), "details", f"{DETAILS}: the status is 403, not 200"),
        (
            Answer(status=404, body=SECRET),
            "other",
            "no-such-path (an error is expected): the body is not a JSON",
        ),
        (
            Answer(headers={"X-RateLimit-Reset": "212"}),
            "list",
            "X-RateLimit-Reset is not a Unix time on the full",
        ),
        (
            Answer(headers={"X-RateLimit-Limit": "100"}),
            "list",
            "the rate limit is not the default of 250,000",
        ),
        (
            Answer(headers={"X-RateLimit-Remaining": None}),
            "list",
            "X-RateLimit-Remaining is missing or empty",
        ),
        (Answer(headers={"X-Request-Id": None}), "list", "responses have no X-Request-Id"),
        (Answer(body="[]"), "list", f"{LIST}: the body is not a JSON object"),
        (
            Answer(body=b"\xff" * 9, headers={"Content-Length": "99"}),
            "list",
            "the check ended early: ClientPayload",
        ),
    ],
)
async def test_different_responses(
    sandbox: Sandbox,
    run: Run,
    answer: Answer,
    endpoint: Any,
    difference: str,
) -> None:
    """Each other deviation is printed: sizes, statuses, headers, and bodies that are no JSON."""
    sandbox.inject(answer, endpoint=endpoint)
    assert difference in await run(sandbox)
