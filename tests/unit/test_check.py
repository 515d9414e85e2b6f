"""`check()` reports the permissions of a key, the problems and their remedies, with a few requests."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

import pytest

from braze_segments_async import (
    AuthenticationError,
    BadRequestError,
    BrazeError,
    BrazeSegments,
    CheckReport,
    ClosedError,
    PermissionDeniedError,
    RateLimit,
    RateLimitedError,
    RetryPolicy,
)
from braze_segments_async._check import build_report
from braze_segments_async._http.endpoints import DATA_SERIES, DETAILS, LIST
from braze_segments_async.sandbox import Answer, Sandbox

URL = "https://rest.example.com"
AT_ONCE = RetryPolicy(attempts=2, backoff=0.0, max_rate_limit_wait=0.0)
ALL = dict.fromkeys(
    ["segments.list", "segments.details", "segments.data_series", "users.export.segment"], True
)


async def _checked(sandbox: Sandbox, *, key: str | None = None, base_url: str | None = None) -> CheckReport:
    url = base_url or sandbox.base_url
    async with BrazeSegments(key or sandbox.api_key, base_url=url, retry=AT_ONCE, reserve=0.0) as client:
        return await client.check()


async def test_all_permissions(sandbox: Sandbox) -> None:
    """With every permission the report is ready and has no problem, after at most four requests."""
    report = await _checked(sandbox)
    assert report.ready
    assert (report.host, report.key, report.permissions, report.problems) == (True, True, ALL, ())
    assert report.base_url == sandbox.base_url
    assert report.rate_limit is not None
    assert report.rate_limit.limit == 250_000
    assert report.rate_limit.resets_at is not None
    assert len(sandbox.requests) <= 4
    assert sandbox.count("users", 400) == 1  # nothing was started


async def test_an_empty_workspace_is_checked_with_an_unknown_id() -> None:
    """In an empty workspace, Braze's 400 to an unknown id shows the permission."""
    async with Sandbox(0) as sandbox:
        report = await _checked(sandbox)
        assert sandbox.count("details", 400) == sandbox.count("data_series", 400) == 1
    assert report.ready
    assert (report.permissions, report.problems) == (ALL, ())


async def test_a_missing_permission_is_named_with_the_remedy() -> None:
    """A key without `segments.details` is not ready; the report names the permission and where to add it."""
    async with Sandbox(5, permissions=set(ALL) - {"segments.details"}) as sandbox:
        report = await _checked(sandbox)
    assert not report.ready
    assert (report.host, report.key) == (True, True)
    assert report.permissions == ALL | {"segments.details": False}
    (problem,) = report.problems
    assert problem.startswith("the key lacks segments.details: in the dashboard under Settings > APIs and ")


async def test_size_histories_are_not_needed_for_an_export() -> None:
    """A key without `segments.data_series` is ready; the report says what is not available."""
    async with Sandbox(5, permissions=("segments.list", "segments.details")) as sandbox:
        report = await _checked(sandbox)
    assert report.ready
    assert report.problems[0].startswith(
        "the key lacks segments.data_series, which only size histories need: "
    )


async def test_a_missing_users_permission_is_no_problem(
    sandbox: Sandbox,
) -> None:
    """A missing `users.export.segment` is reported, but is no problem."""
    sandbox.inject(Answer(status=403), endpoint="users")
    report = await _checked(sandbox)
    assert (report.ready, report.problems) == (True, ())
    assert report.permissions == ALL | {"users.export.segment": False}


async def test_a_wrong_key(sandbox: Sandbox) -> None:
    """An unknown key is reported once; its permissions are unknown."""
    report = await _checked(sandbox, key="another-key")
    assert (report.host, report.key, report.ready) == (True, False, False)
    assert set(report.permissions.values()) == {None}
    (problem,) = report.problems
    assert problem.startswith("Braze does not accept the key: ")
    assert "another-key" not in repr(report)


