"""`braze-segments diff`: the differences between two exports."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from attrs import asdict
from cyclopts import Parameter

from braze_segments_async._text import escape_control
from braze_segments_async.cli.ids import standard_input
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from braze_segments_async.export._diff import Change, Kind

__all__ = ["change_text", "diff", "summary"]

_File = Annotated[Path, Parameter(allow_leading_hyphen=True)]
_STDIN = Path("-")
_SIGNS: dict[Kind, str] = {"added": "+", "removed": "-", "unknown": "?"}
_SUMMARY: dict[Kind, str] = {
    "description": "filters changed",
    "tags": "tags changed",
    "text_description": "note changed",
}


def diff(old: _File, new: _File, /, *, json: bool = False) -> int:
    """Compare two exports. Sends no request to Braze.

    Exit codes, like those of diff(1): 0 no differences, 1 differences, 2 error. A
    segment that failed in one of the exports is unknown, which counts as a
    difference.

    Args:
        old: An export in NDJSON or CSV; - reads NDJSON from standard input.
        new: A later export.
        json: Print NDJSON: a line for each difference.
    """
    from braze_segments_async.export._diff import (  # noqa: PLC0415 - --help does without it
        compare,
        failed_segments,
        read_export,
        read_lines,
    )

    if old == new == _STDIN:
        return usage_error("only one of the two files can be standard input")
    try:
        # Read before the event loop starts, which would keep Ctrl-C from a read that waits.
        rows = [
            read_lines(standard_input(), "standard input") if path == _STDIN else read_export(path)
            for path in (old, new)
        ]
        failed = [set[str]() if path == _STDIN else failed_segments(path) for path in (old, new)]
        changes = list(compare(*rows, failed_old=failed[0], failed_new=failed[1]))
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))
    return run(_show(changes, json=json))


async def _show(changes: list[Change], *, json: bool) -> int:
    from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415 - as above

    # The reader of a pipe may leave early, which does not change the exit code.
    with suppress(BrokenPipeError):
        for change in changes:
            if json:
                await json_to_stdout(f"{to_json(asdict(change))}\n".encode())
            else:
                await to_stdout(f"{change_text(change)}\n".encode())
        if changes and not json:
            await to_stdout(f"{summary(changes)}\n".encode())
    return 1 if changes else 0


def change_text(change: Change) -> str:
    """Return a change as one line, or as more lines if it has texts to compare."""
    sign = _SIGNS.get(change.kind, "~")
    name = f"{escape_control(change.name)}  " if change.name else ""
    line = f"{sign} {change.kind:<7}  {name}({escape_control(change.id)})"
    if change.before is None:
        return line
    if isinstance(change.before, tuple):
        before, after = set(change.before), set(change.after or ())
        tags = [f"-{tag}" for tag in sorted(before - after)] + [f"+{tag}" for tag in sorted(after - before)]
        return f"{line}\n    {escape_control(', '.join(tags), max_length=None)}"
    texts = [escape_control(str(text), max_length=None) for text in (change.before, change.after)]
    return f"{line}\n    - {texts[0]}\n    + {texts[1]}"


def summary(changes: list[Change]) -> str:
    """Return the number of changes of each kind."""
    counts = Counter(change.kind for change in changes)
    return ", ".join(f"{count:,} {_SUMMARY.get(kind, kind)}" for kind, count in counts.items())
