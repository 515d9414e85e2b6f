"""A service that holds all segments in memory, and refreshes them in the background.

Uses Braze if `BRAZE_API_KEY` and `BRAZE_BASE_URL` are set, and a local sandbox otherwise. `REFRESHES` is the
number of refreshes (default: 2), and `MAX_AGE` the seconds between them (default: 0.1).
"""

import asyncio
import logging
import os
import sys
from contextlib import AsyncExitStack

from braze_segments_async import BrazeSegments, SegmentDetails
from braze_segments_async.cache import SegmentCache
from braze_segments_async.sandbox import Sandbox

logger = logging.getLogger("service")


async def main() -> None:
    """Answer many calls from one cache, until it has been refreshed several times."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    refreshes = asyncio.Semaphore(0)

    def on_refresh(segments: tuple[SegmentDetails, ...]) -> None:
        logger.info("%d segments", len(segments))
        refreshes.release()

    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" in os.environ:
            client = BrazeSegments.from_env()
        else:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
        await stack.enter_async_context(client)
        max_age = float(os.environ.get("MAX_AGE", "0.1"))
        cache = await stack.enter_async_context(SegmentCache(client, max_age=max_age, on_refresh=on_refresh))
        # The first calls wait for the first refresh. All later ones return at once, also during an outage.
        catalogues = await asyncio.gather(*(cache.all() for _ in range(1_000)))
        logger.info("%d calls, %d requests to Braze", len(catalogues), client.stats.requests)
        for _ in range(int(os.environ.get("REFRESHES", "2"))):
            await refreshes.acquire()


if __name__ == "__main__":
    asyncio.run(main())