async def test_no_host(sandbox: Sandbox) -> None:
    """An unreachable endpoint is reported with the error, and no other request is tried."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        report = await _checked(sandbox, base_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert (report.host, report.key, report.ready, report.rate_limit) == (False, None, False, None)
    (problem,) = report.problems
    assert problem.startswith("GET /segments/list (page=0): no complete response after 2 attempts: ")


@pytest.mark.parametrize("status", [301, 404, 503])
async def test_another_server(sandbox: Sandbox, status: int) -> None:
    """A server that does not answer like Braze is reported as such."""
    sandbox.inject(Answer(status=status, body="<html>"))
    report = await _checked(sandbox)
    assert (report.host, report.key, report.ready) == (False, None, False)
    assert f": {status} after " in report.problems[0]
    assert {request.endpoint for request in sandbox.requests} == {"list"}


@pytest.mark.parametrize("status", [400, 401, 403, 429])
@pytest.mark.parametrize("body", ["<html><h1>nginx</h1></html>", "", "[]"])
async def test_a_proxy_in_front_of_braze(sandbox: Sandbox, status: int, body: str) -> None:
    """An error that is not Braze's JSON shows nothing: all is unknown, and the report names the cause."""
    no_limit = dict.fromkeys(["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"])
    sandbox.inject(Answer(status=status, body=body, content_type="text/html", headers=no_limit))
    report = await _checked(sandbox)
    assert (report.host, report.key, report.ready) == (False, None, False)
    assert set(report.permissions.values()) == {None}
    (problem,) = report.problems
    assert "in front of" in problem
    assert "lacks" not in problem


async def test_a_proxy_that_refuses_one_path(sandbox: Sandbox) -> None:
    """If a firewall refuses the details only, their permission is unknown, and that of the list is not."""
    sandbox.inject(Answer(status=403, body="<html>", content_type="text/html"), endpoint="details")
    report = await _checked(sandbox)
    assert (report.host, report.key, report.ready) == (True, True, False)
    assert report.permissions["segments.list"] is True
    assert report.permissions["segments.details"] is None
    assert "in front of" in report.problems[0]


async def test_a_400_to_the_list(sandbox: Sandbox) -> None:
    """Braze answers 400 for an unknown segment only, so a 400 to the list shows no permission."""
    sandbox.inject(Answer(status=400), endpoint="list")
    report = await _checked(sandbox)
    assert (report.ready, report.permissions["segments.list"]) == (False, None)
    assert "400" in report.problems[0]


async def test_a_used_up_rate_limit_is_reported_without_waiting() -> None:
    """On a 429 the permissions are unknown, and the report says when the rate limit resets."""
    async with Sandbox(5, rate_limit=(1, 3_600.0)) as sandbox:
        await _checked(sandbox)
        report = await _checked(sandbox)
    assert (report.host, report.key, report.ready) == (True, None, False)
    assert report.rate_limit is not None
    assert report.rate_limit.remaining == 0
    (problem,) = report.problems
    assert problem.startswith("the workspace's rate limit allows no request before 20")


async def test_a_client_that_is_not_open() -> None:
    """A client that is not open raises an error."""
    with pytest.raises(ClosedError):
        await BrazeSegments("key", base_url=URL).check()


def test_a_401_for_a_missing_permission() -> None:
    """A 401 beside a success concerns the permission, not the key: Braze has been reported to answer so."""
    rate_limit = RateLimit(10, 5, datetime(2026, 11, 22, tzinfo=UTC))
    report = build_report(
        URL, {LIST: None, DETAILS: AuthenticationError(status=401), DATA_SERIES: None}, rate_limit
    )
    assert (report.key, report.ready, report.rate_limit) == (True, False, rate_limit)
    assert report.permissions == ALL | {"segments.details": False, "users.export.segment": None}


def test_a_key_of_another_instance() -> None:
    """The problem names the instance that was checked, because a key works on one instance only."""
    report = build_report("https://rest.iad-01.braze.com", {LIST: AuthenticationError(status=401)}, None)
    assert report.key is False
    assert "; rest.iad-01.braze.com is US-01, and a key works on its own instance only" in report.problems[0]


@pytest.mark.parametrize(
    ("error", "granted"),
    [
        (None, True),
        (BadRequestError(status=400), True),
        (PermissionDeniedError(status=403), False),
        (RateLimitedError(status=429), None),
        (BrazeError("?"), None),
    ],
)
def test_which_response_shows_a_permission(error: BrazeError | None, granted: bool | None) -> None:  # noqa: FBT001
    """200 and 400 show a permission, 403 denies it, and any other response leaves it unknown."""
    report = build_report(URL, {LIST: None, DETAILS: error}, None)
    assert report.permissions == {
        "segments.list": True,
        "segments.details": granted,
        "segments.data_series": None,
        "users.export.segment": None,
    }
    assert report.ready is (granted is True)
