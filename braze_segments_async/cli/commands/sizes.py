"""`braze-segments sizes`: the size histories of segments."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.ids import Ids, fetch_each, run_for_ids
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout, to_stdout
from braze_segments_async.errors import BrazeError

if TYPE_CHECKING:
    from braze_segments_async._client import BrazeSegments
    from braze_segments_async._models import SizePoint

__all__ = ["sizes"]


def sizes(
    *segments: Ids,
    days: Annotated[int, Parameter(validator=Number(gte=1))] = 30,
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Show the estimated sizes of segments per day: charts in a terminal, else NDJSON.

    The API key needs the permission segments.data_series, segments.list to find a name, and
    segments.details to show the name of an id.

    Exit codes: same as export; 3 if some segments could not be fetched.

    Args:
        segments: Ids or names of segments. With -, read them from standard input: one a line, or the output
            of list.
        days: Number of days up to today.
        json: Print NDJSON in a terminal, too: a line for each day.
        max_wait: Maximum seconds to wait for the rate limit, which resets each hour.
        connection: The workspace.
    """

    async def work(client: BrazeSegments, names: dict[str, str | None]) -> int:
        # Imported here, as --help needs neither.
        from braze_segments_async.cli.rendering import chart  # noqa: PLC0415
        from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415

        async def fetch(segment_id: str) -> tuple[str | None, list[SizePoint]]:
            points = await client.data_series(segment_id, length=days)
            name = names[segment_id]
            if name is None:
                with suppress(BrazeError):  # such as a missing permission: the sizes do not need the name
                    name = (await client.details(segment_id)).name
            return name, points

        async def show(segment_id: str, found: tuple[str | None, list[SizePoint]]) -> None:
            name, points = found
            if not json and in_terminal():
                await to_stdout(chart(segment_id, name, points))
                return
            for point in points:
                row = {"id": segment_id, "name": name, "time": point.time, "size": point.size}
                await json_to_stdout(f"{to_json(row)}\n".encode())

        return await fetch_each(client, names, fetch, show)

    return run_for_ids(sizes, segments, connection, max_wait, work)
