"""Render tables of ratios, combine repetitions, compare with the baseline, and update `RESULTS.md`."""

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
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "LEADING",
    "Row",
    "Scale",
    "Section",
    "combine",
    "goals",
    "regressions",
    "render",
    "save_baseline",
    "save_results",
]

Scale = Literal["smoke", "quick", "full"]

_HERE = Path(__file__).parent
_RESULTS = _HERE / "RESULTS.md"
_BASELINE = _HERE / "baseline.json"
_PACKAGES = ("aiohttp", "attrs", "cattrs", "tenacity")
_DECIMALS = {"s": 2, "ms": 0, "µs": 0, "MiB": 1, "thousand": 0, "": 0}
_TARGET = 5  # the column
_REGRESSION = 1.1  # report a ratio that is more than 10 % above the baseline
_HEAD = """# Results

`make bench` measures in three to four minutes, `make bench-full` in about forty minutes with three
repetitions. Both replace the sections that they run. Compare ratios, not times: each ratio comes from runs
side by side, and the times are those of one machine on one day. "Spread" is the range of the middle half of
the rounds, or, with three repetitions, the range of their medians. "Target" is the largest ratio that the
design allows. "Baseline" is the ratio in [baseline.json](baseline.json), followed by the difference.
"Load before" is the load average before the section: above 1, other processes ran at the same time. See also
[README.md](README.md).
"""
LEADING = "This package compared with other clients"  # the section at the top, one line per client
_GOALS = "Goals"
_GOALS_TABLE = "| | first | second | ratio | spread | at most | |\n|---|---|---|---|---|---|---|"
_TABLE = "| | first | second | ratio | spread | target | baseline | |\n|---|---|---|---|---|---|---|---|"


class Row(NamedTuple):
    """Two measured values, and the ratio of the first to the second in every round.

    Attributes:
        label: What is compared; identifies the row in the baseline.
        first: Median of the first value.
        second: Median of the second value.
        unit: Unit of both values.
        ratios: One ratio per round, or one per repetition.
        at_most: The largest ratio that meets the target.
        note: Text for the last column.
        reference: Whether the row measures something other than the package; the baseline leaves it out.
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
        title: Heading in `RESULTS.md` and key in the baseline.
        text: Description of the runs.
        rows: Rows of the table.
        packages: Packages whose versions are listed in addition to the usual ones.
        load: Load average of the machine before the run.
    """

    title: str
    text: str
    rows: tuple[Row, ...]
    packages: tuple[str, ...] = ()
    load: float = 0.0


def combine(repetitions: list[Section]) -> Section:
    """Merge repetitions of a section: median values, and the median ratio of each repetition."""
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
    """Return the section as Markdown."""
    from braze_segments_async._version import __version__  # noqa: PLC0415 - imports the package

    packages = ", ".join(f"{name} {_version(name)}" for name in (*_PACKAGES, *section.packages))
    how = f"{scale}, {repetitions} repetitions" if repetitions > 1 else scale
    where = f"{os.cpu_count()} cores, {platform.system()}, {platform.machine()}"
    saved = _baseline().get(section.title, {})
    if section.title == LEADING:
        table = _crosstab(section.rows, repetitions)
    else:
        table = [_TABLE, *[_line(row, saved.get(row.label), repetitions) for row in section.rows]]
    made = (
        f"{datetime.now(UTC):%Y-%m-%d}, {how}; braze-segments-async {__version__}, "
        f"Python {platform.python_version()}, {packages}; {where}; load before: {section.load:.1f}."
    )
    text = fill(section.text, 120)
    return "\n".join([f"## {section.title}", "", text, "", *table, "", fill(made, 120), ""])


def _line(row: Row, saved: float | None, repetitions: int) -> str:
    middle = median(row.ratios)
    allowed = ""
    if row.at_most is not None:
        allowed = f"{row.at_most:.2f}" if middle <= row.at_most else f"{row.at_most:.2f}, **missed**"
    baseline = "" if saved is None else f"{_short(saved)} ({middle / saved - 1:+.0%})"
    first, second = (_value(value, row.unit) for value in (row.first, row.second))
    spread = _spread(row.ratios, repetitions)
    return _cells(row.label, first, second, f"**{_short(middle)}**", spread, allowed, baseline, row.note)


