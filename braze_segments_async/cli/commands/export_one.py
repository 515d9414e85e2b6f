"""What `export` and `sandbox` do."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from braze_segments_async._support import sibling
from braze_segments_async.cli.runner import run
from braze_segments_async.export import ResumeError
from braze_segments_async.export._destination import finished
from braze_segments_async.export._export import destination_path
from braze_segments_async.export._options import format_of
from braze_segments_async.sandbox import Sandbox

from .export import already_finished, to_file, to_lines

if TYPE_CHECKING:
    from braze_segments_async.cli.arguments import Connection, ExportArguments

__all__ = ["RESUME", "run_export", "run_sandbox"]

RESUME = "Progress saved. Run the same command with --resume to continue."


def run_export(choices: ExportArguments, connection: Connection, *, concurrency: int, max_wait: float) -> int:
    """Do `braze-segments export`; see there for the options, and for the exit code this returns."""
    output = choices.file
    refused = False

    async def export() -> int:
        nonlocal refused
        if output is not None and choices.resume and not choices.overwrite and finished(output):
            return already_finished(output, quiet=choices.quiet)
        if output is None:
            choices.check_lines()
        format_ = "ndjson" if output is None else format_of(destination_path(output), choices.format)
        options = choices.to_options(format_, concurrency=concurrency, max_wait=max_wait)
        how = {"quiet": choices.quiet, "verbose": choices.verbose}
        async with connection.client(concurrency=concurrency, retry=options.retry) as segments:
            if output is None:
                return await to_lines(segments, options, **how)
            try:
                return await to_file(segments, output, options, **how)
            except ResumeError:
                refused = True
                raise

    def interrupted() -> str:
        # While there is a lock, another export has the journal, and continues.
        if output is None or refused or sibling(output, ".lock").exists():
            return ""
        journal = sibling(output, ".journal")
        # A link is no journal: the export has refused it.
        return RESUME if journal.is_file() and not journal.is_symlink() else ""

    return run(export(), interrupted)


def run_sandbox(*, port: int, segments: int, seed: int, latency: float) -> int:
    """Do `braze-segments sandbox`."""
    return run(_serve(Sandbox(segments, seed=seed, latency=latency, port=port), segments))


async def _serve(server: Sandbox, segments: int) -> None:
    async with server as sandbox:
        sys.stdout.write(
            f"A sandbox of {segments:,} segments at {sandbox.base_url}, with the key {sandbox.api_key}\n"
            "Ctrl-C stops it. To use it from another shell:\n\n"
            f"export BRAZE_BASE_URL={sandbox.base_url}\n"
            f"export BRAZE_API_KEY={sandbox.api_key}\n"
        )
        sys.stdout.flush()
        await asyncio.Event().wait()
