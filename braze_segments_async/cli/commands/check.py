"""`braze-segments check`: what the API key can do."""

from __future__ import annotations

from attrs import asdict

from braze_segments_async._settings import RetryPolicy
from braze_segments_async.cli.arguments import Connection
from braze_segments_async.cli.runner import NOT_ALLOWED, run
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout

__all__ = ["check"]


def check(*, json: bool = False, connection: Connection = Connection()) -> int:  # noqa: B008 - frozen
    """Check the API key: host, permissions and remaining requests. Sends four requests at most.

    Exit codes: 0 ready to export, 1 unknown, such as without a connection, 2 wrong
    use, 5 the key is refused or lacks a permission that an export needs.

    Args:
        json: Print one JSON object.
        connection: The workspace.
    """

    async def work() -> int:
        # Imported here, as --help needs neither.
        from braze_segments_async.cli.rendering import report_text  # noqa: PLC0415
        from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415

        # Report a pause, do not wait for its end; and allow these few requests to use the reserve.
        retry = RetryPolicy(attempts=3, max_rate_limit_wait=0.0)
        async with connection.client(retry=retry, reserve=0.0) as client:
            report = await client.check()
        if json:
            await json_to_stdout(f"{to_json({'ready': report.ready} | asdict(report))}\n".encode())
        else:
            await to_stdout(report_text(report))
        if report.ready:
            return 0
        needed = (report.permissions.get(name) for name in ("segments.list", "segments.details"))
        return NOT_ALLOWED if report.key is False or False in needed else 1

    return run(work())
