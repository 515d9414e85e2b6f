"""Answers for people: a table, a text, a chart. Foreign text is made harmless first."""

from __future__ import annotations

import shutil
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import asdict, fields
from rich.console import Console
from rich.table import Table
from rich.text import Text

from braze_segments_async._models import Segment
from braze_segments_async._text import escape_control
from braze_segments_async.export._formats.ndjson import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from braze_segments_async._check import CheckReport
    from braze_segments_async._models import SegmentDetails, SizePoint
    from braze_segments_async.workspaces import WorkspaceResult

__all__ = [
    "SegmentTable",
    "chart",
    "details_text",
    "report_json",
    "report_text",
    "result_json",
    "results_table",
    "segment_json",
    "sparkline",
]

_ID_WIDTH = 36  # of a UUID, as all ids have been so far; others are folded
_BARS = "▁▂▃▄▅▆▇█"


def segment_json(segment: Segment) -> bytes:
    """A row of the list as a line of NDJSON; its keys are the fields of `Segment`."""
    value = {field.name: getattr(segment, field.name) for field in fields(Segment)}
    return f"{to_json(value)}\n".encode()


class SegmentTable:
    """A table that is shown page by page, so its columns keep the widths they begin with."""

    def __init__(self) -> None:
        self._console = Console()
        rest = max(self._console.width - _ID_WIDTH - 4, 20)
        self._widths = (_ID_WIDTH, rest - rest * 2 // 5, rest * 2 // 5)
        self._begun = False

    def rows(self, segments: Iterable[Segment]) -> bytes:
        """The next rows; above the first ones the header."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=not self._begun)
        self._begun = True
        for title, width in zip(("Id", "Name", "Tags"), self._widths, strict=True):
            table.add_column(title, width=width, overflow="fold")
        for segment in segments:
            tags = Text(escape_control(", ".join(segment.tags)), style="dim")
            table.add_row(Text(escape_control(segment.id)), Text(escape_control(segment.name)), tags)
        return _drawn(self._console, table)


def details_text(details: SegmentDetails) -> bytes:
    """A segment, field by field; those without a value are left out."""
    size = None if details.estimated_size is None else f"{details.estimated_size:,}"
    if size and details.estimated_size_updated_at:
        size += f", estimated {_minute(details.estimated_size_updated_at)}"
    rows = {
        "Name": details.name,
        "Id": details.id,
        "Filters": details.description,
        "Note": details.text_description,
        "Tags": ", ".join(details.tags),
        "Teams": ", ".join(details.teams),
        "Created": _minute(details.created_at),
        "Updated": _minute(details.updated_at),
        "Size": size,
    }
    table = Table.grid(padding=(0, 2, 0, 0))
    for title, value in rows.items():
        # A note may be of several lines; a line end anywhere else is somebody's trick.
        lines = (value or "").splitlines() if title == "Note" else [value] if value else []
        if lines:
            shown = "\n".join(escape_control(line, max_length=None) for line in lines)
            table.add_row(Text(title, style="dim"), Text(shown, overflow="fold"))
    return _drawn(Console(), table)


def chart(segment_id: str, points: Sequence[SizePoint]) -> bytes:
    """A size history as one line of bars from its lowest to its highest, and what they stand for."""
    head = escape_control(segment_id)
    if not points:
        return _encoded(f"{head}\n  no sizes\n\n")
    low, high = min(points, key=lambda p: p.size), max(points, key=lambda p: p.size)
    first, last = points[0], points[-1]
    change = f" ({(last.size - first.size) / first.size:+.1%})" if first.size else ""
    bars = sparkline([point.size for point in points], shutil.get_terminal_size().columns - 2)
    return _encoded(
        f"{head}  {first.time} to {last.time}\n"
        f"  {bars}\n"
        f"  from {first.size:,} to {last.size:,}{change}\n"
        f"  lowest {low.size:,} on {low.time}, highest {high.size:,} on {high.time}\n\n"
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """A bar for each value, lowest to highest; where there is no room for all, for the means of groups."""
    columns = min(len(values), max(width, 1))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BARS[round((mean - low) / span * 7) if span else 3] for mean in means)


def report_json(report: CheckReport) -> bytes:
    """What a check found, as one JSON object."""
    return f"{to_json({'ready': report.ready} | asdict(report))}\n".encode()


def report_text(report: CheckReport) -> bytes:
    """What a check found: a line for each thing, the verdict, and then what to do."""
    words = {True: "yes", False: "no", None: "not known"}
    rows = {
        f"{escape_control(report.base_url)} answers": words[report.host],
        "the key is accepted": words[report.key],
        **{name: words[granted] for name, granted in report.permissions.items()},
    }
    if (told := report.rate_limit) is not None and told.remaining is not None:
        of = "" if told.limit is None else f" of {told.limit:,}"
        until = "" if told.resets_at is None else f", whole again at {told.resets_at:%H:%M} UTC"
        rows["requests left"] = f"{told.remaining:,}{of}{until}"
    width = max(map(len, rows))
    lines = [f"{title:<{width}}  {value}" for title, value in rows.items()]
    lines += ["", "An export can be made." if report.ready else "An export cannot be made."]
    lines += [f"- {problem}" for problem in report.problems]
    return _encoded("\n".join(lines) + "\n")


def result_json(result: WorkspaceResult, message: str) -> bytes:
    """What came of a workspace, as a line of NDJSON; the message says what is wrong, if anything is."""
    value: dict[str, object] = {"name": result.name, "outcome": result.outcome, "path": str(result.path)}
    for name in ("rows", "failures", "archived", "recovered", "resumed", "elapsed"):
        value[name] = getattr(result, name)
    value["error"] = None if result.error is None else type(result.error).__name__
    value["message"] = message or None
    return f"{to_json(value)}\n".encode()


def results_table(results: Iterable[WorkspaceResult]) -> bytes:
    """Return the table of results; error texts are printed separately."""
    styles = {"partial": "yellow", "rate-limited": "yellow", "failed": "red"}
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("Workspace", "Result", "Segments", "Time", "File"):
        table.add_column(title, justify="right" if title in {"Segments", "Time"} else "left", overflow="fold")
    for result in results:
        table.add_row(
            result.name,
            Text(result.outcome, style=styles.get(result.outcome, "")),
            f"{result.rows:,}" if result.rows else "",
            f"{result.elapsed:,.1f} s" if result.elapsed else "",
            Text("" if result.error else escape_control(str(result.path))),
        )
    return _drawn(Console(), table)


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M %Z}"


def _drawn(console: Console, what: RenderableType) -> bytes:
    with console.capture() as capture:
        console.print(what)
    return _encoded("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _encoded(text: str) -> bytes:
    """For this terminal; what it cannot say is shown as a question mark."""
    return text.encode(sys.stdout.encoding or "utf-8", "replace")
