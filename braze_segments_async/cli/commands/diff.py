"""What `diff` does: two files in, the differences out."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict

from braze_segments_async._text import escape_control
from braze_segments_async.cli.ids import standard_input
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout
from braze_segments_async.errors import ConfigError
from braze_segments_async.export._diff import compare, failed_segments, read_export, read_lines
from braze_segments_async.export._formats.ndjson import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from braze_segments_async.export._diff import Change, Kind, Row

__all__ = ["differences"]

_STDIN = Path("-")
_SIGNS: dict[Kind, str] = {"added": "+", "removed": "-", "unknown": "?"}


def differences(old: Path, new: Path, *, json: bool) -> int:
    """Do `braze-segments diff`; see there for the exit code this returns."""
    if old == new == _STDIN:
        return usage_error("only one of the two can be standard input")
    try:
        # Read before the event loop starts, which would keep Ctrl-C from a read that waits.
        changes = list(
            compare(_read(old), _read(new), failed_old=_failed(old), failed_new=_failed(new)),
        )
    except ConfigError as error:
        return usage_error(error.message(OPTIONS))
    return run(_show(changes, json=json))


def _read(path: Path) -> Iterator[Row]:
    return read_lines(standard_input(), "standard input") if path == _STDIN else read_export(path)


def _failed(path: Path) -> set[str]:
    return set() if path == _STDIN else failed_segments(path)


async def _show(changes: list[Change], *, json: bool) -> int:
    # The reader of a pipe may leave early: that changes nothing about what was found.
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
    """A change as a line or, with texts to compare, three."""
    sign = _SIGNS.get(change.kind, "~")
    name = f"{escape_control(change.name)}  " if change.name else ""
    line = f"{sign} {change.kind:<7}  {name}({escape_control(change.id)})"
    if change.before is None:
        return line
    if isinstance(change.before, tuple):
        gone, came = (
            set(change.before) - set(change.after or ()),
            set(change.after or ()) - set(change.before),
        )
        moves = [f"-{tag}" for tag in sorted(gone)] + [f"+{tag}" for tag in sorted(came)]
        return f"{line}\n    {escape_control(', '.join(moves), longest=None)}"
    shown = [escape_control(str(text), longest=None) for text in (change.before, change.after)]
    return f"{line}\n    - {shown[0]}\n    + {shown[1]}"


def summary(changes: list[Change]) -> str:
    """How many there are of each kind."""
    counts = Counter(change.kind for change in changes)
    words = {"description": "filters changed", "tags": "tags changed", "text_description": "note changed"}
    return ", ".join(f"{count:,} {words.get(kind, kind)}" for kind, count in counts.items())
