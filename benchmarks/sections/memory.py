"""How much memory it takes, and whether that grows with the workspace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from report import Row, Section
from serving import server

if TYPE_CHECKING:
    from report import Scale

TITLE = "Memory"
_CHILD = Path(__file__).parent.parent / "child.py"
_FEW = 1_000

_SIZES = {"smoke": 2_000, "quick": 20_000, "full": 100_000}


def run(scale: Scale) -> Section:
    """See the module."""
    many = _SIZES[scale]
    few_peaks, peaks = _peaks(_FEW), _peaks(many)
    segments, rows = (peaks[what] - few_peaks[what] for what in ("segments", "rows"))
    each = 2**20 / (many - _FEW)
    growth = peaks["fan_out"] - few_peaks["fan_out"]
    text = (
        f"Peaks of child processes. The fan-out over {many:,} segments, 64 at a time, keeps no details; it "
        "does remember every id, to yield none twice. Kept: what the list of so many adds to a process."
    )
    table = (
        Row(
            f"fan-out over {many:,} segments / over {_FEW:,}",
            peaks["fan_out"],
            few_peaks["fan_out"],
            "MiB",
            (peaks["fan_out"] / few_peaks["fan_out"],),
            note=f"{growth:.1f} MiB more: {growth * each:.0f} bytes a segment",
        ),
        Row(
            f"{many:,} `Segment`s kept / the dicts of `json.loads`",
            segments,
            rows,
            "MiB",
            (segments / rows,),
            note=f"{segments * each:.0f} and {rows * each:.0f} bytes a segment",
        ),
    )
    return Section(TITLE, text, table)


def _peaks(number: int) -> dict[str, float]:
    with server("--segments", str(number)) as url:
        return {what: _peak(what, url) for what in ("fan_out", "segments", "rows")}


def _peak(what: str, url: str) -> float:
    command = [sys.executable, str(_CHILD), what, url]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
