"""Tables, texts and charts for a terminal. Control characters in text from Braze are escaped."""

from __future__ import annotations

import shutil
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from braze_segments_async._text import escape_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from braze_segments_async._check import CheckReport
    from braze_segments_async._models import Segment, SegmentDetails, SizePoint
    from braze_segments_async.workspaces import WorkspaceResult

__all__ = [
    "SegmentTable",
    "chart",
    "details_text",
    "report_text",
    "results_table",
    "sparkline",
]

_ID_WIDTH = 36  # of a UUID; longer ids are folded
_BARS = "▁▂▃▄▅▆▇█"


class SegmentTable:
    """A table that is printed page by page, with fixed column widths."""

    def __init__(self) -> None:
        self._console = Console()
        rest = max(self._console.width - _ID_WIDTH - 4, 20)
        self._widths = (_ID_WIDTH, rest - rest * 2 // 5, rest * 2 // 5)
        self._has_header = False

    def rows(self, segments: Iterable[Segment]) -> bytes:
        """Return the next rows, with a header above the first ones."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=not self._has_header)
        self._has_header = True
        for title, width in zip(("Id", "Name", "Tags"), self._widths, strict=True):
            table.add_column(title, width=width, overflow="fold")
        for segment in segments:
            tags = Text(escape_control(", ".join(segment.tags)), style="dim")
            table.add_row(Text(escape_control(segment.id)), Text(escape_control(segment.name)), tags)
        return _render(self._console, table)


def details_text(details: SegmentDetails) -> bytes:
    """Return the fields of a segment that have a value, one a line."""
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
        # Only a note may have several lines: in another field, a line end would fake a line of this text.
        lines = (value or "").splitlines() if title == "Note" else [value] if value else []
        if lines:
            shown = "\n".join(escape_control(line, max_length=None) for line in lines)
            table.add_row(Text(title, style="dim"), Text(shown, overflow="fold"))
    return _render(Console(), table)


def chart(segment_id: str, points: Sequence[SizePoint]) -> bytes:
    """Return a size history as a line of bars, from its lowest to its highest size, with its figures."""
    head = escape_control(segment_id)
    if not points:
        return _encode(f"{head}\n  no sizes\n\n")
    low, high = min(points, key=lambda p: p.size), max(points, key=lambda p: p.size)
    first, last = points[0], points[-1]
    change = f" ({(last.size - first.size) / first.size:+.1%})" if first.size else ""
    bars = sparkline([point.size for point in points], shutil.get_terminal_size().columns - 2)
    return _encode(
        f"{head}  {first.time} to {last.time}\n"
        f"  {bars}\n"
        f"  from {first.size:,} to {last.size:,}{change}\n"
        f"  lowest {low.size:,} on {low.time}, highest {high.size:,} on {high.time}\n\n"
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a bar for each value or, if there are more values than columns, for the means of groups."""
    columns = min(len(values), max(width, 1))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BARS[round((mean - low) / span * 7) if span else 3] for mean in means)


def report_text(report: CheckReport) -> bytes:
    """Return a check report: a line for each result, the conclusion, and the problems."""
    words = {True: "yes", False: "no", None: "not known"}
    rows = {
        f"{escape_control(report.base_url)} answers": words[report.host],
        "the key is accepted": words[report.key],
        **{name: words[granted] for name, granted in report.permissions.items()},
    }
    if (rate_limit := report.rate_limit) is not None and rate_limit.remaining is not None:
        of = "" if rate_limit.limit is None else f" of {rate_limit.limit:,}"
        until = "" if rate_limit.resets_at is None else f", resets at {rate_limit.resets_at:%H:%M} UTC"
        rows["requests left"] = f"{rate_limit.remaining:,}{of}{until}"
    width = max(map(len, rows))
    lines = [f"{title:<{width}}  {value}" for title, value in rows.items()]
    lines += ["", "Ready to export." if report.ready else "Not ready to export:"]
    lines += [f"- {problem}" for problem in report.problems]
    return _encode("\n".join(lines) + "\n")


def results_table(results: Sequence[WorkspaceResult], problems: Mapping[str, str]) -> bytes:
    """Return the table of results, with the whole cause below the row of a workspace that has a problem.

    Args:
        results: The results.
        problems: Causes and remedies, by the names of the workspaces.
    """
    styles = {"partial": "yellow", "rate-limited": "yellow", "failed": "red"}
    console = Console()
    name_width = min(max([len("Workspace"), *(len(result.name) for result in results)]), 30)
    rows = []
    for number, result in enumerate(results):
        # A table for each row, with the same widths: a cause takes the whole width between two of them.
        row = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=not number)
        row.add_column("Workspace", width=name_width, overflow="fold")
        row.add_column("Result", width=len("rate-limited"))
        row.add_column("Segments", justify="right", width=len("Segments"))
        row.add_column("Time", justify="right", width=9)
        row.add_column("File", overflow="fold")
        row.add_row(
            result.name,
            Text(result.outcome, style=styles.get(result.outcome, "")),
            f"{result.rows:,}" if result.rows else "",
            f"{result.elapsed:,.1f} s" if result.elapsed else "",
            Text("" if result.error else escape_control(str(result.path))),
        )
        rows.append(_render(console, row))
        if problem := problems.get(result.name):
            rows.append(_render(console, Padding(Text(problem), (0, 0, 0, 2))))
    return b"".join(rows)


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M %Z}"


def _render(console: Console, renderable: RenderableType) -> bytes:
    with console.capture() as capture:
        console.print(renderable)
    return _encode("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _encode(text: str) -> bytes:
    """Return text in the encoding of the terminal; other characters become question marks."""
    return text.encode(sys.stdout.encoding or "utf-8", "replace")
