"""The benchmarks and simulations run to their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _run(script: str, *options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - a script of this repository
    return done.stdout


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("clients", "| this package |"),
        ("cpu", "| asyncio, 16 at a time, same timeouts: CPU |"),
        ("instructions", "Instructions of one request"),
        ("memory", "| `all_details()` over 2,000 segments"),
    ],
)
def test_a_section_prints_its_table(section: str, row: str) -> None:
    """`run.py` starts the server, runs a section, and prints its table."""
    assert row in _run("run.py", "--smoke", "--only", section)


def test_rows_with_a_target_are_listed_as_goals() -> None:
    """The table of goals repeats the rows that have a target, and says whether each is met."""
    goals, cpu = _run("run.py", "--smoke", "--only", "cpu").split("## One request")
    with_target = "aiohttp's default session: CPU |"
    assert f"| asyncio, 16 at a time, {with_target}" in goals
    assert goals.count(" met |") + goals.count(" **missed** |") == cpu.count(with_target)


def test_the_scaling_simulation_prints_all_strategies() -> None:
    """Every strategy runs in virtual time, the package's rate limiter included."""
    assert "| this package |" in _run("simulations/scaling.py", "--segments", "20", "--sample", "2")


def test_the_consistency_simulation_prints_all_modes() -> None:
    """Every value of `consistency` runs in virtual time."""
    assert "| `strict` |" in _run("simulations/consistency.py", "--listings", "1")
