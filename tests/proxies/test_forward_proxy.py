"""The client works through tinyproxy: plain HTTP, a tunnel for TLS, a password, a users export."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest

from braze_segments_async import BrazeError, BrazeSegments, RetryPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from proxy_servers import ForwardProxy, Nginx

    from braze_segments_async.sandbox import Sandbox

AT_ONCE = RetryPolicy(backoff=0.0)
PASSWORD = "BasicAuth user secret"


async def test_segments_and_users_through_the_proxy(
    sandbox: Sandbox, forward_proxy: ForwardProxy, tmp_path: Path
) -> None:
    """Segments come through the proxy, and so does the file of a users export, from another host."""
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, proxy=forward_proxy.url, retry=AT_ONCE
    ) as client:
        ids = [details.id async for details in client.all_details()]
        assert sorted(ids) == sorted(sandbox.segment_ids)
        export = await client.export_users(ids[0], fields=["email"])
        users = await export.save(tmp_path / "users.zip")
    assert users
    log = forward_proxy.log.read_text()
    assert f"GET {sandbox.base_url}/segments/list" in log
    assert "/segment-export/" in log
    assert sandbox.api_key not in log
    assert all("Via" in request.headers for request in [*sandbox.requests, *sandbox.file_requests])
    assert not any("Authorization" in request.headers for request in sandbox.file_requests)


async def test_a_tunnel_for_tls(nginx: Nginx, forward_proxy: ForwardProxy) -> None:
    """With TLS the proxy sees a tunnel to the host, and neither the paths nor the key."""
    context = ssl.create_default_context(cafile=nginx.folder / "ca.pem")
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, proxy=forward_proxy.url) as session:
        async with BrazeSegments(
            nginx.sandbox.api_key, base_url=nginx.tls_url, session=session, retry=AT_ONCE
        ) as client:
            assert len([details async for details in client.all_details()]) == 250
    log = forward_proxy.log.read_text()
    assert "CONNECT localhost:" in log
    assert "/segments/" not in log


@pytest.mark.parametrize("forward_proxy", [PASSWORD], indirect=True)
@pytest.mark.parametrize(("user", "allowed"), [("user:secret@", True), ("user:wrong@", False), ("", False)])
async def test_a_proxy_with_a_password(
    sandbox: Sandbox, forward_proxy: ForwardProxy, user: str, *, allowed: bool
) -> None:
    """User and password are part of the proxy's URL; without them nothing reaches Braze."""
    url = forward_proxy.url.replace("//", f"//{user}")
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, proxy=url, retry=AT_ONCE) as client:
        if allowed:
            assert len([segment async for segment in client.list()]) == 250
        else:
            with pytest.raises(BrazeError) as caught:
                await client.details(sandbox.segment_ids[0])
            assert "secret" not in str(caught.value)
    assert bool(sandbox.requests) is allowed


async def test_a_proxy_that_is_gone(sandbox: Sandbox) -> None:
    """A proxy that does not accept connections is a `BrazeError`, and nothing goes around it."""
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, proxy="http://127.0.0.1:9", retry=AT_ONCE
    ) as client:
        with pytest.raises(BrazeError):
            await client.details(sandbox.segment_ids[0])
    assert not sandbox.requests
