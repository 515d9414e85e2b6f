"""dlt pipeline: store every version of every segment with its period of validity in DuckDB.

With `BRAZE_API_KEY` and `BRAZE_BASE_URL` it loads the workspace once. Without them it loads a local sandbox
twice and renames a segment in between. `HISTORY` is the DuckDB file.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import dlt

from braze_segments_async import BrazeSegments, RetryPolicy, SegmentDetails
from braze_segments_async.sandbox import Sandbox


def row(details: SegmentDetails) -> dict[str, Any]:
    """Return the columns whose changes create a new version. Sizes change daily, so they are left out."""
    return {
        "id": details.id,
        "name": details.name,
        "description": details.description,
        "text_description": details.text_description,
        "tags": details.tags,
        "teams": details.teams,
        "created_at": details.created_at,
        "updated_at": details.updated_at,
        "analytics_tracking_enabled": details.analytics_tracking_enabled,
    }


@dlt.resource(
    name="segments",
    write_disposition={"disposition": "merge", "strategy": "scd2"},
    columns={"tags": {"data_type": "json"}, "teams": {"data_type": "json"}},
)
async def segments() -> AsyncIterator[list[dict[str, Any]]]:
    """Yield all segments, or raise: dlt would end the version of a missing segment as if it were archived."""
    async with BrazeSegments.from_env(retry=RetryPolicy(max_rate_limit_wait=3_900)) as client:
        catalogue = [row(details) async for details in client.all_details(consistency="strict")]
    yield catalogue  # after the last segment, so that nothing is loaded if one fails


def load(file: str) -> None:
    """Load the current segments into the history, and print the changes."""
    pipeline = dlt.pipeline(
        "braze_segments",
        pipelines_dir=f"{file}.dlt",  # the state of dlt, next to the file
        destination=dlt.destinations.duckdb(file),
        dataset_name="braze",
    )
    pipeline.run(segments())
    with pipeline.sql_client() as client:
        now, before = client.execute_sql(
            "SELECT count(*) FILTER (_dlt_valid_to IS NULL), count(_dlt_valid_to) FROM segments"
        )[0]
        print(f"{now} segments, {before} earlier versions")
        for name, since, until in client.execute_sql(
            """SELECT name, _dlt_valid_from, _dlt_valid_to FROM segments
               WHERE id IN (SELECT id FROM segments WHERE _dlt_valid_to IS NOT NULL)
               ORDER BY id, _dlt_valid_from"""
        ):
            print(f"{since:%F %T} to {f'{until:%F %T}' if until else 'now'}: {name}")


async def main() -> None:
    """Load the workspace once, or the sandbox twice."""
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    file = os.environ.get("HISTORY") or str(Path(tempfile.mkdtemp(), "history.duckdb"))
    if "BRAZE_API_KEY" in os.environ:
        load(file)
        return
    async with Sandbox(segments=250) as sandbox:
        os.environ |= {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
        await asyncio.to_thread(load, file)
        sandbox.rename(sandbox.segment_ids[0], "Renamed in the dashboard")
        await asyncio.to_thread(load, file)


if __name__ == "__main__":
    asyncio.run(main())
