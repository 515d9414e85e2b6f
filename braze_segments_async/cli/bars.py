"""Progress in a terminal, made of rich's columns. A task has the fields `counts`, `status` and `paused`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["live_display", "progress_table", "with_status"]

_SPEED_OVER = 10.0  # seconds


def live_display(render: Callable[[], RenderableType]) -> Live | None:
    """Return a display on standard error, removed at its end; none if the terminal cannot move the cursor."""
    console = Console(stderr=True)
    if console.is_dumb_terminal:
        return None
    return Live(
        get_renderable=render,
        console=console,
        refresh_per_second=8,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )


def progress_table(*, rows: bool) -> Progress:
    """Return a table with a bar, counts and the time left of each task.

    Args:
        rows: Whether there are several tasks, each with its name and its status; for one, see `with_status`.
    """
    columns: list[ProgressColumn] = [
        BarColumn(20 if rows else None),
        TextColumn("{task.fields[counts]}", markup=False),
        TimeRemainingColumn(),
    ]
    if rows:
        name = TextColumn("{task.description}", markup=False)
        status = _StatusColumn(table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        columns = [name, *columns, status]
    return Progress(*columns, speed_estimate_period=_SPEED_OVER, expand=True)


def with_status(progress: Progress, hint: str) -> Group:
    """Return the table of one task, its status below it, and a hint below that if there is any."""
    (task,) = progress.tasks
    return Group(progress, _status(task), *([Text(hint, style="dim")] if hint else []))


class _StatusColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return _status(task)


def _status(task: Task) -> Text:
    style = "yellow" if task.fields["paused"] else "dim"
    return Text(task.fields["status"], style=style, no_wrap=True, overflow="ellipsis")
