"""Exports in processes of their own, for tests that kill them or fill their disk.

Forked from one process, because importing takes longer than exporting. An order is a line of JSON on standard
input; the answers are the pid, whatever the export raised, and how the process ended, a line each.
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


def _child(order: dict[str, Any]) -> int:
    if order["largest_file"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"],) * 2)
    try:
        asyncio.run(_export(order))
    except BrazeError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), flush=True)  # noqa: T201
        return 1
    return 0


def main() -> None:
    """Take orders until there are no more."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os._exit(_child(json.loads(line)))
        print(json.dumps({"pid": pid}), flush=True)  # noqa: T201
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
