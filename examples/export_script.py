"""Print every segment with its details, from an asyncio script.

With `BRAZE_API_KEY` and `BRAZE_BASE_URL` set it asks Braze; without them, a sandbox on this machine.
"""

import asyncio
import os
from contextlib import AsyncExitStack

from braze_segments_async import BrazeSegments
from braze_segments_async.sandbox import Sandbox


async def main() -> None:
    """Walk, fan out, and say at the end what could not be had."""
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
