"""The benchmarks stay runnable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - our own script
    return done.stdout


def test_the_benchmarks_run() -> None:
    """`run.py` starts its server, runs a section beside its contenders, and prints the table."""
    assert "| asyncio, 16 at a time, same time-outs: CPU |" in _run("run.py", "--smoke", "--only", "cpu")


def test_the_simulation_runs() -> None:
    """All ways to export are driven through made-up time, the package's own gate among them."""
    assert "| this package |" in _run("simulation.py", "--segments", "20", "--sample", "2", "--no-plot")
