"""dlt pipeline: store every version of every segment, and the sizes of 30 days, in DuckDB.

dlt reads the key and the endpoint from `.dlt/secrets.toml`, or from the environment:
`SOURCES__BRAZE_SEGMENTS__API_KEY` and `SOURCES__BRAZE_SEGMENTS__BASE_URL`.
"""

import dlt

from braze_segments_async.dlt import braze_segments

if __name__ == "__main__":
    pipeline = dlt.pipeline(
        "braze", destination=dlt.destinations.duckdb("history.duckdb"), dataset_name="braze"
    )
    print(pipeline.run(braze_segments()))
