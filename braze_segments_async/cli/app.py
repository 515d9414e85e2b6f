"""The commands and their options. What they do is imported when it is asked for: `--help` needs none."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - cyclopts reads the annotations at run time
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from braze_segments_async._version import __version__

__all__ = ["app"]

app = App(
    name="braze-segments",
    version=__version__,
    help="Every segment of a Braze workspace, with its details.",
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
)


@app.command
def export(
    *,
    output: Path | None = None,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1))] = 16,
    sandbox: bool = False,
    segments: Annotated[int | None, Parameter(validator=Number(gte=0))] = None,
    base_url: str | None = None,
    quiet: bool = False,
) -> int:
    """Write every segment with its details as NDJSON: one JSON object per line.

    The API key is taken from the environment variable BRAZE_API_KEY only.
    It needs the permissions segments.list and segments.details.

    Exit codes: 0 done, 1 failed, 2 wrong use (nothing was asked of Braze),
    130 Ctrl-C, 143 SIGTERM.

    Args:
        output: A new file, which is there once it is complete. Without it, lines go to standard output.
        concurrency: Requests in flight at once, at most.
        sandbox: Export an invented workspace on this machine; needs no key.
        segments: Size of the invented workspace; 250 unless given.
        base_url: REST endpoint of the workspace; by default BRAZE_BASE_URL.
        quiet: No progress and no summary; errors are still told.
    """
    from .work import run_export  # noqa: PLC0415 - see above

    return run_export(
        output=output,
        concurrency=concurrency,
        sandbox=sandbox,
        segments=segments,
        base_url=base_url,
        quiet=quiet,
    )


@app.command(name="sandbox")
def serve(
    *,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8765,
    segments: Annotated[int, Parameter(validator=Number(gte=0))] = 250,
    seed: int = 0,
    latency: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
) -> int:
    """Serve an invented workspace on this machine until Ctrl-C.

    Args:
        port: Port on 127.0.0.1; 0 takes a free one.
        segments: How many segments it has.
        seed: Another seed is another workspace.
        latency: Seconds before each answer.
    """
    from .work import run_sandbox  # noqa: PLC0415 - see above

    return run_sandbox(port=port, segments=segments, seed=seed, latency=latency)
