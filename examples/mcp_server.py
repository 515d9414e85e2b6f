"""MCP server: an assistant can search the segments of a workspace. It is read-only, and reads no users.

`python mcp_server.py` speaks MCP over standard input and output. It needs `mcp>=2`. Set `BRAZE_API_KEY` and
`BRAZE_BASE_URL`; otherwise it serves a local sandbox. It answers from memory, and fetches all segments at its
start and every 15 minutes.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, NamedTuple

from attrs import evolve
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from braze_segments_async import BrazeError, BrazeSegments, SegmentDetails
from braze_segments_async.cache import SegmentCache
from braze_segments_async.catalogue import Catalogue, CatalogueSegment, audit
from braze_segments_async.sandbox import Sandbox

Limit = Annotated[int, Field(ge=1, le=100, description="Maximum number of results")]
Offset = Annotated[int, Field(ge=0, description="Number of results to skip, for the next page")]
EARLY = datetime.min.replace(tzinfo=UTC)
READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


class Segment(BaseModel, from_attributes=True):
    """A segment with its details."""

    id: str
    name: str
    description: str | None = Field(description="Filters of the segment, in words")
    text_description: str | None = Field(description="Description written by a person")
    tags: list[str]
    teams: list[str]
    created_at: datetime | None
    updated_at: datetime | None
    estimated_size: float | None


class Size(BaseModel, from_attributes=True):
    """The estimated number of users on a day."""

    time: date
    size: float


class Search(BaseModel):
    """A part of the results of a search."""

    segments: list[Segment]
    total: int
    has_more: bool = Field(description="Whether a larger offset returns more")


class Sizes(BaseModel):
    """A size history, oldest day first."""

    sizes: list[Size]
    has_more: bool = Field(description="Whether there may be earlier days")


class Named(BaseModel, from_attributes=True):
    """A segment in a finding."""

    id: str
    name: str


class Finding(BaseModel, from_attributes=True):
    """A reason to look at segments."""

    rule: str
    why: str
    check: str = Field(description="What to check first")
    segments: list[Named]


class Audit(BaseModel):
    """A part of the findings of an audit, which are candidates for a clean-up, and not known to be unused."""

    findings: list[Finding]
    total: int
    has_more: bool


class State(NamedTuple):
    """State that all tools share: the client and the cached segments."""

    client: BrazeSegments
    cache: SegmentCache


@asynccontextmanager
async def lifespan(_: MCPServer[State]) -> AsyncIterator[State]:
    """Open the client and the cache."""
    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" in os.environ:
            client = BrazeSegments.from_env()
        else:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
        await stack.enter_async_context(client)
        yield State(client, await stack.enter_async_context(SegmentCache(client, max_age=900)))


server = MCPServer(
    "braze-segments",
    instructions="Segments of a Braze workspace. Sizes are estimates. No tool tells whether one is used.",
    lifespan=lifespan,
)


@contextmanager
def tool_errors() -> Iterator[None]:
    """Show the message of an error of Braze to the assistant. It contains no key."""
    try:
        yield
    except BrazeError as error:
        raise ToolError(str(error)) from None


def search(found: list[SegmentDetails], limit: int, offset: int) -> Search:
    """Return a part of the segments, the last edited ones first."""
    found.sort(key=lambda segment: segment.updated_at or EARLY, reverse=True)
    shown = [Segment.model_validate(segment) for segment in found[offset : offset + limit]]
    return Search(segments=shown, total=len(found), has_more=offset + limit < len(found))


@server.tool(annotations=READ_ONLY)
async def search_segments(
    context: Context[State, Any], text: str = "", tag: str = "", limit: Limit = 20, offset: Offset = 0
) -> Search:
    """Find segments by words in the name, filters, note and tags, or by a tag; the last edited ones first."""
    words, found = text.casefold().split(), []
    with tool_errors():
        for segment in await context.request_context.lifespan_context.cache.all():
            parts = (segment.name, segment.description or "", segment.text_description or "", *segment.tags)
            content = " ".join(parts).casefold()
            if (not tag or tag in segment.tags) and all(word in content for word in words):
                found.append(segment)
    return search(found, limit, offset)


@server.tool(annotations=READ_ONLY)
async def audit_segments(context: Context[State, Any], limit: Limit = 20, offset: Offset = 0) -> Audit:
    """Return what needs attention, such as same filters, copies, and stale, empty or untagged segments."""
    fields = frozenset(Segment.model_fields)
    with tool_errors():
        segments = await context.request_context.lifespan_context.cache.all()
    values = ({name: getattr(segment, name) for name in fields} for segment in segments)
    found = audit(Catalogue(segments=tuple(CatalogueSegment(**each, fields=fields) for each in values)))
    # A finding can be about one segment or about thousands.
    shown = [evolve(each, segments=each.segments[:100]) for each in found[offset : offset + limit]]
    findings = [Finding.model_validate(each) for each in shown]
    return Audit(findings=findings, total=len(found), has_more=offset + limit < len(found))


@server.tool(annotations=READ_ONLY)
async def diff_since(
    context: Context[State, Any], day: date, limit: Limit = 20, offset: Offset = 0
) -> Search:
    """Return the segments created or edited since a day (UTC). Archived ones are not known."""
    moment = datetime.combine(day, time(), UTC)
    with tool_errors():
        segments = await context.request_context.lifespan_context.cache.all()
    return search([each for each in segments if each.updated_at and each.updated_at >= moment], limit, offset)


@server.tool(annotations=READ_ONLY)
async def get_segment(context: Context[State, Any], segment_id: str) -> Segment:
    """Return the details of a segment, by the id from search_segments."""
    with tool_errors():
        segment = await context.request_context.lifespan_context.cache.get(segment_id)
    if segment is None:
        raise ToolError("there is no segment with this id; search_segments returns ids")
    return Segment.model_validate(segment)


@server.tool(annotations=READ_ONLY)
async def segment_sizes(context: Context[State, Any], segment_id: str, limit: Limit = 30) -> Sizes:
    """Return the estimated sizes of a segment on the last days; one request to Braze."""
    with tool_errors():
        client = context.request_context.lifespan_context.client
        points = await client.data_series(segment_id, length=limit)
    return Sizes(sizes=[Size.model_validate(point) for point in points], has_more=len(points) == limit)


if __name__ == "__main__":
    server.run()
