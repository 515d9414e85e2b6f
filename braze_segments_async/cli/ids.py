"""Segment ids, from arguments or from standard input."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from braze_segments_async._arguments import check_segment_id
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ids_from", "parse_ids", "standard_input"]


def ids_from(arguments: tuple[str, ...]) -> list[str]:
    """The ids that the arguments name; `-` stands for those on standard input.

    They are all read before anything is asked of Braze, so that a wrong line costs nothing.

    Raises:
        ConfigError: there are no arguments, one is blank or an unknown option, or a line is no id.
    """
    if not arguments:
        raise ConfigError("name one id or more, or - to read them from standard input")
    ids: list[str] = []
    for argument in arguments:
        if argument == "-":
            ids += parse_ids(standard_input())
        elif argument.startswith("-"):  # what follows an equals sign might be a key
            option = argument.partition("=")[0]
            raise ConfigError(
                f"unknown option {escape_control(option)} (an id that begins so can be read with -)"
            )
        else:
            ids.append(check_segment_id(argument))
    return ids


def standard_input() -> Iterable[bytes]:
    """The lines of standard input.

    Raises:
        ConfigError: the caller closed it.
    """
    if sys.stdin is None:
        raise ConfigError("standard input is closed")
    return sys.stdin.buffer


def parse_ids(lines: Iterable[bytes]) -> Iterator[str]:
    """An id of each line, which is the id alone or, as `list` writes it, a JSON object with an `id`.

    Raises:
        ConfigError: a line is neither; raised when that is met.
    """
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if not line:
            continue
        try:
            found = json.loads(line)["id"] if line.startswith(b"{") else line.decode()
        except (ValueError, KeyError, RecursionError):
            found = None
        if not isinstance(found, str) or not found.strip():
            raise ConfigError(f"standard input, line {number}: neither an id nor a JSON object with an id")
        yield found
