"""`examples/mcp_server.py`, driven by the client of the SDK; run by `make recipes`."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cli_helpers import ROOT, environment

from braze_segments_async.sandbox import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from braze_segments_async.sandbox import Sandbox

pytestmark = pytest.mark.skipif("RECIPES" not in os.environ, reason="run by make recipes")


@asynccontextmanager
async def connected(sandbox: Sandbox | None, **more: str) -> AsyncIterator[Any]:
    """Yield the SDK's client, connected to the server in a process of its own."""
    from mcp import Client, StdioServerParameters  # noqa: PLC0415 - only installed for recipes

    script = str(ROOT / "examples" / "mcp_server.py")
    arguments = ["-W", "error::UserWarning", script]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment(sandbox, **more))
    async with Client(server) as client:
        yield client


async def result(client: Any, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, and return its structured result."""
    called = await client.call_tool(tool, arguments)
    assert not called.is_error, called.content
    found: dict[str, Any] = called.structured_content
    return found


async def error(client: Any, tool: str, **arguments: Any) -> str:
    """Call a tool that fails, and return the message."""
    called = await client.call_tool(tool, arguments)
    assert called.is_error
    return str(called.content[0].text)


async def test_tools(sandbox: Sandbox) -> None:
    """Each tool is read-only, says so, and has schemas for its arguments and its result."""
    async with connected(sandbox) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) >= {"search_segments", "get_segment", "segment_sizes", "diff_since", "audit_segments"}
    for tool in tools.values():
        assert tool.annotations.read_only_hint is True
        assert tool.description
        assert tool.output_schema["type"] == "object"
        assert "context" not in tool.input_schema["properties"]
        limit = tool.input_schema["properties"].get("limit", {"maximum": 100})
        assert limit["maximum"] == 100


async def test_search_and_details(sandbox: Sandbox) -> None:
    """A search finds all segments page by page; details and sizes are those of the workspace."""
    async with connected(sandbox) as client:
        ids: list[str] = []
        more = True
        while more:
            found = await result(client, "search_segments", limit=100, offset=len(ids))
            ids += [segment["id"] for segment in found["segments"]]
            more = found["has_more"]
        assert (found["total"], sorted(ids)) == (250, sorted(sandbox.segment_ids))
        tagged = await result(client, "search_segments", tag="CRM", limit=100)
        assert tagged["total"] == sum(
            "CRM" in (sandbox.details(i)["tags"] or []) for i in sandbox.segment_ids
        )
        name = sandbox.segment(ids[0])["name"]
        named = await result(client, "search_segments", text=name.upper(), limit=1)
        assert named["segments"][0]["name"].casefold() == name.casefold()
        edited = sorted(sandbox.details(segment_id)["updated_at"] for segment_id in sandbox.segment_ids)
        since = await result(client, "diff_since", day=edited[-3][:10], limit=1)
        expected = sum(moment >= edited[-3][:10] for moment in edited)
        assert (since["total"], since["segments"][0]["updated_at"][:19]) == (expected, edited[-1][:19])
        details = await result(client, "get_segment", segment_id=ids[0])
        assert (details["id"], details["description"]) == (ids[0], sandbox.details(ids[0])["description"])
        sizes = await result(client, "segment_sizes", segment_id=ids[0], limit=7)
        assert (len(sizes["sizes"]), sizes["has_more"]) == (7, True)
    assert sandbox.count("details") == 250


async def test_audit(sandbox: Sandbox) -> None:
    """The audit finds segments of the workspace, at most a hundred in each finding, page by page."""
    async with connected(sandbox) as client:
        first = await result(client, "audit_segments", limit=2)
        rest = await result(client, "audit_segments", limit=100, offset=2)
    findings = first["findings"] + rest["findings"]
    assert (first["has_more"], len(first["findings"])) == (True, 2)
    assert {"copy-name", "stale"} <= {finding["rule"] for finding in findings}
    found = {segment["id"] for finding in findings for segment in finding["segments"]}
    assert found <= set(sandbox.segment_ids)
    assert max(len(finding["segments"]) for finding in findings) <= 100


async def test_errors(sandbox: Sandbox) -> None:
    """A wrong id, a limit above 100 and an error of Braze are errors with a message, without the key."""
    sandbox.inject(Answer(status=403), endpoint="data_series")
    async with connected(sandbox) as client:
        assert "search_segments returns ids" in await error(client, "get_segment", segment_id="no-such-id")
        assert "100" in await error(client, "search_segments", limit=101)
        message = await error(client, "segment_sizes", segment_id=sandbox.segment_ids[0])
    assert "segments.data_series" in message
    assert sandbox.api_key not in message
