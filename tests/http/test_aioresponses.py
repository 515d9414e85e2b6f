"""Users can test their code with aioresponses, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aioresponses import CallbackResult
from aioresponses_shim import mocked
from yarl import URL

from braze_segments_async import BrazeSegments, PermissionDeniedError, RetryPolicy, SizePoint, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aioresponses import aioresponses

HOST = "https://rest.iad-01.braze.com"
LIST = f"{HOST}/segments/list?sort_direction=asc&page="
FAST = RetryPolicy(backoff=0.0)


@pytest.fixture
def braze() -> Iterator[aioresponses]:
    """Yield a mock that answers all requests of aiohttp in this process."""
    with mocked() as mock:
        yield mock


async def test_a_listing_with_details(braze: aioresponses) -> None:
    """Pages and details are those of the test; the key is sent as usual, and nothing else is requested."""
    rows = [{"id": f"id-{number}", "name": f"Segment {number}"} for number in range(101)]
    # All pages but the last are read twice.
    braze.get(f"{LIST}0", payload={"message": "success", "segments": rows[:100]}, repeat=True)
    braze.get(f"{LIST}1", payload={"message": "success", "segments": rows[100:]})
    for row in rows:
        braze.get(
            f"{HOST}/segments/details?segment_id={row['id']}",
            payload={"message": "success", "name": row["name"], "description": f"of {row['id']}"},
            headers={"X-RateLimit-Limit": "250000", "X-RateLimit-Remaining": "249000"},
        )
    async with BrazeSegments("KEY", base_url=HOST) as segments:
        found = {details.id: details.description async for details in segments.all_details()}
        limit = segments.rate_limit
    assert found == {row["id"]: f"of {row['id']}" for row in rows}
    assert limit is not None
    assert (limit.limit, limit.remaining) == (250_000, 249_000)
    assert len(braze.requests) == 103
    call, _ = braze.requests[("GET", URL(f"{HOST}/segments/list?page=0&sort_direction=asc"))]
    assert call.kwargs["allow_redirects"] is False


async def test_errors_and_retries(braze: aioresponses) -> None:
    """A status, an exception of aiohttp or a malformed body has the usual error or retry."""
    details = f"{HOST}/segments/details?segment_id=a"
    braze.get(details, status=403, payload={"message": "no"})
    braze.get(details, exception=aiohttp.ServerDisconnectedError())
    braze.get(details, status=503, body="<html>", content_type="text/html")
    braze.get(details, payload={"message": "success", "name": "A"})
    braze.get(details, exception=aiohttp.ClientConnectionError(), repeat=True)
    async with BrazeSegments("KEY", base_url=HOST, retry=FAST) as segments:
        with pytest.raises(PermissionDeniedError, match=r"segments\.details"):
            await segments.details("a")
        assert (await segments.details("a")).name == "A"
        with pytest.raises(TransportError, match="after 5 attempts") as caught:
            await segments.details("a")
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_with_a_session_and_callbacks(braze: aioresponses) -> None:
    """A given session is used and remains open; callbacks see the headers."""
    seen: list[str] = []

    def answer(url: URL, **kwargs: Any) -> CallbackResult:
        seen.append(str(kwargs["headers"]["Authorization"]))
        days = [{"time": "2026-11-20", "size": int(url.query["length"])}]
        return CallbackResult(payload={"message": "success", "data": days})

    braze.get(f"{HOST}/segments/data_series?length=7&segment_id=a", callback=answer)
    async with aiohttp.ClientSession() as session:
        async with BrazeSegments("KEY", base_url=HOST, session=session) as segments:
            (point,) = await segments.data_series("a", length=7)
        assert not session.closed
    assert (point.size, type(point)) == (7, SizePoint)
    assert seen == ["Bearer KEY"]


def test_the_shim_says_when_it_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shim raises if aioresponses supports the installed aiohttp."""
    monkeypatch.setattr("aioresponses_shim._is_needed", lambda: True)
    monkeypatch.setattr("aioresponses_shim._works_unpatched", lambda: True)
    with pytest.raises(RuntimeError, match="delete"), mocked():
        pass
