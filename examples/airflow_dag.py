"""Airflow 3 DAG: export all segments to Parquet every night, and fail if a segment is missing.

Set `BRAZE_API_KEY`, `BRAZE_BASE_URL` and `SEGMENTS_FILE`, a path that all workers share, in the environment
of the workers. `airflow dags test braze_segments` runs the DAG once. To try it without a key, set the
variables that `braze-segments sandbox` prints.
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task

from braze_segments_async import BrazeSegments, RetryPolicy
from braze_segments_async.export import export_segments


async def export(file: str) -> int:
    """Export all segments to a file, or raise `IncompleteExportError` and leave the file unchanged."""
    async with BrazeSegments.from_env(retry=RetryPolicy(max_rate_limit_wait=3_900)) as client:
        # Each night starts again, and its retries resume: a journal of last night is too old to resume.
        result = await export_segments(client, file, resume=True, overwrite=True)
    return result.rows


@dag(
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # Braze returns current data only
    max_active_runs=1,
)
def braze_segments() -> None:
    """Export in one task. Add the tasks that read the file after it."""

    @task(retries=2, retry_delay=timedelta(minutes=15), execution_timeout=timedelta(hours=3))
    def export_catalogue() -> int:
        rows = asyncio.run(export(os.environ["SEGMENTS_FILE"]))
        print(f"{rows} segments")
        return rows

    export_catalogue()


braze_segments()
