"""The tables: rows of ratios, the median over repetitions, the saved baseline, and `RESULTS.md`."""

from __future__ import annotations

import json
import math
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median, quantiles
from textwrap import fill
from typing import Literal, NamedTuple

from braze_segments_async._version import __version__

__all__ = ["Row", "Scale", "Section", "combine", "keep", "render", "save_baseline", "slower"]

Scale = Literal["smoke", "quick", "full"]

_HERE = Path(__file__).parent
_RESULTS = _HERE / "RESULTS.md"
_BASELINE = _HERE / "baseline.json"
_PACKAGES = ("aiohttp", "attrs", "cattrs", "tenacity")
_DECIMALS = {"s": 2, "ms": 0, "µs": 0, "MiB": 1, "": 2}
_NOTABLE = 1.1  # a ratio that grew by more than a tenth since the baseline is pointed out
_HEAD = """# Results

`make bench` measures in two or three minutes, `make bench-full` in about forty minutes, three times over;
either replaces the sections it ran. Trust the ratios: each is of runs side by side, and the times are of one
machine on one day. "Spread" is the middle half of the rounds, or after three repetitions, from the lowest to
the highest of their medians. "Yardstick" is what the design allows the ratio to be. "Baseline" is the ratio
that [baseline.json](baseline.json) has, and how far this one is from it. [README.md](README.md) says more.
"""
_TABLE = "| | first | second | ratio | spread | yardstick | baseline | |\n|---|---|---|---|---|---|---|---|"


class Row(NamedTuple):
    """Two things of the same unit, and the ratio of the first to the second in every round.

    Attributes:
        label: what is compared with what; the same whenever it is measured in the same way.
        first: the median.
        second: the median of the other.
        unit: of both.
        ratios: one a round, or one a repetition.
        at_most: what the design allows the ratio to be.
        note: what a ratio does not say.
        reference: it tells of something other than the package's speed, so that the baseline leaves it out.
    """

    label: str
    first: float
    second: float
    unit: str
    ratios: tuple[float, ...]
    at_most: float | None = None
    note: str = ""
    reference: bool = False


class Section(NamedTuple):
    """One table, with the text above it.

    Attributes:
        title: names it in `RESULTS.md` and in the baseline.
        text: what was run.
        rows: of the table.
        packages: whose versions matter here, besides the usual ones.
        load: of the machine, before it was run.
    """

    title: str
    text: str
    rows: tuple[Row, ...]
    packages: tuple[str, ...] = ()
    load: float = 0.0


def combine(repetitions: list[Section]) -> Section:
    """One section of several repetitions: the medians, and as its ratios the repetitions' medians."""
    if len(repetitions) == 1:
        return repetitions[0]
    rows = []
    for same in zip(*(section.rows for section in repetitions), strict=True):
        notes = dict.fromkeys(row.note for row in same if row.note)
        rows.append(
            same[0]._replace(
                first=median(row.first for row in same),
                second=median(row.second for row in same),
                ratios=tuple(sorted(median(row.ratios) for row in same)),
                note="; ".join(notes),
            )
        )
    return repetitions[0]._replace(rows=tuple(rows), load=max(section.load for section in repetitions))


def render(section: Section, scale: Scale, repetitions: int) -> str:
    """The section, as Markdown."""
    packages = ", ".join(f"{name} {_version(name)}" for name in (*_PACKAGES, *section.packages))
    how = f"{scale}, {repetitions} repetitions" if repetitions > 1 else scale
    where = f"{os.cpu_count()} cores, {platform.system()}, {platform.machine()}"
    saved = _baseline().get(section.title, {})
    rows = [_line(row, saved.get(row.label), repetitions) for row in section.rows]
    made = (
        f"{datetime.now(UTC):%Y-%m-%d}, {how}; braze-segments-async {__version__}, "
        f"Python {platform.python_version()}, {packages}; {where}; load before: {section.load:.1f}."
    )
    text = fill(section.text, 120)
    return "\n".join([f"## {section.title}", "", text, "", _TABLE, *rows, "", fill(made, 120), ""])


def _line(row: Row, saved: float | None, repetitions: int) -> str:
    middle = median(row.ratios)
    low, high = min(row.ratios), max(row.ratios)
    if repetitions == 1 and len(row.ratios) > 1:
        low, _, high = quantiles(row.ratios, method="inclusive")
    spread = f"{_short(low)} to {_short(high)}" if len(row.ratios) > 1 else ""
    allowed = ""
    if row.at_most is not None:
        allowed = f"{row.at_most:.2f}" if middle <= row.at_most else f"{row.at_most:.2f}, **missed**"
    baseline = "" if saved is None else f"{_short(saved)} ({middle / saved - 1:+.0%})"
    first, second = (f"{value:,.{_DECIMALS[row.unit]}f} {row.unit}" for value in (row.first, row.second))
    cells = (row.label, first, second, f"**{_short(middle)}**", spread, allowed, baseline, row.note)
    return f"| {' | '.join(cells)} |"


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.2 else f"{ratio:.3f}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def keep(sections: dict[str, str], order: list[str]) -> None:
    """Put rendered sections into `RESULTS.md`, in the place of those of the same title.

    Args:
        sections: Markdown by title.
        order: all titles there can be; what the file has besides is dropped.
    """
    parts = _RESULTS.read_text().split("\n## ")[1:] if _RESULTS.exists() else []
    kept = {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts} | sections
    _RESULTS.write_text("\n".join([_HEAD, *(kept[title] for title in order if title in kept)]))


def _baseline() -> dict[str, dict[str, float]]:
    if not _BASELINE.exists():
        return {}
    ratios: dict[str, dict[str, float]] = json.loads(_BASELINE.read_text())["ratios"]
    return ratios


def save_baseline(sections: list[Section]) -> None:
    """Keep the ratios of these sections, for later runs to be held against."""
    ratios = _baseline()
    for section in sections:
        ours = [row for row in section.rows if not row.reference]
        measured = {row.label: round(median(row.ratios), 3) for row in ours}
        ratios[section.title] = ratios.get(section.title, {}) | measured
    whose = f"braze-segments-async {__version__}, {datetime.now(UTC):%Y-%m-%d}"
    _BASELINE.write_text(json.dumps({"of": whose, "ratios": ratios}, indent=1, ensure_ascii=False) + "\n")


def slower(section: Section) -> list[str]:
    """The rows whose ratio grew by more than a tenth since the baseline."""
    saved = _baseline().get(section.title, {})
    return [
        f"{section.title}: {row.label}: {median(row.ratios):.2f} after {saved[row.label]:.2f}"
        for row in section.rows
        if not row.reference and median(row.ratios) > _NOTABLE * saved.get(row.label, math.inf)
    ]
