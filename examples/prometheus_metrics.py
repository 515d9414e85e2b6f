"""Export the counters of a client as Prometheus metrics.

Needs `prometheus-client`. Uses Braze if `BRAZE_API_KEY` and `BRAZE_BASE_URL` are set, and a local sandbox
otherwise. In a service, serve `generate_latest(registry)` as `/metrics`.
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
    """Metrics of one client, read from `client.stats` at each scrape."""

    def __init__(self, client: BrazeSegments) -> None:
        """Read the metrics of this client, which may be open or closed."""
        self._client = client

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the metrics."""
        stats, limit = self._client.stats, self._client.rate_limit
        labels = ["endpoint", "status"]
        responses = CounterMetricFamily(
            "braze_responses", "Finished requests, retries included", labels=labels
        )
        seconds = CounterMetricFamily(
            "braze_response_seconds", "Total duration of these requests", labels=labels
        )
        for each in stats.responses:
            status = "none" if each.status is None else str(each.status)  # none: no complete response
            responses.add_metric([each.endpoint, status], each.count)
            seconds.add_metric([each.endpoint, status], each.seconds)
        yield responses
        yield seconds
        yield CounterMetricFamily("braze_requests", "Requests sent, retries included", stats.requests)
        yield CounterMetricFamily("braze_retries", "Retried requests", stats.retries)
        yield CounterMetricFamily("braze_waits", "Pauses for the rate limit", stats.waits)
        yield CounterMetricFamily("braze_received_bytes", "Bytes of response bodies", stats.bytes)
        yield GaugeMetricFamily("braze_in_flight", "Requests without a response yet", stats.in_flight)
        if limit is not None and limit.remaining is not None:
            yield GaugeMetricFamily("braze_remaining", "Remaining requests in the window", limit.remaining)


async def main() -> None:
    """Fetch all segments, and print the metrics."""
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
