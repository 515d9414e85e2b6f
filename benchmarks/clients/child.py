"""Run one client in this process; print its wall time in seconds and its peak memory in MiB as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from contextlib import AsyncExitStack

from measure import peak

from clients import PACKAGE, catalogue, gather_details, load, open_client, with_backoff


async def fetch_all(name: str, url: str, concurrency: int) -> int:
    """Fetch the details of every segment, and return their number."""
    if name == PACKAGE:
        from clients.package import catalogue_with_package  # noqa: PLC0415 - needs memory

        return len(await catalogue_with_package(url, concurrency))
    async with open_client(name, url) as get:
        return len(await catalogue(get, concurrency))


async def fetch_details(name: str, url: str, number: int, concurrency: int) -> int:
    """Fetch as many details, retry 429s, and return the number of details."""
    ids = [f"segment-{count}" for count in range(number)]
    async with AsyncExitStack() as stack:
        if name == PACKAGE:
            from clients.package import details_with_package, new_client  # noqa: PLC0415 - needs memory

            client = await stack.enter_async_context(new_client(url, reserve=0.0))
            return len(await details_with_package(client, ids, concurrency))
        get = await stack.enter_async_context(open_client(name, url))
        return len(await gather_details(with_backoff(get), ids, concurrency))


def main() -> None:
    """Parse the command line, run the client and check the number of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("url")
    parser.add_argument("number", type=int, help="number of segments")
    parser.add_argument("concurrency", type=int)
    parser.add_argument("--details", action="store_true", help="only details, retrying 429s")
    options = parser.parse_args()
    load(options.name)
    began = time.perf_counter()
    results = asyncio.run(
        fetch_details(options.name, options.url, options.number, options.concurrency)
        if options.details
        else fetch_all(options.name, options.url, options.concurrency)
    )
    wall = time.perf_counter() - began
    if results != options.number:
        raise RuntimeError(f"{results} results instead of {options.number}")
    print(json.dumps({"wall": wall, "peak": peak()}))


if __name__ == "__main__":
    main()
