"""`braze-segments sizes`: the size histories of segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait
from braze_segments_async.cli.connection import client_with_pause_notices
from braze_segments_async.cli.ids import Ids, fetch_each, run_for_ids
from braze_segments_async.cli.stdio import in_terminal, json_to_stdout, to_stdout

if TYPE_CHECKING:
    from braze_segments_async._models import SizePoint

__all__ = ["sizes"]


def sizes(
    *ids: Ids,
    days: Annotated[int, Parameter(validator=Number(gte=1))] = 30,
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = Connection(),  # noqa: B008 - frozen
) -> int:
    """Show the estimated sizes of segments per day: charts in a terminal, else NDJSON.

    The API key needs the permission segments.data_series.

    Exit codes: same as export; 3 if some segments could not be fetched.

    Args:
        ids: Segment API identifiers. With -, read them from standard input: one a line, or the output of
            list.
        days: Number of days up to today; 30 by default.
        json: Print NDJSON in a terminal, too: a line for each day.
        max_wait: Maximum seconds to wait for the rate limit; 3,900 by default.
        connection: The workspace.
    """

    async def work(segment_ids: list[str]) -> int:
        # Imported here, as --help needs neither.
        from braze_segments_async.cli.rendering import chart  # noqa: PLC0415
        from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415

        async def show(segment_id: str, points: list[SizePoint]) -> None:
            if not json and in_terminal():
                await to_stdout(chart(segment_id, points))
                return
            for point in points:
                line = to_json({"id": segment_id, "time": point.time, "size": point.size})
                await json_to_stdout(f"{line}\n".encode())

        async with client_with_pause_notices(connection, max_wait) as client:
            return await fetch_each(
                client, segment_ids, lambda segment_id: client.data_series(segment_id, length=days), show
            )

    return run_for_ids(ids, work)
