"""A dlt source: the segments of a workspace, with their history, and their sizes (extra `dlt`).

    import dlt
    from braze_segments_async.dlt import braze_segments

    pipeline = dlt.pipeline("braze", destination="duckdb", dataset_name="braze")
    pipeline.run(braze_segments())

A load is complete or fails: each resource fetches everything before it yields. Otherwise a segment that could
not be fetched would end in the history as if it were archived.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

try:
    import dlt
except ModuleNotFoundError as error:
    if error.name != "dlt":
        raise
    raise ModuleNotFoundError('dlt is missing: pip install "braze-segments-async[dlt]"', name="dlt") from None

from ._client import BrazeSegments
from ._settings import RetryPolicy
from .errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

__all__ = ["braze_segments"]

# The columns whose changes create a new version of a segment. Sizes change daily and have their own resource.
_SEGMENTS = {
    "id": "text",
    "name": "text",
    "description": "text",
    "text_description": "text",
    "tags": "json",
    "teams": "json",
    "created_at": "timestamp",
    "updated_at": "timestamp",
    "analytics_tracking_enabled": "bool",
}
_SIZES = {"segment_id": "text", "time": "date", "size": "double"}
_SCD2 = {"disposition": "merge", "strategy": "scd2"}


@dlt.source(name="braze_segments")  # type: ignore[untyped-decorator]
def braze_segments(
    api_key: str = dlt.secrets.value,
    base_url: str = dlt.config.value,
    *,
    history: bool = True,
    days: int = 30,
) -> Sequence[Any]:
    """Return the resources `segments` and `segment_sizes`.

    `segments` has a row per segment. `segment_sizes` has a row per segment and day, and needs the permission
    `segments.data_series`; `braze_segments().with_resources("segments")` leaves it out.

    Args:
        api_key: REST API key; by default `sources.braze_segments.api_key` of dlt's secrets.
        base_url: REST endpoint; by default `sources.braze_segments.base_url` of dlt's configuration.
        history: Keep every version of a segment with its period of validity (slowly changing dimension of
            type 2). Otherwise a segment has one row, which is updated, and remains when it is archived.
        days: Days of sizes to fetch. Days that were loaded before are updated.

    Raises:
        ConfigError: The key or the endpoint is invalid.
        BrazeError: Anything could not be fetched. Nothing is loaded then.
    """

    def client() -> BrazeSegments:
        return BrazeSegments(api_key, base_url=base_url, retry=RetryPolicy(max_rate_limit_wait=3_900))

    async def fetch_segments() -> list[dict[str, Any]]:
        async with client() as braze:
            stream = braze.all_details(consistency="strict")
            return [{name: getattr(details, name) for name in _SEGMENTS} async for details in stream]

    async def fetch_sizes() -> list[dict[str, Any]]:
        async with client() as braze:
            listed = {segment.id: segment async for segment in braze.list()}
            async with braze.all_data_series(listed.values(), length=days, on_error="collect") as stream:
                found = [series async for series in stream]
        for segment_id, error in stream.failures:
            tracked = listed[segment_id].analytics_tracking_enabled is not False
            if tracked or not isinstance(error, BadRequestError):  # else Braze may have no sizes
                raise error
        return [
            {"segment_id": series.id, "time": point.time, "size": float(point.size)}
            for series in found
            for point in series.sizes
        ]

    @dlt.resource(  # type: ignore[untyped-decorator]
        columns=_columns(_SEGMENTS), primary_key="id", write_disposition=_SCD2 if history else "merge"
    )
    def segments() -> Iterator[Any]:
        # Without the mark, dlt ignores an empty load, and segments of an emptied workspace would remain.
        yield _run(fetch_segments()) or dlt.mark.materialize_table_schema()

    @dlt.resource(  # type: ignore[untyped-decorator]
        columns=_columns(_SIZES), primary_key=("segment_id", "time"), write_disposition="merge"
    )
    def segment_sizes() -> Iterator[Any]:
        yield _run(fetch_sizes())

    return segments, segment_sizes


def _run(fetch: Coroutine[Any, Any, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Run a coroutine to its end, also in a notebook, whose thread runs an event loop already."""
    # Not as async resources: if one of them fails, dlt closes its event loop while the other one is running.
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(fetch)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, fetch).result()


def _columns(types: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"data_type": kind} for name, kind in types.items()}  # new ones, as dlt adds to them
