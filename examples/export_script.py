"""Print every segment with its details.

Uses Braze if `BRAZE_API_KEY` and `BRAZE_BASE_URL` are set, and a local sandbox otherwise.
"""

import asyncio
import os
from contextlib import AsyncExitStack

from braze_segments_async import BrazeSegments
from braze_segments_async.sandbox import Sandbox


async def main() -> None:
    """Print all segments, and the number of failures at the end."""
    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" in os.environ:
            client = BrazeSegments.from_env()
        else:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
        segments = await stack.enter_async_context(client)

        count = 0
        async with segments.all_details(on_error="collect") as stream:
            async for details in stream:
                count += 1
                print(details.id, details.name, details.estimated_size, sep="\t")
        print(f"{count} segments, {len(stream.failures)} failures, {segments.rate_limit}")


if __name__ == "__main__":
    asyncio.run(main())
