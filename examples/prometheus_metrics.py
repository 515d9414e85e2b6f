"""What a client does, as metrics for Prometheus: read from `client.stats` when they are asked for.

Needs `prometheus-client`. With `BRAZE_API_KEY` and `BRAZE_BASE_URL` set it asks Braze; without them, a
sandbox on this machine. In a service, serve `generate_latest(registry)` as `/metrics`.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from braze_segments_async import BrazeSegments
from braze_segments_async.sandbox import Sandbox


class BrazeCollector(Collector):
    """The metrics of one client; nothing is counted twice, and nothing runs in between."""

    def __init__(self, client: BrazeSegments) -> None:
        """Read from this client, open or closed."""
        self._client = client

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Called for each scrape."""
        stats, told = self._client.stats, self._client.rate_limit
        yield CounterMetricFamily("braze_requests", "Requests sent, retries included", stats.requests)
        yield CounterMetricFamily("braze_retries", "Requests that repeated a failed one", stats.retries)
        yield CounterMetricFamily("braze_waits", "Pauses for the rate limit", stats.waits)
        yield CounterMetricFamily("braze_received_bytes", "Bytes of replies' bodies", stats.bytes)
        yield GaugeMetricFamily("braze_in_flight", "Requests without an answer yet", stats.in_flight)
        if told is not None and told.remaining is not None:
            yield GaugeMetricFamily("braze_allowance", "Requests left to the workspace", told.remaining)


async def main() -> None:
    """Some work, and the metrics after it."""
    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" in os.environ:
            client = BrazeSegments.from_env()
        else:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            client = BrazeSegments(sandbox.api_key, base_url=sandbox.base_url)
        segments = await stack.enter_async_context(client)
        registry = CollectorRegistry()
        registry.register(BrazeCollector(segments))

        count = len([details async for details in segments.all_details()])
        print(f"# {count} segments")
        print(generate_latest(registry).decode(), end="")


if __name__ == "__main__":
    asyncio.run(main())
