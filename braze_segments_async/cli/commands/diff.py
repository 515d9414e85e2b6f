"""`braze-segments diff`: the differences between two exports."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from attrs import asdict
from cyclopts import Parameter

from braze_segments_async._text import escape_control
from braze_segments_async.cli.catalogues import age, markdown, open_catalogue
from braze_segments_async.cli.progress import print_err
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from braze_segments_async.catalogue import Catalogue, Change

__all__ = ["change_markdown", "change_text", "diff", "summary"]

_File = Annotated[Path, Parameter(allow_leading_hyphen=True)]
_STDIN = Path("-")
_SIGNS = {"added": "+", "removed": "-", "unknown": "?"}
_SUMMARY = {
    "description": "filters changed",
    "tags": "tags changed",
    "text_description": "note changed",
    "teams": "teams changed",
    "tracking": "tracking changed",
    "size": "size changed",
}


def diff(
    old: _File,
    new: _File,
    /,
    *,
    by: Literal["id", "name"] = "id",
    size_change: str = "20%",
    json: bool = False,
    markdown: bool = False,
) -> int:
    """Compare two exported files. Sends no request to Braze.

    Exit codes, like those of diff(1): 0 no differences, 1 differences, 2 error. A
    segment that failed in one of the exports is unknown, which counts as a
    difference.

    Args:
        old: An exported file: NDJSON, CSV, Parquet or SQLite; - reads NDJSON or CSV from standard input.
        new: A later export, in any of these formats.
        by: How segments are matched: by id, or by name for exports of two workspaces.
        size_change: Smallest change of the size that is reported; with none, sizes are not compared.
        json: Print NDJSON: a line for each difference.
        markdown: Print Markdown, for a message or a pull request.
    """
    from braze_segments_async.catalogue import diff as compare  # noqa: PLC0415 - --help does without it

    if old == new == _STDIN:
        return usage_error("only one of the two files can be standard input")
    try:
        # Read before the event loop starts, which would keep Ctrl-C from a read that waits.
        before, after = open_catalogue(old), open_catalogue(new)
        changes = compare(before, after, by=by, size_change=_part(size_change))
    except ConfigError as error:
        return usage_error(error.message(OPTIONS | {"size_change": "--size-change"}))
    return run(_show(before, after, changes, json=json, as_markdown=markdown))


def _part(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise ConfigError("must be a percentage such as 20%, or none", argument="size_change") from None


async def _show(
    old: Catalogue, new: Catalogue, changes: tuple[Change, ...], *, json: bool, as_markdown: bool
) -> int:
    from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415 - as above

    if not json:
        for catalogue in (old, new):
            if catalogue.partial:
                print_err(f"braze-segments: {age(catalogue)}")
    # The reader of a pipe may leave early, which does not change the exit code.
    with suppress(BrokenPipeError):
        if as_markdown and not json:
            head = f"**Segments: {summary(changes) or 'no differences'}**\n\n"
            await to_stdout(f"{head}{markdown(age(old))}, compared with {markdown(age(new))}\n\n".encode())
        for change in changes:
            if json:
                await json_to_stdout(f"{to_json(asdict(change))}\n".encode())
            else:
                text = change_markdown(change) if as_markdown else change_text(change)
                await to_stdout(f"{text}\n".encode())
        if changes and not (json or as_markdown):
            await to_stdout(f"{summary(changes)}\n".encode())
    return 1 if changes else 0


def change_text(change: Change) -> str:
    """Return a change as one line, or as more lines if it has values to compare."""
    sign = _SIGNS.get(change.kind, "~")
    name = f"{escape_control(change.name)}  " if change.name else ""
    line = f"{sign} {change.kind:<7}  {name}({escape_control(change.id)})"
    values = _values(change)
    if len(values) == 1:
        return f"{line}\n    {values[0]}"
    return f"{line}\n    - {values[0]}\n    + {values[1]}" if values else line


def change_markdown(change: Change) -> str:
    """Return a change as an item of a list in Markdown."""
    name = f" {markdown(change.name)}" if change.name else ""
    head = f"- **{_SUMMARY.get(change.kind, change.kind)}**{name} ({markdown(change.id)})"
    values = " → ".join(markdown(value) or "(empty)" for value in _values(change))
    return f"{head}: {values}" if values else head


def _values(change: Change) -> list[str]:
    """Return the old and the new value, or only the differences of two lists."""
    if change.before is None:
        return []
    if isinstance(change.before, tuple) and isinstance(change.after, tuple):
        before, after = set(change.before), set(change.after)
        names = [f"-{name}" for name in sorted(before - after)] + [
            f"+{name}" for name in sorted(after - before)
        ]
        return [escape_control(", ".join(names), max_length=None)]
    return [
        f"{value:,}"
        if isinstance(value, int | float) and not isinstance(value, bool)
        else escape_control(str(value), max_length=None)
        for value in (change.before, change.after)
    ]


def summary(changes: tuple[Change, ...] | list[Change]) -> str:
    """Return the number of changes of each kind."""
    counts = Counter(change.kind for change in changes)
    return ", ".join(f"{count:,} {_SUMMARY.get(kind, kind)}" for kind, count in counts.items())
