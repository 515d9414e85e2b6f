"""The client works through nginx: gzip, buffering, a limit of keep-alive, error pages, TLS, a path prefix."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from braze_segments_async import (
    BrazeSegments,
    RetryPolicy,
    ServerError,
    StatusError,
    TransportError,
)
from braze_segments_async.sandbox import Answer

if TYPE_CHECKING:
    from proxy_servers import Nginx


def _client(nginx: Nginx, url: str, **options: Any) -> BrazeSegments:
    return BrazeSegments(nginx.sandbox.api_key, base_url=url, retry=RetryPolicy(backoff=0.0), **options)


async def _assert_complete(client: BrazeSegments, nginx: Nginx) -> None:
    """Fetch all segments with details, and compare them with the sandbox."""
    details = {one.id: one async for one in client.all_details()}
    assert set(details) == set(nginx.sandbox.segment_ids)
    for segment_id, one in details.items():
        body = nginx.sandbox.details(segment_id)
        assert (one.name, one.description, list(one.tags)) == (
            body["name"],
            body["description"],
            body["tags"],
        )


async def test_gzip_buffering_and_keep_alive_limit(nginx: Nginx) -> None:
    """250 segments arrive exactly, compressed, through small buffers, with 7 requests for each connection."""
    async with _client(nginx, nginx.url) as client:
        await _assert_complete(client, nginx)
        assert client.rate_limit is not None
        assert client.rate_limit.limit == 250_000
    assert nginx.sandbox.count("details") == 250
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer sandbox-api-key"}) as session:
        async with session.get(f"{nginx.url}/segments/list") as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Server"].startswith("nginx")


async def test_path_prefix(nginx: Nginx) -> None:
    """A path in `base_url` is in front of each request, and an exported file is still found."""
    async with _client(nginx, f"{nginx.url}/a/prefix/") as client:
        await _assert_complete(client, nginx)
        assert (await client.check()).ready
    assert {request.endpoint for request in nginx.sandbox.requests} >= {"list", "details"}
    assert "GET /a/prefix/segments/list" in (nginx.folder / "access.log").read_text()


async def test_a_502_page_is_retried(nginx: Nginx) -> None:
    """The 502 page of nginx is retried, ends as `ServerError`, and is not quoted."""
    async with _client(nginx, f"{nginx.url}/down") as client:
        with pytest.raises(ServerError) as caught:
            await client.details("any")
    assert (caught.value.status, caught.value.attempts) == (502, 5)
    assert "<" not in str(caught.value)
    assert (nginx.folder / "access.log").read_text().count("GET /down/segments/details") == 5


async def test_an_outage_of_the_service_behind_it(nginx: Nginx) -> None:
    """Errors of the service behind nginx are retried, and everything arrives."""
    nginx.sandbox.inject(Answer(status=503), endpoint="details", chance=0.1, times=20)
    async with _client(nginx, nginx.url) as client:
        await _assert_complete(client, nginx)
    assert nginx.sandbox.count("details", 503) > 5


@pytest.mark.parametrize(("path", "status"), [("forbidden", 403), ("busy", 429)])
async def test_error_pages_are_not_from_braze(nginx: Nginx, path: str, status: int) -> None:
    """A 403 or 429 page of nginx is not from Braze, so the key and its permissions are unknown."""
    retry = RetryPolicy(attempts=1)
    async with BrazeSegments("key", base_url=f"{nginx.url}/{path}", retry=retry) as client:
        with pytest.raises(StatusError, match="not from Braze") as caught:
            await client.details("any")
        report = await client.check()
    assert caught.value.status == status
    assert (report.ready, report.key, set(report.permissions.values())) == (False, None, {None})


async def test_tls_with_a_private_authority(nginx: Nginx) -> None:
    """A private authority is accepted if the session knows it; otherwise nothing is sent."""
    context = ssl.create_default_context(cafile=nginx.folder / "ca.pem")
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with _client(nginx, nginx.tls_url, session=session) as client:
            await _assert_complete(client, nginx)
    asked = len(nginx.sandbox.requests)
    async with _client(nginx, nginx.tls_url) as client:
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.details("any")
    assert len(nginx.sandbox.requests) == asked
