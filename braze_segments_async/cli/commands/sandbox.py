"""`braze-segments sandbox`: an invented workspace on this machine."""

from __future__ import annotations

import asyncio
import sys

from braze_segments_async.cli.runner import run
from braze_segments_async.sandbox import Sandbox

__all__ = ["run_sandbox"]


def run_sandbox(*, port: int, segments: int, seed: int, latency: float) -> int:
    """Serve until Ctrl-C; return the exit code."""
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
