"""The commands about the users of a segment: their options and their help. What they do is in `fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async.cli.arguments import MAX_WAIT, Connection, MaxWait

__all__ = ["cancel", "users"]

_Fields = Annotated[tuple[str, ...], Parameter(show_default=False)]
_Output = Annotated[Path | None, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)]
_ANY = Connection()


def users(
    segment_id: str,
    /,
    *,
    fields: _Fields,
    output: _Output = None,
    overwrite: bool = False,
    timeout: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
    no_wait: bool = False,
    max_wait: MaxWait = MAX_WAIT,
    connection: Connection = _ANY,
) -> int:
    """Export the users of a segment: have Braze make a file, and fetch it.

    It takes Braze minutes, or more than an hour. The file that is written is
    there once it is whole, and nobody else can read it. Without --output, each
    user comes as a line to standard output.

    The key needs the permission users.export.segment.

    Exit codes: as export has them. Interrupted while Braze makes the file, the
    export goes on there until the command cancel ends it.

    Args:
        segment_id: Segment API identifier.
        fields: What to tell of each user, such as external_id,email; also given several times.
        output: The file: .ndjson or .jsonl for a user a line, .zip for what Braze made.
        overwrite: Replace the file if there is one, at the end and at once.
        timeout: Seconds to wait for Braze's file, at most; about four hours unless given.
        no_wait: Start the export only, for a workspace with cloud storage of its own connected.
        max_wait: Seconds to wait for the rate limit, at most; 3,900 unless given.
        connection: See there.
    """
    from .fetch import UsersArguments, run_users  # noqa: PLC0415 - --help needs none of it

    wanted = UsersArguments(
        segment_id,
        tuple(dict.fromkeys(name.strip() for each in fields for name in each.split(","))),
        None if output == Path("-") else output,
        overwrite=overwrite,
        timeout=timeout,
        no_wait=no_wait,
    )
    return run_users(connection, wanted, max_wait=max_wait)


def cancel(segment_id: str, /, *, max_wait: MaxWait = MAX_WAIT, connection: Connection = _ANY) -> int:
    """End the running exports of a segment's users, whoever has started them.

    The key needs the permission segments.list.

    Exit codes: as export has them.

    Args:
        segment_id: Segment API identifier.
        max_wait: Seconds to wait for the rate limit, at most; 3,900 unless given.
        connection: See there.
    """
    from .fetch import run_cancel  # noqa: PLC0415 - --help needs none of it

    return run_cancel(connection, segment_id, max_wait=max_wait)
