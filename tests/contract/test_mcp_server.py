"""The models of Braze's own MCP server accept every response of the sandbox.

They need Python 3.12 and the package `braze-mcp-server`, which `make contract` installs.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from braze_segments_async import BrazeSegments

if TYPE_CHECKING:
    from braze_segments_async.sandbox import Sandbox

REASON = "braze-mcp-server is not installed; run: make contract"
# Its dependencies warn about each other.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def _model(name: str) -> Any:
    return getattr(pytest.importorskip("braze_mcp.models.segments", reason=REASON), name)


async def test_models_accept_every_response(sandbox: Sandbox) -> None:
    """Its pydantic models accept every page, details body and data series of 250 segments, unchanged."""
    import aiohttp  # noqa: PLC0415 - not before the skip

    pages, details, series = (
        _model(name) for name in ("SegmentListResponse", "SegmentDetails", "SegmentDataSeriesResponse")
    )
    headers = {"Authorization": f"Bearer {sandbox.api_key}"}
    ids: list[str] = []
    async with aiohttp.ClientSession(sandbox.base_url, headers=headers) as session:

        async def fetch(model: Any, path: str, **params: Any) -> Any:
            async with session.get(f"/segments/{path}", params=params) as response:
                body = await response.json()
            accepted = model.model_validate(body)
            assert accepted.model_dump(exclude_unset=True).items() <= body.items()
            return accepted

        for page in range(4):
            ids += [segment.id for segment in (await fetch(pages, "list", page=page)).segments]
        for segment_id in ids:
            await fetch(details, "details", segment_id=segment_id)
            await fetch(series, "data_series", segment_id=segment_id, length=100)
    assert ids == sandbox.segment_ids


async def test_the_server_agrees_with_the_client(sandbox: Sandbox) -> None:
    """The MCP server, run over stdio against the sandbox, returns the same segments as the client."""
    _model("SegmentDetails")
    mcp, stdio = pytest.importorskip("mcp"), pytest.importorskip("mcp.client.stdio")
    variables = {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
    server = mcp.StdioServerParameters(
        command=sys.executable, args=["-m", "braze_mcp.main"], env={**os.environ, **variables}
    )
    with open(os.devnull, "w") as log:  # noqa: ASYNC230, PTH123 - a device
        async with stdio.stdio_client(server, errlog=log) as streams, mcp.ClientSession(*streams) as session:
            await session.initialize()

            async def call(name: str, **parameters: Any) -> Any:
                arguments = {"function_name": name, "parameters": parameters}
                result = await session.call_tool("call_function", arguments)
                answer = json.loads(result.content[0].text)
                return answer["data"], answer["schema"]["model_name"]

            first, second, *_ = sandbox.segment_ids
            rows, list_model = await call("get_segment_list", page=0, sort_direction="asc")
            details, details_model = await call("get_segment_details", segment_id=first)
            series, series_model = await call(
                "get_segment_data_series", segment_id=second, length=7, ending_at="2026-06-01T23:59:59Z"
            )
    assert [list_model, details_model, series_model] == [
        "SegmentListResponse",
        "SegmentDetails",
        "SegmentDataSeriesResponse",
    ]
    async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
        ours = [segment async for segment in client.list()]
        one = await client.details(first)
    assert [row["id"] for row in rows["segments"]] == [segment.id for segment in ours[:100]]
    assert (details["name"], details["description"]) == (one.name, one.description)
    assert [point["time"] for point in series["data"]][-1] == "2026-06-01"
