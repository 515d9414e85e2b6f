"""Dagster asset: all segments as a Parquet file, with metadata.

`dagster dev -f dagster_asset.py` runs it on a schedule with `BRAZE_API_KEY` and `BRAZE_BASE_URL`.
`python dagster_asset.py` materialises it once; without a key it uses a local sandbox. `SEGMENTS_FILE` is the
output file, and `RETRY_DELAY` the number of seconds before a retry.
"""

import asyncio
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import dagster as dg

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.export import IncompleteExportError, export_segments
from braze_segments_async.sandbox import Sandbox


@dg.asset(
    kinds={"parquet"},
    retry_policy=dg.RetryPolicy(max_retries=2, delay=float(os.environ.get("RETRY_DELAY", "900"))),
)
async def braze_segments() -> dg.MaterializeResult[None]:
    """Every segment of the workspace with its details."""
    file = os.environ["SEGMENTS_FILE"]
    async with BrazeSegments.from_env(retry=RetryPolicy(max_rate_limit_wait=3_900)) as client:
        try:
            # Each night starts again, and its retries resume: a journal of last night is too old to resume.
            result = await export_segments(client, file, resume=True, overwrite=True)
        except IncompleteExportError as error:
            missing = {failure.segment_id: str(failure.error) for failure in error.result.failures}
            raise dg.Failure(str(error), metadata={"failures": missing}) from error
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result.rows,
            "file": dg.MetadataValue.path(result.path),
            "archived": result.archived,
            "recovered": result.recovered,
            "seconds": round(result.elapsed, 1),
        }
    )


@dg.definitions
def definitions() -> dg.Definitions:
    """Return the asset and its schedule for `dagster dev`."""
    nightly = dg.ScheduleDefinition(name="nightly", target=[braze_segments], cron_schedule="17 2 * * *")
    return dg.Definitions(assets=[braze_segments], schedules=[nightly])


async def main() -> None:
    """Materialise the asset once in a temporary Dagster instance."""
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" not in os.environ:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            os.environ |= {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
        os.environ.setdefault("SEGMENTS_FILE", str(Path(tempfile.mkdtemp(), "segments.parquet")))
        with dg.DagsterInstance.ephemeral() as instance:
            run = await asyncio.to_thread(
                dg.materialize, [braze_segments], instance=instance, raise_on_error=False
            )
        for event in run.get_asset_materialization_events():
            metadata = {name: value.value for name, value in event.materialization.metadata.items()}
            print(f"{metadata.pop('dagster/row_count')} segments, {metadata}")
    sys.exit(not run.success)


if __name__ == "__main__":
    asyncio.run(main())
