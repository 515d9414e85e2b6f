"""The commands that read: their options and their help. What they do is imported when it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait

__all__ = ["check", "details", "diff", "list_segments", "sizes"]

# A single hyphen among ids is not an option; what else begins with one is refused by `ids_from`.
_Ids = Annotated[str, Parameter(allow_leading_hyphen=True, show_default=False)]
_File = Annotated[Path, Parameter(allow_leading_hyphen=True)]
_Tags = Annotated[tuple[str, ...], Parameter(show_default=False)]
_ANY = Connection()


def list_segments(
    *,
    name: str = "",
    tag: _Tags = (),
    sort_direction: Literal["asc", "desc"] = "asc",
    consistency: Literal["safe", "strict", "fast"] = "safe",
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = _ANY,
) -> int:
    """List the segments: a table in a terminal, else NDJSON.

    The key needs the permission segments.list.

    Args:
        name: Only names that hold this text, in any letter case.
        tag: Only segments with a tag that holds this text, in any letter case; given twice, both.
        sort_direction: asc, unless given: oldest created first; desc newest first.
        consistency: safe reads pages twice, so that edits meanwhile hide no segment; fast reads them once;
            strict walks the list until two walks agree.
        json: NDJSON in a terminal, too.
        max_wait: Seconds to wait for the rate limit, at most; 3,900 unless given.
        connection: See there.
    """
    from braze_segments_async.cli.connection import list_segments as work  # noqa: PLC0415 - see above
    from braze_segments_async.cli.runner import run  # noqa: PLC0415

    def wanted(its_name: str, its_tags: tuple[str, ...]) -> bool:
        return name.casefold() in its_name.casefold() and all(
            any(text.casefold() in its.casefold() for its in its_tags) for text in tag
        )

    walk = {"sort_direction": sort_direction, "consistency": consistency}
    return run(work(connection, wanted, walk, json=json, max_wait=max_wait))


def details(
    *ids: _Ids,
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = _ANY,
) -> int:
    """Show the details of segments: NDJSON, or for a single one in a terminal a text.

    The key needs the permission segments.details.

    Exit codes: as export has them; 3 if some ids could not be had.

    Args:
        ids: Segment API identifiers; - reads them from standard input, one a line or as list writes them.
        json: NDJSON in any case.
        max_wait: Seconds to wait for the rate limit, at most; 3,900 unless given.
        connection: See there.
    """
    from braze_segments_async.cli.connection import details as work  # noqa: PLC0415 - see above
    from braze_segments_async.cli.connection import run_for  # noqa: PLC0415

    return run_for(ids, lambda found: work(connection, found, json=json, max_wait=max_wait))


def sizes(
    *ids: _Ids,
    days: Annotated[int, Parameter(validator=Number(gte=1))] = 30,
    json: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = _ANY,
) -> int:
    """Show the estimated sizes of segments per day: a chart in a terminal, else NDJSON.

    The key needs the permission segments.data_series.

    Exit codes: as export has them; 3 if some ids could not be had.

    Args:
        ids: Segment API identifiers; - reads them from standard input, one a line or as list writes them.
        days: How many, up to today; 30 unless given.
        json: NDJSON in a terminal, too: a line for each day.
        max_wait: Seconds to wait for the rate limit, at most; 3,900 unless given.
        connection: See there.
    """
    from braze_segments_async.cli.connection import run_for  # noqa: PLC0415 - see above
    from braze_segments_async.cli.connection import sizes as work  # noqa: PLC0415

    return run_for(ids, lambda found: work(connection, found, days=days, json=json, max_wait=max_wait))


def check(*, json: bool = False, connection: Connection = _ANY) -> int:
    """Check the key: host, permissions and what is left of the rate limit. Four requests at most.

    Exit codes: 0 an export can be made, 1 something it needs is missing, 2 wrong use.

    Args:
        json: One JSON object.
        connection: See there.
    """
    from braze_segments_async.cli.connection import check as work  # noqa: PLC0415 - see above
    from braze_segments_async.cli.runner import run  # noqa: PLC0415

    return run(work(connection, json=json))


def diff(old: _File, new: _File, /, *, json: bool = False) -> int:
    """Tell what two exports differ in. Braze is not asked.

    Exit codes, as diff has them: 0 no difference, 1 some, 2 trouble. A segment that failed in one of the
    exports is unknown, which counts as a difference.

    Args:
        old: An export in NDJSON or CSV; - is standard input, NDJSON.
        new: A later one.
        json: NDJSON: a line for each difference.
    """
    from .diff import differences  # noqa: PLC0415 - see above

    return differences(old, new, json=json)
