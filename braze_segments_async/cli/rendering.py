"""Tables, texts and charts for a terminal. Control characters in text from Braze are escaped."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from braze_segments_async._text import escape_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from braze_segments_async._check import CheckReport
    from braze_segments_async._models import Segment, SegmentDetails, SizePoint
    from braze_segments_async.workspaces import WorkspaceResult

__all__ = [
    "FIELDS",
    "Column",
    "SegmentTable",
    "ago",
    "chart",
    "column_value",
    "details_text",
    "report_text",
    "results_table",
    "sparkline",
]

Column = Literal["name", "tags", "tracked", "edited", "created", "size", "id"]
# The field that a column shows; the dates and the size need the details of each segment.
FIELDS: dict[Column, str] = {
    "name": "name",
    "tags": "tags",
    "tracked": "analytics_tracking_enabled",
    "edited": "updated_at",
    "created": "created_at",
    "size": "estimated_size",
    "id": "id",
}
_WIDTHS: dict[Column, int] = {"tracked": 7, "edited": 13, "created": 13, "size": 11, "id": 36}
_MIN_NAME_WIDTH = 10
_UNITS = {"year": 31_536_000, "month": 2_592_000, "day": 86_400, "hour": 3_600, "minute": 60}
_BARS = "▁▂▃▄▅▆▇█"


class SegmentTable:
    """A table that is printed page by page, with fixed column widths and one line for each segment."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._console = Console()
        self._now = datetime.now(UTC)
        self._columns = columns
        self._has_header = False
        # The names and tags share what the other columns leave.
        fixed = sum(_WIDTHS.get(column, 0) + 2 for column in columns) - 2
        rest = max(self._console.width - fixed, _MIN_NAME_WIDTH)
        tags = rest * 2 // 5 if "tags" in columns and "name" in columns else rest
        self._widths = {**_WIDTHS, "tags": tags, "name": rest - tags if "tags" in columns else rest}

    def rows(self, rows: Iterable[tuple[Segment, SegmentDetails | None]]) -> bytes:
        """Return the next rows, with a header above the first ones."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=not self._has_header)
        self._has_header = True
        for column in self._columns:
            table.add_column(
                column.capitalize(),
                width=self._widths[column],
                justify="right" if column == "size" else "left",
                no_wrap=column != "id",
                overflow="fold" if column == "id" else "ellipsis",
            )
        for segment, details in rows:
            table.add_row(*(self._cell(column, segment, details) for column in self._columns))
        return _render(self._console, table)

    def _cell(self, column: Column, segment: Segment, details: SegmentDetails | None) -> Text:
        value = column_value(column, segment, details)
        if isinstance(value, datetime):
            return Text(ago(value, self._now))
        if isinstance(value, bool):
            return Text("yes" if value else "no")
        if isinstance(value, int):
            return Text(f"{value:,}")
        text = ", ".join(value) if isinstance(value, tuple) else value or ""
        return Text(escape_control(text), style="dim" if column in {"tags", "id"} else "")


def column_value(column: Column, segment: Segment, details: SegmentDetails | None) -> Any:
    """Return the value of a column; `None` if it is not known."""
    source = segment if hasattr(segment, FIELDS[column]) else details
    return None if source is None else getattr(source, FIELDS[column])


def ago(moment: datetime, now: datetime) -> str:
    """Return the time that has passed: 3 days ago."""
    seconds = max((now - moment).total_seconds(), 0)
    for unit, length in _UNITS.items():
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


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


def chart(segment_id: str, name: str | None, points: Sequence[SizePoint]) -> bytes:
    """Return a size history as a line of bars, from its lowest to its highest size, with its figures."""
    head = Text(escape_control(name or segment_id), style="bold", overflow="fold")
    lines: list[RenderableType] = [head]
    if points:
        low, high = min(points, key=lambda p: p.size), max(points, key=lambda p: p.size)
        first, last = points[0], points[-1]
        change = f" ({(last.size - first.size) / first.size:+.1%})" if first.size else ""
        bars = sparkline([point.size for point in points], shutil.get_terminal_size().columns - 2)
        lines += [
            f"  {bars}",
            f"  from {first.size:,} on {first.time} to {last.size:,} on {last.time}{change}",
            f"  lowest {low.size:,} on {low.time}, highest {high.size:,} on {high.time}",
        ]
    else:
        lines.append("  no sizes")
    if name:
        lines.append(Text(f"  {escape_control(segment_id)}", style="dim", overflow="fold"))
    return _render(Console(highlight=False), *lines, "")


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a bar for each value or, if there are more values than columns, for the means of groups."""
    columns = min(len(values), max(width, 1))
    edges = [len(values) * column // columns for column in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BARS[round((mean - low) / span * 7) if span else 3] for mean in means)


def report_text(report: CheckReport) -> bytes:
    """Return a check report: a line for each result, the conclusion, and the problems."""
    words = {True: Text("yes", "green"), False: Text("no", "red"), None: Text("not known", "yellow")}
    rows: dict[str, str | Text] = {
        f"{escape_control(report.base_url)} answers": words[report.host],
        "the key is accepted": words[report.key],
        **{name: words[granted] for name, granted in report.permissions.items()},
    }
    if (rate_limit := report.rate_limit) is not None and rate_limit.remaining is not None:
        of = "" if rate_limit.limit is None else f" of {rate_limit.limit:,}"
        until = "" if rate_limit.resets_at is None else f", resets at {rate_limit.resets_at:%H:%M} UTC"
        rows["requests left"] = f"{rate_limit.remaining:,}{of}{until}"
    width = max(map(len, rows))
    ready = Text("Ready to export.", "green") if report.ready else Text("Not ready to export:", "red")
    lines = [Text.assemble(f"{title:<{width}}  ", value) for title, value in rows.items()]
    return _render(Console(soft_wrap=True), *lines, "", ready, *(Text(f"- {p}") for p in report.problems))


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


def _render(console: Console, *renderables: RenderableType) -> bytes:
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return _encode("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _encode(text: str) -> bytes:
    """Return text in the encoding of the terminal; other characters become question marks."""
    return text.encode(sys.stdout.encoding or "utf-8", "replace")