def _crosstab(rows: tuple[Row, ...], repetitions: int) -> list[str]:
    """Return a table with one line per client and one column per measure.

    Args:
        rows: Rows labelled "client: measure".
        repetitions: The number of repetitions.
    """
    clients: dict[str, dict[str, str]] = {}
    for row in rows:
        client, _, measure = row.label.partition(": ")
        cell = f"{row.note}{_value(row.first, row.unit)}: **{_short(median(row.ratios))}**"
        if row.first != row.second and (spread := _spread(row.ratios, repetitions)):
            cell += f" ({spread})"
        clients.setdefault(client, {})[measure] = cell
    measures = list(next(iter(clients.values())))
    head = [_cells("", *measures), f"|{'---|' * (1 + len(measures))}"]
    return head + [_cells(client, *[values[name] for name in measures]) for client, values in clients.items()]


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _value(value: float, unit: str) -> str:
    return f"{value:,.{_DECIMALS[unit]}f} {unit}".rstrip()


def _spread(ratios: tuple[float, ...], repetitions: int) -> str:
    if len(ratios) == 1:
        return ""
    low, high = min(ratios), max(ratios)
    if repetitions == 1:
        low, _, high = quantiles(ratios, method="inclusive")
    return f"{_short(low)} to {_short(high)}"


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.2 else f"{ratio:.3f}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def goals(sections: Iterable[str]) -> str:
    """Return a table of all rows that have a target.

    Args:
        sections: Markdown of the sections.
    """
    table = [_GOALS_TABLE]
    for line in (line for text in sections if _TABLE in text for line in text.splitlines()):
        cells = line.strip("| ").split(" | ")
        if (
            line.startswith("| ")
            and len(cells) > _TARGET
            and (target := cells[_TARGET].strip())[:1].isdigit()
        ):
            most, missed, _ = target.partition(", **missed**")
            table.append(_cells(*cells[:_TARGET], most, "**missed**" if missed else "met"))
    return "\n".join([f"## {_GOALS}", "", "All rows below that have a target.", "", *table, ""])


def save_results(sections: dict[str, str]) -> None:
    """Replace the sections of these titles in `RESULTS.md`, append new ones, and list all goals.

    Args:
        sections: Markdown by title.
    """
    parts = _RESULTS.read_text().split("\n## ")[1:] if _RESULTS.exists() else []
    merged = {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in parts} | sections
    merged.pop(_GOALS, None)
    top = [merged.pop(LEADING)] if LEADING in merged else []
    _RESULTS.write_text("\n".join([_HEAD, *top, goals(merged.values()), *merged.values()]))


def _baseline() -> dict[str, dict[str, float]]:
    if not _BASELINE.exists():
        return {}
    ratios: dict[str, dict[str, float]] = json.loads(_BASELINE.read_text())["ratios"]
    return ratios


def save_baseline(sections: list[Section]) -> None:
    """Save the ratios of these sections as the baseline of later runs."""
    ratios = _baseline()
    for section in sections:
        measured_rows = [row for row in section.rows if not row.reference]
        measured = {row.label: round(median(row.ratios), 3) for row in measured_rows}
        ratios[section.title] = ratios.get(section.title, {}) | measured
    from braze_segments_async._version import __version__  # noqa: PLC0415 - imports the package

    whose = f"braze-segments-async {__version__}, {datetime.now(UTC):%Y-%m-%d}"
    _BASELINE.write_text(json.dumps({"of": whose, "ratios": ratios}, indent=1, ensure_ascii=False) + "\n")


def regressions(section: Section) -> list[str]:
    """Return the rows whose ratio is more than 10 % above the baseline."""
    saved = _baseline().get(section.title, {})
    return [
        f"{section.title}: {row.label}: {median(row.ratios):.2f} after {saved[row.label]:.2f}"
        for row in section.rows
        if not row.reference and median(row.ratios) > _REGRESSION * saved.get(row.label, math.inf)
    ]
