"""A service that holds all segments in memory and refreshes them every few minutes.

Uses Braze if `BRAZE_API_KEY` and `BRAZE_BASE_URL` are set, and a local sandbox otherwise. `REFRESHES` is the
number of refreshes (default: 2), and `EVERY` the pause between them in seconds.
"""

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack

from braze_segments_async import BrazeError, BrazeSegments, SegmentDetails
from braze_segments_async.sandbox import Sandbox

logger = logging.getLogger("service")


async def refresh(segments: BrazeSegments) -> dict[str, SegmentDetails]:
    """Return all segments with their details, or raise an error."""
    return {details.id: details async for details in segments.all_details()}


async def main() -> None:
    """Refresh with one client; a failed refresh keeps the previous segments."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    catalogue: dict[str, SegmentDetails] = {}
    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" in os.environ:
            client = BrazeSegments.from_env()
        else:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
        segments = await stack.enter_async_context(client)
        for _ in range(int(os.environ.get("REFRESHES", "2"))):
            try:
                catalogue = await refresh(segments)
            except BrazeError as error:
                logger.warning("kept %d segments: %s", len(catalogue), error)
            else:
                logger.info("%d segments", len(catalogue))
            await asyncio.sleep(float(os.environ.get("EVERY", "0")))


if __name__ == "__main__":
    asyncio.run(main())
