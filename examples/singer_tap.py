"""Singer tap for Meltano and other Singer runners: the segments of a workspace with their details.

`python singer_tap.py --about`, `--discover`, or `--config config.json | target-…`. The configuration has
`api_key` and `base_url`. In Meltano, it is a custom extractor with the capabilities that `--about` prints.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from attrs import asdict
from singer_sdk import Stream, Tap
from singer_sdk import typing as th

from braze_segments_async import BrazeSegments, RetryPolicy


class Segments(Stream):
    """Every segment, or an error before the first record: a target may treat a missing segment as deleted."""

    name = "segments"
    primary_keys = ("id",)
    schema = th.PropertiesList(
        th.Property("id", th.StringType, required=True),
        th.Property("name", th.StringType, required=True),
        th.Property("description", th.StringType),
        th.Property("text_description", th.StringType),
        th.Property("tags", th.ArrayType(th.StringType)),
        th.Property("teams", th.ArrayType(th.StringType)),
        th.Property("created_at", th.DateTimeType),
        th.Property("updated_at", th.DateTimeType),
        th.Property("estimated_size", th.NumberType),
        th.Property("estimated_size_updated_at", th.DateTimeType),
        th.Property("analytics_tracking_enabled", th.BooleanType),
        th.Property("extra", th.ObjectType(additional_properties=True)),
    ).to_dict()

    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:  # noqa: ARG002 - of the SDK
        """Fetch all segments, then yield them."""
        return asyncio.run(self._fetch())

    async def _fetch(self) -> list[dict[str, Any]]:
        key, url, patient = (
            self.config["api_key"],
            self.config["base_url"],
            RetryPolicy(max_rate_limit_wait=3_900),
        )
        async with BrazeSegments(key, base_url=url, retry=patient) as client:
            return [asdict(details) async for details in client.all_details()]


class TapBrazeSegments(Tap):
    """The tap. Braze does not say which segments have changed, so each run is a full one."""

    name = "tap-braze-segments"
    config_jsonschema = th.PropertiesList(
        th.Property("api_key", th.StringType, required=True, secret=True, description="REST API key"),
        th.Property("base_url", th.StringType, required=True, description="REST endpoint of the cluster"),
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Return the only stream."""
        return [Segments(self)]


if __name__ == "__main__":
    TapBrazeSegments.cli()
