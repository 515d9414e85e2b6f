"""`braze-segments list`: the segments, one line each."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import asdict, define, evolve
from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async._fan_out import FanOut
from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.connection import client_with_pause_notices
from braze_segments_async.cli.progress import pluralize, print_err
from braze_segments_async.cli.runner import run, usage_error
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout, pager
from braze_segments_async.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import Segment, SegmentDetails
    from braze_segments_async.cli.rendering import Column

    Row = tuple[Segment, SegmentDetails | None]

__all__ = ["list_segments"]

_Sort = Literal["created", "name", "edited", "size"]
_DETAILS_COLUMNS = frozenset(("edited", "created", "size"))
_Words = Annotated[tuple[str, ...], Parameter(show_default=False)]


def list_segments(
    *,
    name: str = "",
    tag: _Words = (),
    columns: Annotated[tuple[str, ...], Parameter(show_default="name,tags,id")] = (),
    sort: _Sort = "created",
    sort_direction: Annotated[
        Literal["asc", "desc"] | None, Parameter(show_default="asc; desc for edited and size")
    ] = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    consistency: Literal["safe", "strict", "fast"] = "safe",
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """List the segments: a table in a terminal, else NDJSON.

    Braze's list has names, tags and ids. The columns edited, created and size cost one more request for each
    segment.

    The API key needs the permission segments.list, and segments.details for these columns.

    Exit codes: same as export.

    Args:
        name: Only segments whose name contains this text, in any letter case.
        tag: Only segments with a tag that contains this text, in any letter case. If given several times, all
            of them must match.
        columns: Columns, comma-separated: name, tags, tracked, edited, created, size, id.
        sort: Order by creation, name, last edit or size. The last two cost one more request for each segment.
        sort_direction: asc for A to Z, oldest or smallest first; desc for the opposite.
        limit: Maximum number of segments.
        consistency: Protection against edits while the list is read: safe reads each page twice,
            strict reads the list in both directions until both agree, fast reads it once.
        json: Print NDJSON in a terminal, too.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """
    from braze_segments_async.cli.rendering import FIELDS  # noqa: PLC0415 - --help does without rich

    chosen = [column.strip() for text in columns for column in text.split(",")]
    if unknown := [column for column in chosen if column not in FIELDS]:
        return usage_error(f"--columns: there is no column {unknown[0]!r}; choose from {', '.join(FIELDS)}")
    descending = sort_direction == "desc" if sort_direction else sort in {"edited", "size"}
    listing = _Listing(
        name=name.casefold(),
        tags=tuple(map(str.casefold, tag)),
        columns=tuple(column for column in chosen if column in FIELDS),
        sort=sort,
        sort_direction="desc" if descending else "asc",
        limit=limit,
        consistency=consistency,
    )
    return run(_show(listing, connection, max_wait, table=in_terminal() and not json))


async def _show(listing: _Listing, connection: Connection, max_wait: float, *, table: bool) -> None:
    from braze_segments_async.cli.rendering import SegmentTable  # noqa: PLC0415 - as above

    if table and not listing.columns:
        third: Column = listing.sort if listing.sort in {"edited", "size"} else "tags"
        listing = evolve(listing, columns=("name", third, "id"))
    lines = SegmentTable(listing.columns)
    async with (
        pager() as to_pager,
        client_with_pause_notices(connection, max_wait) as client,
        aclosing(listing.rows(client)) as batches,
    ):
        async for rows in batches:
            if table and rows:
                await to_pager(lines.rows(rows))
            elif not table:
                for row in rows:
                    await json_to_stdout(listing.json_line(*row))
    if table:
        print_err(listing.summary())


@define(kw_only=True)
class _Listing:
    """The segments that were asked for, in their order.

    Attributes:
        columns: Columns of the table and fields of the JSON; empty for the default.
        shown: Number of segments so far.
        listed: Number of segments so far in the list of Braze.
    """

    name: str
    tags: tuple[str, ...]
    columns: tuple[Column, ...]
    sort: _Sort
    sort_direction: Literal["asc", "desc"]
    limit: int | None
    consistency: Literal["safe", "strict", "fast"]
    shown: int = 0
    listed: int = 0

    def json_line(self, segment: Segment, details: SegmentDetails | None) -> bytes:
        """Return a segment as JSON, with the chosen columns or all fields of the list."""
        from braze_segments_async.cli.rendering import FIELDS, column_value  # noqa: PLC0415
        from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415

        chosen = {FIELDS[column]: column_value(column, segment, details) for column in self.columns}
        return f"{to_json(chosen or asdict(segment, recurse=False))}\n".encode()

    def summary(self) -> str:
        """Return the number of segments."""
        if self.shown == self.limit and self.sort == "created":  # the list was not read to its end
            return f"{pluralize(self.shown, 'segment')}; --limit leaves out the others"
        of = f"{self.shown:,} of " if self.shown < self.listed else ""
        return f"{of}{pluralize(self.listed, 'segment')}"

    async def rows(self, client: BrazeSegments) -> AsyncGenerator[list[Row]]:
        """Yield the rows: those of each page as it comes, or all at the end if they must be sorted."""
        found: list[Segment] = []
        by_creation = self.sort == "created"
        direction = self.sort_direction if by_creation else "asc"
        listing = client.list(sort_direction=direction, consistency=self.consistency)
        async with aclosing(listing.pages()) as pages:
            async for page in pages:
                self.listed += len(page.segments)
                found += filter(self._matches, page.segments)
                if by_creation:
                    rest = None if self.limit is None else self.limit - self.shown
                    yield await self._rows(client, found[:rest])
                    found = []
                    if self.shown == self.limit:
                        return
        if not by_creation:
            yield await self._sorted_rows(client, found)

    def _matches(self, segment: Segment) -> bool:
        tags = [tag.casefold() for tag in segment.tags]
        return self.name in segment.name.casefold() and all(any(t in tag for tag in tags) for t in self.tags)

    async def _sorted_rows(self, client: BrazeSegments, segments: list[Segment]) -> list[Row]:
        from braze_segments_async.cli.rendering import column_value  # noqa: PLC0415

        descending = self.sort_direction == "desc"
        if self.sort == "name":
            segments.sort(key=lambda segment: segment.name.casefold(), reverse=descending)
            return await self._rows(client, segments[: self.limit])
        rows = await _with_details(client, segments)
        values = {row[0].id: column_value(self.sort, *row) for row in rows}
        known = [row for row in rows if values[row[0].id] is not None]
        known.sort(key=lambda row: values[row[0].id], reverse=descending)
        unknown = [row for row in rows if values[row[0].id] is None]  # last in both directions
        chosen = [*known, *unknown][: self.limit]
        self.shown += len(chosen)
        return chosen

    async def _rows(self, client: BrazeSegments, segments: list[Segment]) -> list[Row]:
        """Return the segments, with their details if a column needs them."""
        self.shown += len(segments)
        if _DETAILS_COLUMNS.isdisjoint(self.columns):
            return [(segment, None) for segment in segments]
        return await _with_details(client, segments)


async def _with_details(client: BrazeSegments, segments: list[Segment]) -> list[Row]:
    async def fetch(segment: Segment) -> Row:
        try:
            return segment, await client.details(segment.id)
        except BadRequestError:  # archived since the list was read
            return segment, None

    async with FanOut(segments, fetch, concurrency=client.concurrency, ordered=True) as stream:
        return [row async for row in stream]
