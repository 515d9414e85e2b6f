"""Unusual but valid responses are read exactly; others are a `ReplyError`, and the client remains usable."""

from __future__ import annotations

from contextlib import nullcontext, suppress

import pytest
from fault_client import client_of
from raw_server import RawServer, answer, changed, with_unknown_field

from braze_segments_async import ReplyError


async def test_read_exactly() -> None:
    """Lone surrogates, 4,000 digits, escapes and unknown fields are read exactly."""
    name = "lone \ud800, pair 😀, nul \x00, rtl \u202e"
    body = changed(every={"name": name, "digits": int("7" * 4_000), "deep": [[{"a": [None, 1.5]}]]})
    async with RawServer(answer(200, body)) as server, client_of(server.base_url) as client:
        details = await client.details(server.ids[0])
    assert details.name == name
    assert details.extra["digits"] == int("7" * 4_000)
    assert details.extra["deep"] == [[{"a": [None, 1.5]}]]


async def test_null_optionals() -> None:
    """Null or missing optionals are `None`, or empty for tags and teams; null tags are dropped."""
    row = {"id": "a", "name": "A", "tags": None, "analytics_tracking_enabled": None}
    rows = [row, {"id": "b", "name": "B"}, {"id": "c", "name": "", "tags": ["x", None]}]
    async with (
        RawServer(answer(200, changed(list={"segments": rows}))) as server,
        client_of(server.base_url) as client,
    ):
        got = [(one.id, one.tags, one.analytics_tracking_enabled) async for one in client.list()]
        assert got == [("a", (), None), ("b", (), None), ("c", ("x",), None)]
    bare = b'{"message": "success", "name": "A"}'
    async with RawServer(answer(200, bare)) as server, client_of(server.base_url) as client:
        details = await client.details("a")
        assert (details.description, details.tags, details.created_at, details.extra) == (None, (), None, {})


@pytest.mark.parametrize("depth", [10, 500, 990, 5_000, 100_000])
async def test_nesting(depth: int) -> None:
    """Nesting of any depth is read or a `ReplyError`; the client remains usable."""
    fault = answer(200, with_unknown_field(b"[" * depth + b"]" * depth))
    async with RawServer(fault, times=2) as server, client_of(server.base_url) as client:
        refused = pytest.raises(ReplyError, match="nested too deeply")
        with nullcontext() if depth < 500 else refused if depth > 5_000 else suppress(ReplyError):
            assert (await client.details(server.ids[0])).extra["new"] is not None
        server.fault = None
        assert (await client.details(server.ids[0])).name
