"""A DAG for Airflow 3 that exports the catalogue to Parquet every night, and fails if a segment is missing.

The worker's environment has `BRAZE_API_KEY`, `BRAZE_BASE_URL` and `SEGMENTS_FILE`, a path that all workers
share. `airflow dags test braze_segments` runs it once; with what `braze-segments sandbox` says, with no key.
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.export import export_segments


async def export(file: str) -> int:
    """Export to a file: all of it, or an `IncompleteExportError` and the file as it was."""
    async with BrazeSegments.from_env(retry=RetryPolicy(max_rate_limit_wait=3_900)) as client:
        # Afresh each night; the retries of a night resume. A journal of last night is too old for that.
        result = await export_segments(client, file, resume=True, overwrite=True)
    return result.rows


@dag(
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # Braze has no yesterday to ask for
    max_active_runs=1,
)
def braze_segments() -> None:
    """One task; those that read the file come after it."""

    @task(retries=2, retry_delay=timedelta(minutes=15), execution_timeout=timedelta(hours=3))
    def export_catalogue() -> int:
        rows = asyncio.run(export(os.environ["SEGMENTS_FILE"]))
        print(f"{rows} segments")
        return rows

    export_catalogue()


braze_segments()
