"""Exports in child processes, for tests that kill them or simulate a full disk.

The processes are forked from this one, because importing takes longer than exporting. Each line of JSON on
standard input starts an export; the pid, an error of the export and the exit code are written to standard
output, a line each.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from typing import Any

from braze_segments_async import BrazeError, BrazeSegments, RetryPolicy
from braze_segments_async.export import export_segments


async def _export(order: dict[str, Any]) -> None:
    async with BrazeSegments(
        order["key"], base_url=order["base_url"], retry=RetryPolicy(backoff=0.0)
    ) as client:
        await export_segments(client, order["target"], **order["options"])


def _export_process(order: dict[str, Any]) -> int:
    if order["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"],) * 2)
    try:
        asyncio.run(_export(order))
    except BrazeError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)  # noqa: T201
        return 1
    return 0


def main() -> None:
    """Start exports until standard input ends."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os._exit(_export_process(json.loads(line)))
        print(json.dumps({"pid": pid}), flush=True)  # noqa: T201
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
