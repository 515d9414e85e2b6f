"""An error status is reported even if the body cannot be read."""

from __future__ import annotations

import pytest
from fault_client import client_of
from raw_server import RawServer, answer

from braze_segments_async import (
    AuthenticationError,
    BrazeError,
    PermissionDeniedError,
    RateLimitedError,
    RedirectError,
    RetryPolicy,
    ServerError,
)

GZIP = {"Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("status", "headers", "error", "requests"),
    [
        (401, GZIP, AuthenticationError, 1),
        (403, {"Content-Encoding": "br"}, PermissionDeniedError, 1),
        (302, {**GZIP, "Location": "https://elsewhere.example/"}, RedirectError, 1),
        (429, {**GZIP, "Retry-After": "600"}, RateLimitedError, 1),
        (503, {"Content-Encoding": "br"}, ServerError, 5),
    ],
)
async def test_an_error_whose_body_cannot_be_read(
    status: int, headers: dict[str, str], error: type[BrazeError], requests: int
) -> None:
    """An error with an unreadable body has the type, the retries and the headers of its status."""
    async with RawServer(answer(status, b"", headers)) as server, client_of(server.base_url) as client:
        with pytest.raises(error) as caught:
            await client.details(server.ids[0])
        assert len(server.requests) == requests
        if isinstance(caught.value, RateLimitedError):
            assert caught.value.retry_after == 600


async def test_an_error_page_beyond_the_cap() -> None:
    """An error with an endless body is the error of its status, and is not retried."""
    async with (
        RawServer(answer(403, b"x" * 50_000_000)) as server,
        client_of(server.base_url, retry=RetryPolicy(backoff=0.0)) as client,
    ):
        with pytest.raises(PermissionDeniedError):
            await client.details(server.ids[0])
        assert len(server.requests) == 1
